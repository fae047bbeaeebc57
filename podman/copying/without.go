package copying

import (
	"context"
	"io"

	"github.com/dockerarchive/dockerarchive/archive"
	"github.com/dockerarchive/dockerarchive/podman/copying/internal/selecting"
)

// Without holds the layers that the recipient has already, in archives or on lists, for
// SaveOptions.Without. The zero value is nothing. It is filled first; after that it may
// be used concurrently.
type Without struct{ layers selecting.Without }

// Open adds the layers in r: an archive, of any kind and compressed or not, or a list as
// AddList takes it. An archive from a stream is copied to a temporary file. The saved
// archive will call it name.
func (w *Without) Open(ctx context.Context, name string, r io.Reader) error {
	return w.layers.Open(ctx, name, r)
}

// AddArchive adds the layers of images that an archive has in full, judged by names and
// sizes; archive.Archive.Verify checks their content. Layers of an archive that holds
// them uncompressed are known by their diff IDs.
func (w *Without) AddArchive(ctx context.Context, name string, a *archive.Archive) error {
	return w.layers.AddArchive(ctx, name, a)
}

// AddList adds a list: the output of docker-archive list --json, or digests of layers as
// manifests have them, one per line, with empty lines and those that begin with #.
func (w *Without) AddList(name string, r io.Reader) error { return w.layers.AddList(name, r) }
