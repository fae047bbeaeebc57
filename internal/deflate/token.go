// Package deflate takes gzip and deflate streams (RFC 1952, RFC 1951) apart into
// their tokens, block headers and container, and puts them together again, and
// gives back the same bits. It does not judge: checksums are told, and a stream
// without a unique description here is an error, never an approximation.
//
// It knows nothing of layers, of deltas or of encoders.
package deflate

// Limits of RFC 1951.
const (
	MinMatch = 3
	MaxMatch = 258
	MaxDist  = 32768
)

// Token is a literal or a match: what the decoder does next.
type Token uint32

const isMatch = 1 << 31

// Literal returns the token of one byte.
func Literal(b byte) Token { return Token(b) }

// Match returns the token that repeats length bytes (MinMatch to MaxMatch) from
// dist bytes back (1 to MaxDist).
func Match(length, dist int) Token {
	return Token(isMatch | uint32(length)<<16 | uint32(dist-1))
}

// IsLiteral reports whether the token is a literal.
func (t Token) IsLiteral() bool { return t&isMatch == 0 }

// Byte returns the byte of a literal.
func (t Token) Byte() byte { return byte(t) }

// Len returns how many bytes of text the token makes.
func (t Token) Len() int {
	if t&isMatch == 0 {
		return 1
	}
	return int(t>>16) & 0x1ff
}

// Dist returns how far back a match begins.
func (t Token) Dist() int { return int(t&0xffff) + 1 }

// A symbol of lengths and distances: the first value it stands for, and how many
// further bits say which.
type symbol struct {
	base  uint16
	extra uint8
}

// endOfBlock is the symbol between literals and lengths.
const endOfBlock = 256

const (
	numLits  = 286 // literals, the end of a block, lengths
	numDists = 30
	maxBits  = 15
)

var (
	lengths   [29]symbol
	distances [numDists]symbol

	lengthSymbol [MaxMatch + 1]uint8 // by length
	distSymbol   [512]uint8          // by distance-1 below 256, else by 256 + (distance-1)>>7
)

func init() {
	value := uint16(MinMatch)
	for i := range lengths[:28] {
		e := uint8(max(0, i/4-1))
		lengths[i] = symbol{value, e}
		for range 1 << e {
			lengthSymbol[value] = uint8(i)
			value++
		}
	}
	lengths[28] = symbol{MaxMatch, 0} // not the last value of the symbol before
	lengthSymbol[MaxMatch] = 28
	next := 1
	for i := range distances {
		e := uint8(max(0, i/2-1))
		distances[i] = symbol{uint16(next), e}
		for d := next; d < next+1<<e; d++ {
			if d <= 256 {
				distSymbol[d-1] = uint8(i)
			} else {
				distSymbol[256+(d-1)>>7] = uint8(i)
			}
		}
		next += 1 << e
	}
}

// lengthOf returns the symbol of a length, counted from 0.
func lengthOf(n int) uint8 { return lengthSymbol[n] }

// distOf returns the symbol of a distance.
func distOf(d int) uint8 {
	if d <= 256 {
		return distSymbol[d-1]
	}
	return distSymbol[256+(d-1)>>7]
}
