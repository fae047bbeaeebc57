package compression

import (
	"encoding/binary"

	"github.com/klauspost/compress/zstd"
)

// maxRatio is how many times its own size a stream may claim to unpack to. More is
// possible, but fast to decompress, and few honest streams claim it.
const maxRatio = 64

// SizeAtEnd returns how many bytes at the end of a stream Unpacked needs, 0 if the
// size is not there.
func (a Algorithm) SizeAtEnd() int {
	if a == Gzip {
		return 4
	}
	return 0
}

// Unpacked returns how many bytes a stream of the given size says that it becomes when
// it is decompressed, from its first PrefixLen and last SizeAtEnd bytes. It may be
// wrong: for a stream of several parts, even if that is not damaged. A size that is
// known to be wrong is not returned.
func (a Algorithm) Unpacked(start, end []byte, size int64) (unpacked int64, ok bool) {
	switch a {
	case Gzip:
		if len(end) != a.SizeAtEnd() {
			return 0, false
		}
		// This counts the last member only, modulo 4 GiB.
		unpacked = int64(binary.LittleEndian.Uint32(end))
	case Zstd:
		var header zstd.Header // The first frame's.
		if header.Decode(start) != nil || !header.HasFCS || header.FrameContentSize > 1<<62 {
			return 0, false
		}
		unpacked = int64(header.FrameContentSize)
	}
	// Incompressible data is stored, with a few bytes more for each block.
	least := size - size/256 - 1024
	return unpacked, unpacked > 0 && unpacked >= least && unpacked/maxRatio <= size
}
