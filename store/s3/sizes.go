package s3

// The limits of multipart uploads.
const (
	minPart  = 5 << 20 // bytes that every part but the last must have
	maxPart  = 5 << 30
	maxParts = 10_000
)

const (
	// firstPart is the size of the parts of an archive that fits into 8,000 of them.
	firstPart = 8 << 20
	// inFlight is how many parts are sent, or copied, at the same time. One more is being filled.
	inFlight = 4
	// unexpected is how many parts have the same size if the size of the archive is not known.
	unexpected = 4000
	// expected is how many parts, at most, have the same size if it is known.
	expected = 8000
)

// sizes are the sizes of parts. All parts up to the expected end of the object have the same size, as some stores
// demand. Later parts, and those of an object of unknown size from unexpected on, double again and again, so that
// 10,000 parts suffice.
type sizes struct {
	base   int64
	steady int
}

// sizesFor returns the sizes of parts for n bytes, 0 if that is not known, which follow a number of parts that are
// copied.
func sizesFor(n int64, copied int) sizes {
	s := sizes{base: firstPart}
	for n > s.base*int64(expected-copied) {
		s.base *= 2
	}
	s.steady = copied + max(unexpected, int((n+s.base-1)/s.base)+1)
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
