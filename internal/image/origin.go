package image

import (
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// Origin is what Docker's manifest.json says of an image beside what it consists of.
type Origin struct {
	// Parent is the digest of the config of the image that it was built on, "" if
	// that is not known. The parent need not be in the same archive.
	Parent digest.Digest
	// LayerSources are the layers that have URLs, as a registry has them, by diff ID.
	LayerSources map[digest.Digest]v1.Descriptor
}

// LayerSources returns the layers that have URLs by diff ID, nil if none has: those of
// the manifest, and those that only the image's origin knows of.
func (i *Image) LayerSources(manifest *Document, diffIDs []digest.Digest) map[digest.Digest]v1.Descriptor {
	sources := map[digest.Digest]v1.Descriptor{}
	for n, l := range manifest.Layers {
		if len(l.URLs) > 0 {
			sources[diffIDs[n]] = v1.Descriptor{MediaType: l.MediaType, Digest: l.Digest, Size: l.Size, URLs: l.URLs}
		}
	}
	known := i.Origins[manifest.Config.Digest].LayerSources
	for _, d := range diffIDs {
		source, ok := known[d]
		if _, better := sources[d]; ok && !better {
			sources[d] = source
		}
	}
	if len(sources) == 0 {
		return nil
	}
	return sources
}
