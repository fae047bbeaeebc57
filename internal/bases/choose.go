package bases

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"maps"
	"math/bits"
	"runtime"
	"slices"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/dockerarchive/dockerarchive/internal/catalog"
	"github.com/dockerarchive/dockerarchive/internal/compression"
)

const (
	// maxBases is of how many layers one is made at most.
	maxBases = 8
	// sampleBits say for how many bytes of text one sample stands, on average: 2048 at first.
	sampleBits = 11
	// window is how many bytes of text a sample is of.
	window = 48
	// maxSamples is of how many samples and names a sketch is at most: one of a layer of any size
	// takes 3 MB. The samples of a text of more than 128 MB stand for more bytes each.
	maxSamples = 1 << 16
	// worth is which part of a text a further base has to bring.
	worth = 64
	// maxRatio is against decompression bombs: a layer of any size may unpack to minLimit bytes, or
	// to so many times its size. One that is larger is no base, and is saved whole.
	maxRatio = 100
	minLimit = 1 << 30
)

// sketch is what is known of the text of a layer: samples of its content, and the names of
// its files. Both are kept as hashes only. The same content has the same hashes wherever it
// is.
type sketch struct {
	samples map[uint64]struct{}
	bits    int              // a sample stands for 1<<bits bytes: so many of its highest bits are 0
	names   map[uint64]int64 // sizes of the files
	size    int64            // in bytes, of the text
}

func newSketch() *sketch {
	return &sketch{samples: map[uint64]struct{}{}, bits: sampleBits, names: map[uint64]int64{}}
}

// add adds a sample that stands for enough bytes. If there are too many, every other one goes.
func (s *sketch) add(h uint64) {
	s.samples[h] = struct{}{}
	for len(s.samples) > maxSamples && s.bits < 63 {
		s.thin(s.bits + 1)
	}
}

// thin leaves the samples that stand for 1<<bits bytes each.
func (s *sketch) thin(bits int) {
	s.bits = bits
	maps.DeleteFunc(s.samples, func(h uint64, _ struct{}) bool { return h>>(64-bits) != 0 })
}

// seed makes hashes of names. They never leave the process.
var seed = maphash.MakeSeed()

// sketchOf reads a layer. The sketch of one that cannot be decompressed is empty: it has nothing
// that a base could have.
func sketchOf(ctx context.Context, loan *catalog.Loan) (*sketch, error) {
	prefix := make([]byte, compression.PrefixLen)
	n, err := loan.ReadAt(prefix, 0)
	if err != nil && err != io.EOF {
		return nil, err
	}
	in := &layerReader{r: io.NewSectionReader(loan, 0, loan.Size())}
	s := newSketch()
	text, err := compression.NewReader(in, compression.Detect(prefix[:n]))
	if err == nil {
		err = s.read(ctx, bufio.NewReaderSize(text, 256<<10), max(minLimit, loan.Size()*maxRatio))
		_ = text.Close() // It was only read.
	}
	if failed := in.failed.Load(); failed != nil {
		return nil, *failed
	}
	if cause := context.Cause(ctx); cause != nil {
		return nil, cause
	}
	if err != nil {
		return &sketch{}, nil
	}
	return s, nil
}

// layerReader keeps the error of reading a layer: decompressing it fails likewise, but for another
// reason. Decoders may read in a goroutine of their own.
type layerReader struct {
	r      io.Reader
	failed atomic.Pointer[error]
}

// Read implements io.Reader.
func (r *layerReader) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	if err != nil && err != io.EOF {
		r.failed.Store(&err)
	}
	return n, err
}

// errBomb means that a layer unpacks to more than any of use does.
var errBomb = errors.New("the layer is a decompression bomb")

// read takes samples where a rolling hash of the last bytes says so, and looks at each
// block for a tar header. It reads about so many bytes at most.
func (s *sketch) read(ctx context.Context, r io.Reader, most int64) error {
	const block = 512
	buf := make([]byte, 128*block)
	var ring [window]byte
	h := zeros // As the ring is, so that only the last bytes count.
	at := 0
	for {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		n, err := io.ReadFull(r, buf)
		for _, b := range buf[:n] {
			h = bits.RotateLeft64(h, 1) ^ bits.RotateLeft64(table[ring[at]], window) ^ table[b]
			ring[at] = b
			if at++; at == window {
				at = 0
			}
			if h>>(64-s.bits) == 0 && h != 0 {
				s.add(h)
			}
		}
		for off := 0; off+block <= n; off += block {
			s.header(buf[off : off+block])
		}
		if s.size += int64(n); s.size > most {
			return errBomb
		}
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// header notes the name of a file whose header this is, if it is one.
func (s *sketch) header(b []byte) {
	if string(b[257:262]) != "ustar" || b[156] != '0' && b[156] != 0 {
		return
	}
	var size int64
	for _, c := range b[124:135] {
		if c < '0' || c > '7' {
			return
		}
		size = size<<3 | int64(c-'0')
	}
	if size > 0 && len(s.names) < maxSamples {
		s.names[maphash.Bytes(seed, append(slices.Clone(b[:100]), b[345:500]...))] = size
	}
}

// table has a random number for each byte, always the same.
var table = func() (t [256]uint64) {
	x := uint64(0x9e3779b97f4a7c15)
	for i := range t {
		x += 0x9e3779b97f4a7c15
		z := x
		z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
		z = (z ^ z>>27) * 0x94d049bb133111eb
		t[i] = z ^ z>>31
	}
	return t
}()

// zeros is the hash of a window of them.
var zeros = func() (h uint64) {
	for n := range window {
		h ^= bits.RotateLeft64(table[0], n)
	}
	return h
}()

// sketch reads all layers, once.
func (s *Set) sketch(ctx context.Context) ([]*Layer, []*sketch, error) {
	s.mu.Lock()
	layers, known := slices.Clone(s.layers), s.sketches
	s.mu.Unlock()
	if known != nil {
		return layers, known, nil
	}
	layers = distinct(layers)
	known = make([]*sketch, len(layers))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	for n, l := range layers {
		g.Go(func() error {
			loan, err := l.Open(gctx)
			if err != nil {
				return fmt.Errorf("reading layer %s of %s: %w", l.name(), l.From, err)
			}
			defer loan.Return()
			if known[n], err = sketchOf(gctx, loan); err != nil {
				return fmt.Errorf("reading layer %s of %s: %w", l.name(), l.From, err)
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, nil, err
	}
	s.mu.Lock()
	s.layers, s.sketches = layers, known
	s.mu.Unlock()
	return layers, known, nil
}

// distinct sorts layers, and leaves one of each. Neither depends on which was added first. A
// layer that is there only in a form that no manifest describes is needed only if it is there in
// no other.
func distinct(layers []*Layer) []*Layer {
	undescribed := func(l *Layer) int {
		if l.Digest == "" {
			return 1
		}
		return 0
	}
	slices.SortStableFunc(layers, func(a, b *Layer) int {
		return cmp.Or(cmp.Compare(a.DiffID, b.DiffID), undescribed(a)-undescribed(b), cmp.Compare(a.Digest, b.Digest), cmp.Compare(a.From, b.From))
	})
	return slices.CompactFunc(layers, func(l, before *Layer) bool {
		return l.DiffID == before.DiffID && (l.Digest == before.Digest || l.Digest == "" && l.DiffID != "")
	})
}

// choose returns the best bases for a layer: each time the one that adds most to those
// before it.
func choose(target *sketch, layers []*Layer, known []*sketch) []*Layer {
	var chosen []*Layer
	left := &sketch{samples: maps.Clone(target.samples), bits: target.bits, names: maps.Clone(target.names), size: target.size}
	for len(chosen) < maxBases {
		best, most := -1, max(target.size/worth, 1)
		for n, k := range known {
			if has := left.in(k); has > most && !slices.Contains(chosen, layers[n]) {
				best, most = n, has
			}
		}
		if best < 0 {
			return chosen
		}
		chosen = append(chosen, layers[best])
		left.without(known[best])
	}
	return chosen
}

// in returns how many bytes of s another one may have. A file of the same name counts for a
// quarter of its size: it may be another version that no sample finds, such as a program
// whose addresses have all moved.
func (s *sketch) in(other *sketch) int64 {
	var sum int64
	both := max(s.bits, other.bits) // Neither has all samples with fewer zeros.
	for h := range s.samples {
		if _, ok := other.samples[h]; ok && h>>(64-both) == 0 {
			sum += 1 << both
		}
	}
	for h, size := range s.names {
		if has, ok := other.names[h]; ok {
			sum += min(size, has) / 4
		}
	}
	return sum
}

// without takes away what another one has. What it may have, but has no samples of, goes too.
func (s *sketch) without(other *sketch) {
	if other.bits > s.bits {
		s.thin(other.bits)
	}
	for h := range other.samples {
		delete(s.samples, h)
	}
	for h := range other.names {
		delete(s.names, h)
	}
}
