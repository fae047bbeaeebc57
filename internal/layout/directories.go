package layout

import (
	"slices"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/dockerarchive/dockerarchive/internal/image"
)

// directories are the algorithms whose blobs have a directory in an OCI layout.
type directories map[digest.Algorithm]bool

// newDirectories returns those that an archive starts with.
func newDirectories() directories { return directories{digest.Canonical: true} }

// directoryOf returns the path of the directory for blobs of an algorithm.
func directoryOf(a digest.Algorithm) string { return v1.ImageBlobsDir + "/" + a.String() }

// read adds those of an archive.
func (d directories) read(old Archive) {
	for _, a := range []digest.Algorithm{digest.SHA384, digest.SHA512} {
		if old.Has(directoryOf(a)) {
			d[a] = true
		}
	}
}

// missing returns the algorithms of an image's blobs that have none, in the order of
// the blobs.
func (d directories) missing(img *image.Image) (missing []digest.Algorithm) {
	for b := range img.Blobs() {
		if a := b.Digest.Algorithm(); !d[a] && !slices.Contains(missing, a) {
			missing = append(missing, a)
		}
	}
	return missing
}

func (d directories) add(algorithms []digest.Algorithm) {
	for _, a := range algorithms {
		d[a] = true
	}
}
