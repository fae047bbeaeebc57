package inflate

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/internal/raced"
)

// bitWriter puts a deflate stream together by hand.
type bitWriter struct {
	buf []byte
	n   uint // bits
}

// bits adds the low n bits of v, lowest first.
func (w *bitWriter) bits(v, n uint) *bitWriter {
	for i := range n {
		if w.n%8 == 0 {
			w.buf = append(w.buf, 0)
		}
		w.buf[w.n/8] |= byte(v>>i&1) << (w.n % 8)
		w.n++
	}
	return w
}

// code adds a Huffman code, highest bit first.
func (w *bitWriter) code(v, n uint) *bitWriter {
	for i := range n {
		w.bits(v>>(n-1-i), 1)
	}
	return w
}

func (w *bitWriter) align() *bitWriter { return w.bits(0, (8-w.n%8)%8) }

// dynamic adds the head of a last dynamic block with these code lengths, each
// of them sent as it is, with four bits.
func (w *bitWriter) dynamic(lit, dist []uint8) *bitWriter {
	w.bits(1, 1).bits(2, 2).bits(uint(len(lit)-257), 5).bits(uint(len(dist)-1), 5).bits(19-4, 4)
	for _, sym := range precodeOrder {
		n := uint(4)
		if sym > 15 {
			n = 0
		}
		w.bits(n, 3)
	}
	for _, n := range slices.Concat(lit, dist) {
		w.code(uint(n), 4)
	}
	return w
}

// lengths makes n code lengths, zero but for those given as symbol, length.
func lengths(n int, pairs ...int) []uint8 {
	l := make([]uint8, n)
	for i := 0; i < len(pairs); i += 2 {
		l[pairs[i]] = uint8(pairs[i+1])
	}
	return l
}

// static1 starts a last static block.
func static1() *bitWriter { return new(bitWriter).bits(1, 1).bits(1, 2) }

func dynamic(lit, dist []uint8) *bitWriter { return new(bitWriter).dynamic(lit, dist) }

var plainHeader = []byte{0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255}

// member makes a gzip member of deflate data, and its trailer of text.
func member(deflated []byte, text string) []byte {
	b := append(bytes.Clone(plainHeader), deflated...)
	b = binary.LittleEndian.AppendUint32(b, crc32.ChecksumIEEE([]byte(text)))
	return binary.LittleEndian.AppendUint32(b, uint32(len(text)))
}

func stored(text string) []byte {
	w := new(bitWriter).bits(1, 1).bits(0, 2).align().bits(uint(len(text)), 16).bits(^uint(len(text)), 16)
	return append(w.buf, text...)
}

// withHeader makes a member with a header of these flags and fields.
func withHeader(flags byte, fields ...[]byte) []byte {
	h := bytes.Clone(plainHeader)
	h[3] = flags
	h = append(h, slices.Concat(fields...)...)
	return append(h, member(stored("x"), "x")[10:]...)
}

func withHeaderCRC(flags byte, fields ...[]byte) []byte {
	h := bytes.Clone(plainHeader)
	h[3] = flags | flagHeaderCRC
	h = append(h, slices.Concat(fields...)...)
	h = binary.LittleEndian.AppendUint16(h, uint16(crc32.ChecksumIEEE(h)))
	return append(h, member(stored("x"), "x")[10:]...)
}

// newWriter is a gzip writer.
func newWriter(w io.Writer) *gzip.Writer { return gzip.NewWriter(w) }

func compressed(level int, text []byte) []byte {
	var b bytes.Buffer
	w, err := gzip.NewWriterLevel(&b, level)
	if err != nil {
		panic(err)
	}
	w.Write(text)
	w.Close()
	return b.Bytes()
}

// words is text that compresses as text does.
func words(n int) []byte {
	rng := rand.New(rand.NewPCG(1, 2))
	vocabulary := make([]string, 2000)
	for i := range vocabulary {
		word := make([]byte, 2+rng.IntN(9))
		for j := range word {
			word[j] = "etaoinshrdlucmfwypvbgkqjxz"[min(rng.IntN(26), rng.IntN(26))]
		}
		vocabulary[i] = string(word)
	}
	b := make([]byte, 0, n+16)
	for len(b) < n {
		b = append(b, vocabulary[min(rng.IntN(2000), rng.IntN(2000))]...)
		b = append(b, ' ')
	}
	return b[:n]
}

type stream struct {
	name string
	data []byte
	want string // "", or part of the error's text
}

// streams are valid and invalid streams, each for one thing that may go wrong.
func streams() []stream {
	eob := lengths(257, 256, 1)
	two := lengths(257, 'a', 1, 256, 1)
	oneMatch := lengths(258, 'a', 2, 'b', 2, 256, 2, 257, 2) // lengths of 3
	ok := member(stored("ok"), "ok")
	extra := binary.LittleEndian.AppendUint16(nil, 700)
	extra = append(extra, make([]byte, 700)...)
	long := []byte(strings.Repeat("n", 511) + "\x00")
	tooLong := []byte(strings.Repeat("n", 512) + "\x00")
	badChecksum, badLength := bytes.Clone(ok), bytes.Clone(ok)
	badChecksum[len(ok)-5] ^= 1
	badLength[len(ok)-1] ^= 1
	badHeaderCRC := withHeaderCRC(0)
	badHeaderCRC[10] ^= 1
	badMagic, badMethod := bytes.Clone(ok), bytes.Clone(ok)
	badMagic[1] = 0x8c
	badMethod[2] = 7
	badComplement := bytes.Clone(ok)
	badComplement[13] ^= 1
	text := words(100_000)

	return []stream{
		{"empty", nil, "EOF"},
		{"one byte", []byte{0x1f}, "unexpected EOF"},
		{"short garbage", []byte("garbage"), "unexpected EOF"},
		{"garbage", []byte("garbage, garbage"), "not a gzip header"},
		{"bad magic", badMagic, "not a gzip header"},
		{"bad method", badMethod, "not a gzip header"},
		{"header only", plainHeader, "unexpected EOF"},
		{"extra field", withHeader(flagExtra, extra), ""},
		{"name and comment", withHeader(flagName|flagComment, []byte("n\x00c\xe9\x00")), ""},
		{"longest name", withHeader(flagName, long), ""},
		{"name too long", withHeader(flagName, tooLong), "too long"},
		{"comment too long", withHeader(flagComment, tooLong), "too long"},
		{"cut name", append(slices.Clone(plainHeader[:3]), 8, 0, 0, 0, 0, 0, 0, 'n'), "unexpected EOF"},
		{"header checksum", withHeaderCRC(flagExtra|flagName|flagComment, extra, long, []byte("c\x00")), ""},
		{"bad header checksum", badHeaderCRC, "header checksum"},
		{"reserved flags", withHeader(0xe1), ""},

		{"stored", ok, ""},
		{"empty stored", member(stored(""), ""), ""},
		{"bad complement", badComplement, "complement"},
		{"bad checksum", badChecksum, "checksum"},
		{"bad length", badLength, "length mismatch"},
		{"cut trailer", ok[:len(ok)-1], "unexpected EOF"},
		{"cut stored data", ok[:len(ok)-9], "unexpected EOF"},
		{"trailing garbage", append(bytes.Clone(ok), "garbage, garbage"...), "not a gzip header"},
		{"short trailing garbage", append(bytes.Clone(ok), 0), "unexpected EOF"},
		{"trailing zeros", append(bytes.Clone(ok), make([]byte, 512)...), "not a gzip header"},
		{"two members", slices.Concat(ok, member(stored(""), ""), compressed(6, text), ok), ""},
		{"match into previous member", append(bytes.Clone(ok), member(static1().code(1, 7).code(0, 5).code(0, 7).buf, "kkk")...), "distance"},

		{"block type 3", member([]byte{7}, ""), "block type"},
		{"static end", member(static1().code(0, 7).buf, ""), ""},
		{"static literal and match", member(static1().code(0x30+'a', 8).code(1, 7).code(0, 5).code(0, 7).buf, "aaaa"), ""},
		{"static symbol 286", member(static1().code(0x30+'a', 8).code(0xc6, 8).code(0, 7).buf, "a"), "literal or length"},
		{"static symbol 287", member(static1().code(0x30+'a', 8).code(0xc7, 8).code(0, 7).buf, "a"), "literal or length"},
		{"static distance 30", member(static1().code(0x30+'a', 8).code(1, 7).code(30, 5).code(0, 7).buf, "a"), "distance code"},
		{"static distance 31", member(static1().code(0x30+'a', 8).code(1, 7).code(31, 5).code(0, 7).buf, "a"), "distance code"},
		{"distance too far at start", member(static1().code(1, 7).code(0, 5).code(0, 7).buf, ""), "distance"},
		{"distance too far", member(static1().code(0x30+'a', 8).code(1, 7).code(1, 5).code(0, 7).buf, ""), "distance"},
		{"length 258 twice", member(static1().code(0x30+'a', 8).code(0xc5, 8).code(0, 5).code(0xc4, 8).bits(31, 5).code(0, 5).code(0, 7).buf,
			strings.Repeat("a", 1+2*258)), ""},

		{"only an end code", member(dynamic(eob, lengths(1)).code(0, 1).buf, ""), ""},
		{"unused half of the only code", member(dynamic(eob, lengths(1)).code(1, 1).buf, ""), "literal or length"},
		{"only code too long", member(dynamic(lengths(257, 256, 2), lengths(1)).code(0, 2).buf, ""), "literals"},
		{"no literal codes", member(dynamic(lengths(257), lengths(1)).buf, ""), "literal or length"},
		{"no end code", member(dynamic(lengths(257, 'a', 1, 'b', 1), lengths(1)).bits(0, 30).buf, ""), "unexpected EOF"},
		{"literal codes over-subscribed", member(dynamic(lengths(257, 'a', 1, 'b', 1, 256, 1), lengths(1)).buf, ""), "literals"},
		{"literal codes incomplete", member(dynamic(lengths(257, 'a', 2, 'b', 2, 256, 2), lengths(1)).buf, ""), "literals"},
		{"distance codes over-subscribed", member(dynamic(two, lengths(3, 0, 1, 1, 1, 2, 1)).buf, ""), "distances"},
		{"distance codes incomplete", member(dynamic(two, lengths(3, 0, 2, 1, 2, 2, 2)).buf, ""), "distances"},
		{"one distance code", member(dynamic(oneMatch, lengths(1, 0, 1)).code(0, 2).code(3, 2).code(0, 1).code(2, 2).buf, "aaaa"), ""},
		{"unused half of the only distance code", member(dynamic(oneMatch, lengths(1, 0, 1)).code(0, 2).code(3, 2).code(1, 1).code(2, 2).buf, "a"), "distance code"},
		{"no distance codes", member(dynamic(oneMatch, lengths(1)).code(0, 2).code(2, 2).buf, "a"), ""},
		{"match without distance codes", member(dynamic(oneMatch, lengths(1)).code(0, 2).code(3, 2).buf, "a"), "distance code"},
		{"match without distance codes, cut", append(bytes.Clone(plainHeader), dynamic(oneMatch, lengths(1)).code(0, 2).code(3, 2).buf...), "distance code"},
		{"287 literal codes", member(new(bitWriter).bits(1, 1).bits(2, 2).bits(30, 5).bits(0, 5).bits(0, 4).bits(0, 32).buf, ""), "too many codes"},
		{"31 distance codes", member(new(bitWriter).bits(1, 1).bits(2, 2).bits(0, 5).bits(30, 5).bits(0, 4).bits(0, 32).buf, ""), "too many codes"},
		{"286 and 30 codes", member(dynamic(lengths(286, 'a', 1, 285, 2, 256, 2), lengths(30, 0, 1, 29, 1)).
			code(0, 1).code(3, 2).code(0, 1).code(2, 2).buf, strings.Repeat("a", 259)), ""},
		{"no codes for code lengths", member(new(bitWriter).bits(1, 1).bits(2, 2).bits(0, 14).bits(0, 12).bits(0, 64).buf, ""), "code length code"},
		{"incomplete code for code lengths", member(new(bitWriter).bits(1, 1).bits(2, 2).bits(0, 14).bits(2, 12).bits(0, 64).buf, ""), "code for code lengths"},
		{"repeat without a length", member(new(bitWriter).bits(1, 1).bits(2, 2).bits(0, 14).bits(1, 12).bits(0, 64).buf, ""), "without a first"},
		{"too many repeats", member(new(bitWriter).bits(1, 1).bits(2, 2).bits(0, 14).bits(1<<6, 12).bits(1<<7-1, 7).bits(1<<8-1, 64).buf, ""), "code length"},
		{"literal before a longer end code, cut", append(bytes.Clone(plainHeader),
			dynamic(lengths(257, 'a', 1, 'b', 2, 'c', 3, 'd', 4, 'e', 5, 'f', 6, 'g', 7, 'h', 8, 'i', 9, 256, 9), lengths(1)).code(0, 5).buf...), "unexpected EOF"},

		{"text 1", compressed(1, text), ""},
		{"text 6", compressed(6, text), ""},
		{"text 9", compressed(9, text), ""},
		{"text 0", compressed(0, text), ""},
		{"Huffman only", compressed(gzip.HuffmanOnly, text), ""},
		{"zeros", compressed(6, make([]byte, 1<<20)), ""},
		{"a cut text", compressed(6, text)[:20_000], "unexpected EOF"},
	}
}

// The verdict on each stream is that of compress/gzip, be it found by the
// careful decoder or, with enough input behind it, by the fast loop.
func TestStrict(t *testing.T) {
	for i, s := range streams() {
		t.Run(s.name, func(t *testing.T) {
			v := requireSame(t, s.data, uint64(i))
			requireSame(t, append(bytes.Clone(s.data), make([]byte, 3*fastInput)...), uint64(i))
			if s.want == "" {
				require.NoError(t, v.err)
			} else {
				require.ErrorContains(t, v.err, s.want)
			}
		})
	}
}

// So it is for each stream cut off anywhere.
func TestTruncated(t *testing.T) {
	step := 8 / raced.Rounds(t, 1, 8)
	for _, s := range streams() {
		if len(s.data) > 1500 || len(standard(s.data).data) > 10_000 {
			continue
		}
		for n := 0; n < len(s.data); n += step {
			requireSame(t, s.data[:n], uint64(n))
		}
	}
	for _, level := range []int{gzip.HuffmanOnly, 0, 1, 6} {
		data := compressed(level, words(1500))
		for n := 0; n < len(data); n += step {
			requireSame(t, data[:n], uint64(n))
		}
	}
}

// And with any bit of it wrong.
func TestFlippedBits(t *testing.T) {
	data := slices.Concat(compressed(6, words(500)), compressed(1, words(200)), compressed(6, []byte("a")))
	for i := 0; i < len(data)*8; i += 9 / raced.Rounds(t, 1, 9) { // any bit, of any byte
		b := bytes.Clone(data)
		b[i/8] ^= 1 << (i % 8)
		requireSame(t, b, uint64(i))
	}
}

// Random mutations of long streams reach the fast loop's own checks.
func TestMutated(t *testing.T) {
	text := words(150_000)
	rng := rand.New(rand.NewPCG(3, 4))
	for _, level := range []int{gzip.HuffmanOnly, 0, 1, 6, 9} {
		data := compressed(level, text)
		for i := range raced.Rounds(t, 3, 25) {
			t.Run(fmt.Sprint(level, " ", i), func(t *testing.T) {
				b := bytes.Clone(data)
				for range 1 + rng.IntN(3) {
					b[rng.IntN(len(b))] ^= byte(1 + rng.IntN(255))
				}
				requireSame(t, b, uint64(i))
			})
		}
	}
}

// Matches of all kinds end at, before and behind the end of the output buffer
// and of the window, and reach across the window's move to the front.
func TestBufferEnds(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	for i := 0; i < 144; i += 7 / raced.Rounds(t, 1, 7) {
		text := make([]byte, windowSize+i)
		for j := range text {
			text[j] = byte(rng.Uint32())
		}
		w := new(bitWriter).bits(0, 3).align().bits(uint(len(text)), 16).bits(^uint(len(text)), 16)
		w.buf = append(w.buf, text...)
		w.n += uint(len(text)) * 8
		w.bits(1, 1).bits(1, 2)
		distance := []int{1 + i/3%24, windowSize - i/3%3, 1 + rng.IntN(windowSize)}[i%3]
		for length := 0; length < outSize+windowSize; length += 258 {
			w.code(0xc5, 8)
			w.distance(distance)
			if i%2 == 0 {
				w.code(1, 7)
				w.distance(distance)
				w.code(0x30+uint(i%144), 8)
			}
		}
		w.code(0, 7)
		requireSame(t, append(bytes.Clone(plainHeader), w.buf...), uint64(i))
	}
}

// A member begins shortly before the window moves to the front. It must not
// get at the one before it afterwards.
func TestMemberAcrossSlide(t *testing.T) {
	for i := 0; i < 40; i += 7 / raced.Rounds(t, 1, 7) {
		first := compressed(1, words(outLimit-20*i))
		w := static1()
		for range 500 {
			w.code(0x30+'k', 8)
		}
		w.code(1, 7).distance(500).code(1, 7).distance(504).code(0, 7)
		v := requireSame(t, append(first, member(w.buf, "")...), uint64(i))
		require.ErrorContains(t, v.err, reasonDistance)
		require.Len(t, v.data, outLimit-20*i+503)
	}
}

// The longest codes take the most input in a round, and may end anywhere in
// the buffer.
func TestLongCodes(t *testing.T) {
	lit, dist := make([]uint8, 285), make([]uint8, 30)
	for n := 1; n <= maxCode; n++ {
		lit[n], dist[n] = uint8(n), uint8(n)
	}
	lit[endCode], lit[284], lit[maxCode] = maxCode, maxCode, 0
	dist[29] = maxCode

	text := words(windowSize)
	prefix := new(bitWriter).bits(0, 3).align().bits(windowSize, 16).bits(1<<16-1-windowSize, 16)
	rng := rand.New(rand.NewPCG(7, 8))
	for i := range 6 {
		w := &bitWriter{buf: append(bytes.Clone(prefix.buf), text...)}
		w.n = uint(len(w.buf)) * 8
		w.dynamic(lit, dist)
		for range 30 {
			for range []int{0, 1, 2, 2, 2, 3, 4}[rng.IntN(7)] {
				n := uint(11 - rng.IntN(2)*rng.IntN(11))
				w.code(1<<n-2, n) // the literal n
			}
			w.code(1<<15-1, 15).bits(uint(rng.IntN(31)), 5)
			w.code(1<<15-1, 15).bits(uint(rng.IntN(1<<13)), 13)
		}
		w.code(1<<15-2, 15)
		data := append(bytes.Clone(plainHeader), w.buf...)
		for n := range 80 {
			requireSame(t, data[:len(data)-n], uint64(i))
		}
	}
}

// distance adds the static code for a distance.
func (w *bitWriter) distance(distance int) *bitWriter {
	sym := len(distBase) - 1
	for int(distBase[sym]) > distance {
		sym--
	}
	w.code(uint(sym), 5)
	return w.bits(uint(distance-int(distBase[sym])), uint(distExtra[sym]))
}
