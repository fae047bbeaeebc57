package tarfile

import (
	"archive/tar"
	"strings"
)

// isPlain reports whether a header takes one block of the form that plain reads: a file, a
// directory or a symbolic link with a short ASCII name.
func isPlain(h *tar.Header) bool {
	const limit, largest = 0o7777777, maxOctalSize
	switch h.Typeflag {
	case tar.TypeReg:
		if strings.HasSuffix(h.Name, "/") {
			return false
		}
	case tar.TypeSymlink, tar.TypeDir:
		if h.Size != 0 {
			return false
		}
	default:
		return false
	}
	//lint:ignore SA1019 Others may set Xattrs.
	if h.Format != tar.FormatUnknown && h.Format != tar.FormatUSTAR || len(h.PAXRecords) > 0 || len(h.Xattrs) > 0 {
		return false
	}
	for _, n := range []int64{h.Mode, int64(h.Uid), int64(h.Gid)} {
		if n < 0 || n > limit {
			return false
		}
	}
	if !h.ModTime.IsZero() && (h.ModTime.Nanosecond() != 0 || h.ModTime.Unix() < 0 || h.ModTime.Unix() > largest) {
		return false
	}
	return h.Size >= 0 && h.Size <= largest && h.Devmajor == 0 && h.Devminor == 0 && h.AccessTime.IsZero() && h.ChangeTime.IsZero() &&
		short(h.Name, 100) && short(h.Linkname, 100) && short(h.Uname, 32) && short(h.Gname, 32)
}

// short reports whether a string is ASCII of so many bytes at most.
func short(s string, most int) bool {
	return len(s) <= most && strings.IndexFunc(s, func(r rune) bool { return r == 0 || r >= 0x80 }) < 0
}

// appendPlain appends the block of a header for which isPlain is true, as archive/tar
// writes it. An archive may have a hundred thousand of them, and a tar.Writer for each
// would take 2 KB.
func appendPlain(b []byte, h *tar.Header) []byte {
	start := len(b)
	b = append(b, zeros[:blockSize]...)
	block := b[start:]
	var modified int64
	if !h.ModTime.IsZero() {
		modified = h.ModTime.Unix()
	}
	copy(block, h.Name)
	putOctal(block[100:107], h.Mode)
	putOctal(block[108:115], int64(h.Uid))
	putOctal(block[116:123], int64(h.Gid))
	putOctal(block[124:135], h.Size)
	putOctal(block[136:147], modified)
	block[156] = h.Typeflag
	copy(block[157:257], h.Linkname)
	copy(block[257:], "ustar\x0000")
	copy(block[265:297], h.Uname)
	copy(block[297:329], h.Gname)
	putOctal(block[329:336], 0)
	putOctal(block[337:344], 0)
	sum := int64(8 * ' ')
	for _, c := range block {
		sum += int64(c)
	}
	putOctal(block[148:154], sum)
	block[155] = ' '
	return b
}

// putOctal fills a field with the digits of a number.
func putOctal(field []byte, n int64) {
	for i := len(field) - 1; i >= 0; i-- {
		field[i] = '0' + byte(n&7)
		n >>= 3
	}
}
