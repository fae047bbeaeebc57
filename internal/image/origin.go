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

// SourcesOf returns the layers of LayerSources that an image with these diff IDs has,
// nil if there are none.
func (o Origin) SourcesOf(diffIDs []digest.Digest) map[digest.Digest]v1.Descriptor {
	var sources map[digest.Digest]v1.Descriptor
	for _, d := range diffIDs {
		if source, ok := o.LayerSources[d]; ok {
			if sources == nil {
				sources = map[digest.Digest]v1.Descriptor{}
			}
			sources[d] = source
		}
	}
	return sources
}

// LayerSources returns the layers that have URLs by diff ID, nil if none has: those of
// the manifest, and those that only the image's origin knows of.
func (i *Image) LayerSources(manifest *Document, diffIDs []digest.Digest) map[digest.Digest]v1.Descriptor {
	sources := i.Origins[manifest.Config.Digest].SourcesOf(diffIDs)
	for n, l := range manifest.Layers {
		if len(l.URLs) == 0 {
			continue
		}
		if sources == nil {
			sources = map[digest.Digest]v1.Descriptor{}
		}
		sources[diffIDs[n]] = v1.Descriptor{MediaType: l.MediaType, Digest: l.Digest, Size: l.Size, URLs: l.URLs}
	}
	return sources
}
