package tarfile

import (
	"math"

	"github.com/dockerarchive/dockerarchive/internal/local"
)

// pieces is a File that is several files, which the kernel knows one by one.
type pieces interface {
	// Piece returns the file that holds an offset, the offset in it, and how many
	// bytes there are from there to its end.
	Piece(off int64) (file *local.File, at, n int64, err error)
}

// pieceOf returns the piece of a file, which may be all of it, that holds an offset.
func pieceOf(f File, off int64) (file File, at, n int64, err error) {
	if several, ok := f.(pieces); ok {
		return several.Piece(off)
	}
	return f, off, math.MaxInt64, nil
}

// kernelCopyPieces is kernelCopy if either file may be in pieces.
func kernelCopyPieces(dst File, dstOff int64, src File, srcOff, n int64) (done int64, err error) {
	for done < n {
		to, toOff, toLen, err := pieceOf(dst, dstOff+done)
		if err != nil {
			return done, err
		}
		from, fromOff, fromLen, err := pieceOf(src, srcOff+done)
		if err != nil {
			return done, err
		}
		length := min(toLen, fromLen, n-done)
		copied, err := kernelCopy(to, toOff, from, fromOff, length)
		done += copied
		if err != nil || copied < length {
			return done, err
		}
	}
	return done, nil
}
