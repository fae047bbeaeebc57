package files

import (
	"archive/tar"
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"

	"github.com/dockerarchive/dockerarchive/errdef"
	"github.com/dockerarchive/dockerarchive/internal/compression"
	"github.com/dockerarchive/dockerarchive/internal/layertar"
)

// Sort sorts files in the order in which Contents reads them: from the highest layer down, and in a
// layer by their places in it.
func Sort(files []*File) {
	slices.SortFunc(files, func(a, b *File) int {
		return cmp.Or(cmp.Compare(b.layer, a.layer), cmp.Compare(a.index, b.index))
	})
}

// Contents calls a function for each of the files, which Sort has sorted, with its
// content, which need not be read. A layer is read once, and only if one of the files is in
// it. With verify, a layer is read to its end if that has not been verified before, and so
// is one without any of the files: for callers that commit to the content.
func (t *Tree) Contents(ctx context.Context, files []*File, verify bool, f func(*File, io.Reader) error) error {
	for i := t.to - 1; i >= t.lowest; i-- {
		l := t.layers[i]
		n := 0
		for n < len(files) && int(files[n].layer) == i {
			n++
		}
		verify := verify && !l.verified
		if n > 0 || verify {
			if err := l.contents(ctx, files[:n], verify, f); err != nil {
				return fmt.Errorf("layer %s: %w", l.Name, err)
			}
		}
		files = files[n:]
	}
	return nil
}

func (l *lazy) contents(ctx context.Context, files []*File, verify bool, f func(*File, io.Reader) error) error {
	stream, err := l.unpack(ctx, verify, l.decompress)
	if err != nil {
		return err
	}
	defer stream.Close() //nolint:errcheck // It was only read.
	in := newStreamed(stream)
	r := tar.NewReader(in)
	for index := int32(-1); len(files) > 0; {
		h, err := r.Next()
		if err != nil {
			return in.explain(unexpected(err))
		}
		if h.Typeflag == tar.TypeXGlobalHeader {
			continue
		}
		if index++; files[0].index != index {
			continue
		}
		next := files[0]
		files = files[1:]
		if h.Size != next.size || layertar.IsSparse(h) != next.sparse {
			return fmt.Errorf("%q is another file than when the layer was read first: %w", h.Name, errdef.ErrDamaged)
		}
		if err := f(next, explained{r, in}); err != nil {
			return err
		}
	}
	if verify {
		_, err = in.finish()
	}
	return err
}

// explained is the content of an entry, with errors that name it.
type explained struct {
	r  *tar.Reader
	in positioned
}

// Read implements io.Reader.
func (e explained) Read(p []byte) (int, error) {
	n, err := e.r.Read(p)
	if err != nil && err != io.EOF {
		err = e.in.explain(err)
	}
	return n, err
}

// IsCompressed reports whether a layer, which has been read, is compressed.
func (t *Tree) IsCompressed(layer int) bool { return t.layers[layer].algorithm != compression.None }

// Raw yields the entries of a layer as they are, whiteouts included, in the order of the
// layer. Options.Entries must be set. The layer is read.
func (t *Tree) Raw(ctx context.Context, layer int) ([]*Entry, error) {
	if err := t.load(ctx, layer, nil); err != nil {
		return nil, err
	}
	var all []*Entry
	for _, e := range t.layers[layer].entries {
		all = append(all, &Entry{Path: e.name, File: e.file})
	}
	return all, nil
}
