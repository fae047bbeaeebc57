package s3

// The limits of multipart uploads.
const (
	minPart  = 5 << 20 // the fewest bytes of a part, but for the last one
	maxPart  = 5 << 30
	maxParts = 10_000
)

const (
	// firstPart is the size of parts of archives that fit into 8,000 of them.
	firstPart = 8 << 20
	// inFlight is how many parts are sent, or copied, at the same time. One more is being filled.
	inFlight = 4
	// unexpected is how many parts have the same size if nobody knows how large the archive will be.
	unexpected = 1000
	// expected is the same, at most, if it is known.
	expected = 8000
)

// sizes says how large parts are. All have the same size up to the expected end of the object, as some stores
// demand. Behind it, and if nothing is expected, they double again and again, so that 10,000 suffice.
type sizes struct {
	base   int64
	steady int
}

// sizesFor returns the sizes of the parts of an object of n bytes, 0 if that is not known.
func sizesFor(n int64) sizes {
	s := sizes{base: firstPart, steady: unexpected}
	for n > s.base*expected {
		s.base *= 2
	}
	s.steady = max(s.steady, int((n+s.base-1)/s.base)+1)
	return s
}

// of returns the size of a part by its number, from 1 on.
func (s sizes) of(number int) int64 {
	size := s.base
	step := (maxParts - s.steady) / 20
	for last := s.steady; number > last && size < maxPart; last += step {
		size *= 2
	}
	return min(size, maxPart)
}
