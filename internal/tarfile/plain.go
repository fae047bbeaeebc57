package tarfile

import (
	"archive/tar"
	"bytes"
)

// plain reads the header of a file, a directory or a symbolic link in the form that
// nearly every tar program writes: ustar, ASCII, numbers in octal digits and an end.
// An archive has thousands of them, and archive/tar, which reads every form there is,
// takes several times as long. ok is false for all other headers, valid or not, which
// are left to archive/tar; if it is true, archive/tar would read the same. It sets
// only name, link, size and kind of hdr.
func plain(block []byte, hdr *tar.Header) (ok bool) {
	const (
		checksum = 148
		kind     = 156
		magic    = 257
		prefix   = 345
		star     = 508 // Another dialect, which has a shorter prefix, has its mark here.
	)
	if len(block) != blockSize || string(block[magic:magic+8]) != "ustar\x0000" || string(block[star:]) == "tar\x00" {
		return false
	}
	switch block[kind] {
	case tar.TypeReg, tar.TypeSymlink, tar.TypeDir:
	default:
		return false
	}
	sum, all := uint64(0), byte(0)
	for _, b := range block {
		sum += uint64(b)
		all |= b
	}
	for _, b := range block[checksum : checksum+8] {
		sum += ' ' - uint64(b) // As if the field had spaces.
	}
	said, ok := octal(block[checksum : checksum+7])
	if !ok || said != sum || block[checksum+7] != ' ' || all >= 0x80 {
		return false
	}
	// Mode, user, group, time and device are read for no more than that they can be.
	for _, field := range [][2]int{{100, 108}, {108, 116}, {116, 124}, {136, 148}, {329, 337}, {337, 345}} {
		if _, ok := octal(block[field[0]:field[1]]); !ok {
			return false
		}
	}
	size, ok := octal(block[124:136])
	if !ok {
		return false
	}
	hdr.Typeflag, hdr.Size = block[kind], int64(size)
	hdr.Linkname = text(block[157:magic])
	hdr.Name = text(block[:100])
	if directory := text(block[prefix : prefix+155]); directory != "" {
		hdr.Name = directory + "/" + hdr.Name
	}
	return true
}

// octal returns the number in a field of octal digits that ends with a zero byte, or
// of zero bytes only.
func octal(field []byte) (n uint64, ok bool) {
	last := len(field) - 1
	if field[0] == 0 {
		return 0, len(bytes.Trim(field, "\x00")) == 0
	}
	for _, b := range field[:last] {
		if b < '0' || b > '7' {
			return 0, false
		}
		n = n<<3 | uint64(b-'0')
	}
	return n, field[last] == 0
}

// text returns a field up to its first zero.
func text(field []byte) string {
	if end := bytes.IndexByte(field, 0); end >= 0 {
		field = field[:end]
	}
	return string(field)
}
