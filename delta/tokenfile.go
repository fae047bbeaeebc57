package delta

import (
	"encoding/binary"
	"io"
	"math"

	"github.com/dockerarchive/dockerarchive/internal/deflate"
	"github.com/dockerarchive/dockerarchive/internal/local"
	"github.com/dockerarchive/dockerarchive/internal/spool"
)

// A tokenFile holds the tokens of a base in a temporary file, as words of 32 bits:
// up to 127 literals, and then a match or nothing. A word of more than three bytes
// of text takes four, so the file is hardly larger than the text, and mostly much
// smaller.
type tokenFile struct {
	file    *local.File
	buf     []byte
	written int64 // bytes
	pos     int64 // of text: where the next word begins
	run     uint32
	step    int64 // of text, between entries of the index
	index   []tokenPlace
	entries int // of the index, at most
	err     error
}

// tokenPlace is where a word is, and the text that it makes.
type tokenPlace struct{ word, pos int64 }

const (
	maxRun     = 127
	tokenPage  = 16 << 10
	indexSteps = 1 << 17 // at most, of a base
	allSteps   = 1 << 20 // and of all bases of a delta
)

// newTokenFile returns an empty file for the tokens of one of so many bases.
func newTokenFile(dir string, bases int) (*tokenFile, error) {
	f, err := spool.Create(dir)
	if err != nil {
		return nil, err
	}
	return &tokenFile{file: f, buf: make([]byte, 0, tokenPage), step: 4 << 10, entries: min(indexSteps, allSteps/bases)}, nil
}

// Close closes the file.
func (t *tokenFile) Close() error { return t.file.Close() }

// word appends the literals that wait, and a match of n bytes, n being 0 for none.
func (t *tokenFile) word(n, dist int) {
	if t.pos >= int64(len(t.index))*t.step {
		place := tokenPlace{(t.written + int64(len(t.buf))) / 4, t.pos}
		for int64(len(t.index))*t.step <= t.pos {
			if len(t.index) == t.entries {
				t.thin()
				continue
			}
			t.index = append(t.index, place)
		}
	}
	w := t.run | uint32(n)<<7 | uint32(dist)<<16
	t.pos += int64(t.run) + int64(n)
	t.run = 0
	t.buf = binary.LittleEndian.AppendUint32(t.buf, w)
	if len(t.buf) == cap(t.buf) {
		t.flush()
	}
}

// thin leaves every second entry of the index, from the first one on.
func (t *tokenFile) thin() {
	n := 0
	for i := 0; i < len(t.index); i += 2 {
		t.index[n] = t.index[i]
		n++
	}
	t.index = t.index[:n]
	t.step *= 2
}

func (t *tokenFile) flush() {
	if t.err == nil {
		_, t.err = t.file.WriteAt(t.buf, t.written)
	}
	t.written += int64(len(t.buf))
	t.buf = t.buf[:0]
}

func (t *tokenFile) literals(n int) {
	for range n {
		if t.run == maxRun {
			t.word(0, 0)
		}
		t.run++
	}
}

func (t *tokenFile) add(tokens []deflate.Token) {
	for _, x := range tokens {
		if !x.IsLiteral() {
			t.word(x.Len(), x.Dist()-1)
			continue
		}
		if t.run == maxRun {
			t.word(0, 0)
		}
		t.run++
	}
}

// finish writes pending tokens.
func (t *tokenFile) finish() error {
	if t.run > 0 {
		t.word(0, 0)
	}
	t.flush()
	t.buf = nil
	return t.err
}

// tokenReader reads a tokenFile from any position of the text on.
type tokenReader struct {
	t       *tokenFile
	page    []byte
	first   int64 // word of the page
	next    int64 // word
	pos     int64 // of text: where the next token begins
	run     int   // literals before the match
	n, dist int
	err     error
}

// seek goes to the first token that begins at pos or behind it.
func (r *tokenReader) seek(pos int64) {
	if pos < r.pos || pos-r.pos > r.t.step {
		if len(r.t.index) == 0 {
			r.pos = math.MaxInt64
			return
		}
		// An entry's word begins at its multiple of step or a little behind.
		i := min(pos/r.t.step, int64(len(r.t.index))-1)
		p := r.t.index[i]
		if p.pos > pos && i > 0 {
			p = r.t.index[i-1]
		}
		r.next, r.pos, r.run, r.n = p.word, p.pos, 0, 0
	}
	for r.pos < pos {
		if r.run > 0 {
			k := min(int64(r.run), pos-r.pos)
			r.run -= int(k)
			r.pos += k
			continue
		}
		r.pos += int64(r.n)
		r.n = 0
		if r.pos < pos && !r.load() {
			return
		}
	}
}

// load reads the next word. It reports whether there is one.
func (r *tokenReader) load() bool {
	if r.next*4 >= r.t.written || r.err != nil {
		r.pos = math.MaxInt64
		return false
	}
	if r.next < r.first || r.next >= r.first+int64(len(r.page)/4) {
		if r.page == nil {
			r.page = make([]byte, tokenPage)
		}
		r.first = r.next
		r.page = r.page[:min(tokenPage, r.t.written-r.next*4)]
		var n int
		if n, r.err = r.t.file.ReadAt(r.page, r.next*4); n == len(r.page) {
			r.err = nil
		} else if r.err == io.EOF {
			r.err = io.ErrUnexpectedEOF
		}
		if r.err != nil {
			r.pos = math.MaxInt64
			return false
		}
	}
	w := binary.LittleEndian.Uint32(r.page[(r.next-r.first)*4:])
	r.next++
	r.run, r.n, r.dist = int(w&maxRun), int(w>>7&0x1ff), int(w>>16)+1
	return true
}

// peek returns how long the next token is and, for a match, how far back it
// begins, else 0. A length of 0 is the end.
func (r *tokenReader) peek() (n, dist int) {
	for r.run == 0 && r.n == 0 {
		if r.pos == math.MaxInt64 || !r.load() {
			return 0, 0
		}
	}
	if r.run > 0 {
		return 1, 0
	}
	return r.n, r.dist
}

// skip goes on to the token after the match that peek returned.
func (r *tokenReader) skip() {
	r.pos += int64(r.n)
	r.n = 0
}

// skipLiterals goes on to the token after the literals that are next, but by at most so many.
func (r *tokenReader) skipLiterals(most int64) int {
	k := int(min(int64(r.run), most))
	r.run -= k
	r.pos += int64(k)
	return k
}
