package catalog

import (
	"fmt"

	"github.com/dockerarchive/dockerarchive/errdef"
	"github.com/dockerarchive/dockerarchive/internal/image"
)

// These bound what the documents of an archive may ask of a reader.
const (
	// maxTableOfContents bounds manifest.json, index.json and repositories, which
	// speak of all images of an archive. At 130 bytes for a layer it is enough
	// for 3,000 images of 20 layers.
	maxTableOfContents = 8 << 20

	// maxLegacyChain bounds the layers of an image without a config. Docker's own
	// limit is 125.
	maxLegacyChain = 1 << 10
)

// CheckTable fails for a table of contents that would not be read.
func CheckTable(name string, data []byte) error {
	if len(data) > maxTableOfContents {
		return fmt.Errorf("%s: %w: %d bytes, at most %d are allowed", name, errdef.ErrLimit, len(data), maxTableOfContents)
	}
	if err := image.CheckDocument(data); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}
