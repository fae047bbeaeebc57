package delta

import (
	"math"

	"github.com/dockerarchive/dockerarchive/internal/deflate"
)

const (
	// chunkSize is how much text encoders of chunks take at a time.
	chunkSize = 65535
	// minChunk is the shortest text that such encoders search for matches.
	minChunk = 128
)

// A chunkModel predicts the tokens of encoders that take the text in chunks. No match
// goes beyond the end of its chunk, and a chunk that gets little smaller by its matches
// has none.
//
// It has been written from how these encoders behave, and is frozen: what it
// predicts is part of the format. docs/format.md has its rules.
type chunkModel struct {
	search    chunkSearch
	part      int64 // the text is compressed in parts of so many bytes
	pos       int64 // where the next chunk begins
	partEnd   int64
	remaining int64 // of the part before, known to the search of the next one
}

// chunkSearch looks for matches in chunks.
type chunkSearch interface {
	// tokens appends the tokens of the text from begin to end. A literal is 0.
	tokens(text *window, begin, end int64, out []deflate.Token) []deflate.Token
	// restart forgets everything, and goes on from a place.
	restart(pos int64)
}

// whole is the part of encoders that compress the text as one.
const whole = math.MaxInt64

// pgzip compresses parts by themselves; the search for each begins in the part before.
const (
	pgzipPart   = 1 << 20
	pgzipBefore = 16 << 10
)

func newChunkModel(s chunkSearch, part int64) *chunkModel {
	s.restart(0)
	return &chunkModel{search: s, part: part, partEnd: part, remaining: pgzipBefore}
}

// chunkEnd returns where the chunk ends that a place is in, if the text is that long.
func chunkEnd(pos, part int64) int64 {
	begin := pos - pos%part
	end := pos + chunkSize - (pos-begin)%chunkSize
	if end-begin > part {
		return begin + part
	}
	return end
}

func (m *chunkModel) predict(text *window, last bool, tokens []deflate.Token) ([]deflate.Token, error) {
	for m.pos < text.end {
		end := chunkEnd(m.pos, m.part)
		if end > text.end {
			if !last {
				break
			}
			end = text.end
		}
		tokens = m.chunk(text, end, tokens)
		m.pos = end
		if end == m.partEnd {
			m.partEnd += m.part
			before := end - m.remaining
			m.search.restart(before)
			n := len(tokens)
			tokens = m.search.tokens(text, before, end, tokens)[:n]
		}
	}
	return tokens, nil
}

// chunk predicts the tokens up to the end of a chunk.
func (m *chunkModel) chunk(text *window, end int64, tokens []deflate.Token) []deflate.Token {
	size, before := int(end-m.pos), len(tokens)
	if size >= minChunk {
		tokens = m.search.tokens(text, m.pos, end, tokens)
		if len(tokens)-before <= size-size>>4 {
			return tokens
		}
	}
	return literals(tokens[:before], size)
}

// literals appends n literals.
func literals(tokens []deflate.Token, n int) []deflate.Token {
	return append(tokens, make([]deflate.Token, n)...)
}
