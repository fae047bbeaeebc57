package compose

import (
	"archive/tar"
	"context"
	"fmt"
	"io"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/dockerarchive/dockerarchive/internal/compression"
	"github.com/dockerarchive/dockerarchive/internal/layertar"
)

// inspector reads a layer while it is being stored: it finds out the diff ID, and
// refuses content that is no layer. The layer is written to it as it comes.
type inspector struct {
	*io.PipeWriter
	done chan struct{}

	diffID digest.Digest
	latest time.Time // of the layer's files
	links  *links
	err    error
}

func newInspector(ctx context.Context, a compression.Algorithm) *inspector {
	r, w := io.Pipe()
	i := &inspector{PipeWriter: w, done: make(chan struct{}), links: newLinks()}
	go func() {
		defer close(i.done)
		i.err = i.unpack(ctx, r, a)
		r.CloseWithError(i.err) // So that nobody waits to write.
	}()
	return i
}

// finish ends the layer: with an error if no more can come, with nil if no more
// is expected.
func (i *inspector) finish(err error) error {
	i.CloseWithError(err)
	<-i.done
	if err != nil {
		return err
	}
	return i.err
}

// unpack decompresses and reads the layer.
func (i *inspector) unpack(ctx context.Context, r io.Reader, a compression.Algorithm) error {
	unpacked, err := decompress(r, a)
	if err != nil {
		return err
	}
	defer unpacked.Close() //nolint:errcheck // It was only read.
	if err := i.read(ctx, unpacked); err != nil {
		return err
	}
	n, err := io.Copy(io.Discard, r)
	if n > 0 {
		return fmt.Errorf("%d bytes follow the end of what is compressed in %s", n, a)
	}
	return err
}

func (i *inspector) read(ctx context.Context, r io.Reader) error {
	digester := digest.Canonical.Digester()
	err := layertar.Each(ctx, io.TeeReader(r, digester.Hash()), func(h *tar.Header, _ io.Reader) error {
		if h.ModTime.After(i.latest) && canSay(h.ModTime) {
			i.latest = h.ModTime
		}
		if layertar.LeadsOut(h.Name) {
			return fmt.Errorf("%w: %q", errLeadsOut, h.Name)
		}
		return i.name(h)
	})
	i.diffID = digester.Digest()
	return err
}

// name looks at the names of an entry.
func (i *inspector) name(h *tar.Header) error {
	if layertar.LeadsOut(h.Name) {
		return fmt.Errorf("%w: %q", errLeadsOut, h.Name)
	}
	path, err := layertar.Clean(h.Name)
	if err != nil {
		return err
	}
	target := ""
	if h.Typeflag == tar.TypeLink {
		if layertar.LeadsOut(h.Linkname) {
			return fmt.Errorf("%w: %q, the target of the hard link %q", errLeadsOut, h.Linkname, h.Name)
		}
		if target, err = layertar.Clean(h.Linkname); err != nil {
			return fmt.Errorf("hard link %q: %w", h.Name, err)
		}
	}
	i.links.see(h, path, target)
	return nil
}
