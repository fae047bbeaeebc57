package delta

import "errors"

// Errors of making and applying deltas. They are wrapped with the operation;
// errors.Is finds them. Errors of readers and writers are none of these.
var (
	// ErrDamaged means that a delta is cut short, contradicts itself or does not
	// lead to the blob that it promises.
	ErrDamaged = errors.New("damaged delta")
	// ErrVersion means that a delta is of a version, or needs a predictor, that this
	// package does not know.
	ErrVersion = errors.New("delta of an unknown version")
	// ErrWrongBase means that a base is not the blob that the delta was made from.
	ErrWrongBase = errors.New("wrong base")
	// ErrDamagedBase means that a base cannot be decompressed.
	ErrDamagedBase = errors.New("damaged base")
	// ErrLargeBase means that a base takes too much to decompress: a zstd window of more than
	// 32 MiB, or a text of more than 1032 times its size (100 times, or 1 GiB, for zstd). It may
	// be the right one. Decompress it, and give its text.
	ErrLargeBase = errors.New("base takes too much to decompress")
	// ErrNeedsCompressedBase means that a base has the right text, but the delta
	// needs the very gzip file that it was made from. It is an ErrWrongBase.
	ErrNeedsCompressedBase = needsCompressed{}
	// ErrNoGain means that a delta would not be smaller than the blob.
	ErrNoGain = errors.New("a delta would not be smaller")
)

type needsCompressed struct{}

// Error implements error.
func (needsCompressed) Error() string { return "the delta needs its base as it was compressed" }

// Is reports whether the target is ErrWrongBase. This error is a kind of it.
func (needsCompressed) Is(target error) bool { return target == ErrWrongBase }
