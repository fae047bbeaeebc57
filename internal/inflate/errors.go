package inflate

import (
	"compress/flate"
	"errors"
	"fmt"
)

var (
	errBadRead  = errors.New("inflate: reader returned an impossible count")
	errClosed   = errors.New("inflate: reader is closed")
	errBadWrite = errors.New("inflate: writer returned an impossible count")
)

// CorruptError says that the input is not valid gzip.
//
// Err is [gzip.ErrHeader] for a bad member header, [gzip.ErrChecksum] for
// data that differs from its checksum or length, and a
// [flate.CorruptInputError] for anything wrong inside the compressed data.
type CorruptError struct {
	Offset int64  // bytes of compressed input used when it was found
	Reason string // what is wrong, for people
	Err    error
}

// Error says what is wrong, and where.
func (e *CorruptError) Error() string {
	return fmt.Sprintf("inflate: corrupt input before offset %d: %s", e.Offset, e.Reason)
}

// Unwrap returns e.Err.
func (e *CorruptError) Unwrap() error { return e.Err }

// corrupt ends decoding because of invalid compressed data.
func (d *decoder) corrupt(reason string) {
	offset := d.offset()
	d.err = &CorruptError{Offset: offset, Reason: reason, Err: flate.CorruptInputError(offset)}
}

// short ends decoding because there is no more input.
func (d *decoder) short() {
	d.err = d.failure()
}
