package making_test

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/types"

	"github.com/dockerarchive/dockerarchive/archive"
	"github.com/dockerarchive/dockerarchive/compose"
	dockerarchive "github.com/dockerarchive/dockerarchive/podman"
	"github.com/dockerarchive/dockerarchive/podman/internal/imagetest"
	"github.com/dockerarchive/dockerarchive/podman/making"
)

// counted counts the bytes that are read of it.
type counted struct {
	io.ReaderAt
	io.ReadCloser
	n *atomic.Int64
}

func (c counted) ReadAt(p []byte, at int64) (int, error) {
	n, err := c.ReaderAt.ReadAt(p, at)
	c.n.Add(int64(n))
	return n, err
}

func (c counted) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	c.n.Add(int64(n))
	return n, err
}

// countedBase counts the bytes that are read from the layers of a base.
type countedBase struct {
	*making.Base
	n atomic.Int64
}

func (b *countedBase) At(ctx context.Context, d imgspecv1.Descriptor) (io.ReaderAt, int64, digest.Digest, error) {
	at, size, stored, err := b.Base.At(ctx, d)
	return counted{ReaderAt: at, n: &b.n}, size, stored, err
}

func (b *countedBase) Blob(ctx context.Context, d imgspecv1.Descriptor) (io.ReadCloser, error) {
	body, err := b.Base.Blob(ctx, d)
	if err != nil || d.MediaType == imgspecv1.MediaTypeImageConfig || d.MediaType == "application/vnd.docker.container.image.v1+json" {
		return body, err
	}
	return counted{ReadCloser: body, n: &b.n}, nil
}

// unread is a sink that does not read the layers of the base.
type unread struct{}

func (unread) PutBase(context.Context, []imgspecv1.Descriptor, func(context.Context, int) (io.ReadCloser, error)) error {
	return nil
}

func (unread) PutLayer(_ context.Context, blob io.Reader) (digest.Digest, int64, error) {
	digester := digest.Canonical.Digester()
	n, err := io.Copy(digester.Hash(), blob)
	return digester.Digest(), n, err
}

// manyFiles is a layer of files, each in a directory of its own: 100 KB for each.
func manyFiles(t *testing.T, n int) imagetest.Layer {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for i := range n {
		require.NoError(t, w.WriteHeader(&tar.Header{Name: fmt.Sprintf("d%d/file", i), Size: 100_000, Mode: 0o644}))
		_, err := w.Write(imagetest.Plain(uint64(i), 100_000).Diff[:100_000])
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	return imagetest.NewLayer(b.Bytes(), imagetest.Gzipped(b.Bytes()), imgspecv1.MediaTypeImageLayerGzip)
}

// Looking at the files of a base in an archive costs at most what listing them costs, and
// nothing if no destination can pass a link.
func TestLookingBelowCostsWhatListingDoes(t *testing.T) {
	img := imagetest.NewImage(t, "base", manyFiles(t, 30), manyFiles(t, 40))
	for _, transport := range []types.ImageTransport{dockerarchive.Transport, dockerarchive.ImageTransport} {
		path := filepath.Join(t.TempDir(), "base.tar")
		ref, err := transport.ParseReference(path + ":example.com/base:1")
		require.NoError(t, err)
		require.NoError(t, imagetest.Copy(t, ref, img, nil))

		listing := listingCost(t, path)
		t.Logf("%s: listing reads %d bytes of the layers", transport.Name(), listing)
		for _, c := range []struct {
			at    string
			looks bool
		}{{"f", false}, {"new/deep/f", true}, {"d3/f", true}, {"d35/file", true}} {
			b, err := making.OpenBase(t.Context(), nil, nil, ref)
			require.NoError(t, err)
			base := &countedBase{Base: b}
			made, err := (&compose.Image{
				Base: base, TempDir: t.TempDir(),
				Layers: []compose.Layer{{Content: compose.Files(day, compose.File{Path: c.at, Content: []byte("1")})}},
			}).MakeTo(t.Context(), unread{})
			require.NoError(t, err)
			require.NoError(t, made.Close())
			require.NoError(t, b.Close())
			if c.looks {
				assert.Positive(t, base.n.Load(), c.at)
				assert.LessOrEqual(t, base.n.Load(), listing, "%s %s", transport.Name(), c.at)
			} else {
				assert.Zero(t, base.n.Load(), c.at)
			}
		}
	}
}

// listingCost returns how many bytes are read to list the files of the image of an archive.
func listingCost(t *testing.T, path string) int64 {
	a, err := archive.Open(t.Context(), path)
	require.NoError(t, err)
	defer a.Close()
	m, err := a.Images()[0].Manifest(t.Context())
	require.NoError(t, err)
	sources, err := m.LayerSources(t.Context())
	require.NoError(t, err)
	var n atomic.Int64
	for i := range sources {
		at := sources[i].At
		sources[i].At = func(ctx context.Context) (io.ReaderAt, int64, error) {
			r, size, err := at(ctx)
			return counted{ReaderAt: r, n: &n}, size, err
		}
	}
	files := archive.NewFiles(sources, archive.FilesOptions{TempDir: t.TempDir()})
	defer files.Close()
	_, err = files.FS(t.Context()).ReadDir(".")
	require.NoError(t, err)
	return n.Load()
}
