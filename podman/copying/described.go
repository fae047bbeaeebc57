package copying

import (
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/dockerarchive/dockerarchive/internal/image"
)

// size returns how many bytes the blobs of an image have, -1 if that is not known.
func (i *savedImage) size() int64 {
	var sum int64
	seen := map[digest.Digest]bool{}
	for _, blob := range i.needed {
		if blob.Kind == image.KindDocument || seen[blob.Digest] {
			continue
		}
		if blob.Size < 0 {
			return -1
		}
		seen[blob.Digest] = true
		sum += blob.Size
	}
	return sum
}

// describe keeps what the configs say that an image is for.
func (i *savedImage) describe(content *image.Image) {
	for _, document := range i.documents {
		if document.Config == nil {
			continue
		}
		d := document.Config.Digest
		config, err := image.ParseConfig(d.String(), content.Configs[d])
		if err != nil || config.Platform.OS == "" || config.Platform.OS == "unknown" {
			continue // That of an attestation, or of something else than an image.
		}
		if p := image.PlatformString(&config.Platform); !slices.Contains(i.platforms, p) {
			i.platforms = append(i.platforms, p)
		}
	}
}
