package loadable

import (
	"archive/tar"
	"errors"
	"io"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/dockerarchive/dockerarchive/internal/compression"
	"github.com/dockerarchive/dockerarchive/internal/image"
)

// runByOthers are the types of configs and layers that are not of an image, but are run all
// the same: by docker plugin, by shims for WebAssembly, and from file systems that are
// mounted.
var runByOthers = []string{"application/vnd.docker.plugin.", "application/vnd.wasm.", "application/wasm", "application/vnd.erofs.", "application/vnd.sylabs.sif."}

func isRunByOthers(mediaType string) bool {
	return slices.ContainsFunc(runByOthers, func(prefix string) bool { return strings.HasPrefix(mediaType, prefix) })
}

// isInert reports whether no client can run the image of a manifest: its config is not that
// of an image, or none of its layers is a layer. The types say so, and the contents too:
// some clients ignore the type of a layer.
func (a *Archive) isInert(doc *Document) bool {
	f := doc.Fields
	if f.Config == nil || f.Manifests != nil || f.FSLayers != nil {
		return false
	}
	if isRunByOthers(f.Config.MediaType) || slices.ContainsFunc(f.Layers, func(l v1.Descriptor) bool { return isRunByOthers(l.MediaType) }) {
		return false
	}
	if f.Config.MediaType != "" && !image.IsConfigType(f.Config.MediaType) {
		config, err := a.Blob(f.Config.Digest)
		if isAbsent(err) || err == nil && !image.IsConfig(config) {
			return true
		}
	}
	return image.HasOtherLayers(f.Layers) && !slices.ContainsFunc(f.Layers, func(l v1.Descriptor) bool { return a.mayBeTar(l.Digest) })
}

// mayBeTar reports whether a blob that is there unpacks to a tar archive.
func (a *Archive) mayBeTar(d digest.Digest) bool {
	name, err := blobName(d)
	if err != nil {
		return false
	}
	f, err := a.files.Lookup(name)
	if err != nil {
		return !isAbsent(err)
	}
	content := a.files.Open(f)
	prefix := make([]byte, compression.PrefixLen)
	n, err := content.ReadAt(prefix, 0)
	if err != nil && err != io.EOF {
		return true
	}
	stream, err := compression.NewReader(content, compression.Detect(prefix[:n]))
	if err != nil {
		return false // Nobody can unpack it.
	}
	defer stream.Close()   // It was only looked at.
	const enough = 1 << 20 // for the longest header
	limited := &io.LimitedReader{R: stream, N: enough}
	_, err = tar.NewReader(limited).Next()
	return err == nil || err == io.EOF || limited.N == 0 && errors.Is(err, io.ErrUnexpectedEOF)
}

// isUnknown reports whether an index lists a manifest as one for no platform, as BuildKit
// does with attestations.
func isUnknown(d v1.Descriptor) bool {
	return d.Platform != nil && d.Platform.OS == image.UnknownPlatform && d.Platform.Architecture == image.UnknownPlatform
}
