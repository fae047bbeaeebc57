package compose

import (
	"archive/tar"
	"context"
	"errors"
	"io"

	"github.com/dockerarchive/dockerarchive/internal/files"
	"github.com/dockerarchive/dockerarchive/internal/layertar"
)

// errLeadsOut means that a name of a layer leads out of the root.
var errLeadsOut = errors.New("a name leads out of the root")

// outside are the names of a layer that lead out of the root. All clients that unpack layers
// put such a file inside: "../x" is "x".
type outside struct {
	layer string
	first string
	names int
}

// move moves a file inside.
func (o *outside) move(h *tar.Header) {
	name := h.Name
	switch {
	case layertar.LeadsOut(h.Name):
		h.Name = layertar.Inside(h.Name)
	case h.Typeflag == tar.TypeLink && layertar.LeadsOut(h.Linkname):
		name = h.Linkname
	default:
		return
	}
	if h.Typeflag == tar.TypeLink {
		h.Linkname = layertar.Inside(h.Linkname)
	}
	if o.names++; o.names == 1 {
		o.first = name
	}
}

// warn says what has been moved.
func (o *outside) warn(i *Image) {
	switch {
	case o.names == 1:
		i.warn("layer %s: the name %q leads out of the image; the file is put inside", o.layer, o.first)
	case o.names > 1:
		i.warn("layer %s: %d names lead out of the image, the first is %q; their files are put inside", o.layer, o.names, o.first)
	}
}

// inside is a tar whose names that lead out of the root have been changed.
type inside struct {
	Content
	outside
}

func (c *inside) openOn(ctx context.Context, lower *files.Tree) (io.ReadCloser, error) {
	unpacked, err := openUnpacked(ctx, c.Content, lower)
	if err != nil {
		return nil, err
	}
	c.outside = outside{layer: c.Name()}
	return piped(ctx, func(ctx context.Context, w io.Writer) error {
		defer unpacked.Close() //nolint:errcheck // It was only read.
		out := layertar.NewWriter(ctx, w)
		err := layertar.Each(ctx, unpacked, func(h *tar.Header, content io.Reader) error {
			c.move(h)
			return out.Write(h, content)
		})
		if err != nil {
			return err
		}
		return out.Close()
	}), nil
}

// storeInside stores a layer again, after such a name made the first attempt fail.
func (m *maker) storeInside(ctx context.Context, content Content, expected Expected) (layer, error) {
	changed := &inside{Content: verified{content, expected}}
	stored, err := m.store(ctx, changed, Expected{})
	if err == nil {
		changed.warn(m.image)
	}
	return stored, err
}
