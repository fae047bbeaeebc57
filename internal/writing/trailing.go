package writing

import (
	"archive/tar"
	"bytes"
	"io"
	"slices"

	"github.com/opencontainers/go-digest"
	"github.com/sirupsen/logrus"
)

// partsMark begins the last block of the last part of an archive in parts. The list of the
// parts stands behind the archive's end.
var partsMark = []byte("docker-archive parts ")

// warnOfTrailing warns that bytes behind the end of the archive are going to be
// overwritten or cut off, unless this program has left them there: an interrupted change,
// or a list of parts.
func (e *Existing) warnOfTrailing() {
	if left := e.out.Size() - e.from; left > 0 && !e.isOurs(left) {
		logrus.Warnf("%s: %d bytes follow the end of the archive, and are discarded: they belong to nothing in it", e.out.Name(), left)
	}
}

// isOurs reports whether the bytes after the end of the archive look like those of an
// interrupted change: they begin with a blob such as this archive has, and no table of
// contents follows, as it does if somebody has appended another archive.
func (e *Existing) isOurs(left int64) bool {
	rest := io.NewSectionReader(e.out.Old(), e.from, left)
	block := make([]byte, tarBlock)
	if n, _ := rest.ReadAt(block, left-tarBlock); n == len(block) && bytes.HasPrefix(block, partsMark) {
		return true
	}
	for empty := 0; empty < maxPadding; empty += tarBlock { // There may be holes before it.
		if _, err := io.ReadFull(rest, block); err != nil {
			return false
		}
		if len(bytes.Trim(block, "\x00")) > 0 {
			break
		}
	}
	if _, err := rest.Seek(-tarBlock, io.SeekCurrent); err != nil {
		return false
	}
	entries := tar.NewReader(rest)
	for n := range maxRests {
		header, err := entries.Next()
		switch {
		case err != nil:
			return n > 0 // It is cut short.
		case n == 0 && !e.isBlob(header.Name), slices.Contains(documents, header.Name):
			return false
		}
	}
	return false
}

// isBlob reports whether an entry of this name is one of a blob.
func (e *Existing) isBlob(name string) bool {
	d, err := digest.Parse(digest.Canonical.String() + ":" + encoded().FindString(name))
	return err == nil && (e.layout.BlobName(d) == name || e.layout.ConfigName(d) == name)
}
