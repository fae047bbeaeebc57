//go:build unix

package dockerarchive

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"github.com/containers/image/v5/copy"
	"github.com/containers/image/v5/pkg/blobinfocache/none"
	"github.com/containers/image/v5/types"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// makeFIFO makes a FIFO and reads it to the end.
func makeFIFO(t testing.TB) (path string, content func() []byte) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "fifo")
	require.NoError(t, syscall.Mkfifo(path, 0o600))
	read := make(chan []byte, 1)
	go func() {
		data, err := os.ReadFile(path)
		assert.NoError(t, err)
		read <- data
	}()
	return path, func() []byte { return <-read }
}

// What goes through a pipe is what would be in a file, with and without a plan,
// and however many blobs are copied at once.
func TestStreamIsTheSameAsAFile(t *testing.T) {
	for name, forms := range imageForms(t) {
		want := sum(theirs(t, saved{source: forms[1], name: "form:1"}))
		for _, planned := range []bool{false, true} {
			path, content := makeFIFO(t)
			var options []WriterOption
			if planned {
				options = append(options, manifests(forms[0]))
			}
			w, err := NewWriter(isolated(), path, options...)
			require.NoError(t, err)
			require.NoError(t, copyImage(t, newReference(t, w, "form:1"), forms[0], &copy.Options{DownloadForeignLayers: true}))
			require.NoError(t, w.Close())
			assert.Equal(t, want, sum(content()), "%s, planned %v", name, planned)
		}
	}
}

// Planned images may be copied in any order and at the same time, also if a layer
// comes in two compressions and the wrong one comes first.
func TestPlannedStreamInAnyOrder(t *testing.T) {
	shared := gzipLayer(1, 3000)
	a := newImage(t, "a", shared, plainLayer(2, 100))
	b := newImage(t, "b", shared, gzipLayer(3, 200_000))
	sameAsC := newImage(t, "c", shared, gzipLayer(4, 100))
	want := sum(theirs(t, saved{source: a, name: "a"}, saved{source: b, name: "b"}, saved{source: sameAsC, name: "c"}))
	for _, form := range []layer{
		differently(shared, zstdCompressed, imgspecv1.MediaTypeImageLayerZstd),
		differently(shared, bytes.Clone, imgspecv1.MediaTypeImageLayer),
	} {
		images := []*memoryImage{a, b, newImage(t, "c", form, gzipLayer(4, 100))}
		for _, order := range [][]int{{0, 1, 2}, {2, 1, 0}, {1, 2, 0}, {2, 0, 1}, nil, nil} {
			path, content := makeFIFO(t)
			w, err := NewWriter(isolated(), path, manifests(images...))
			require.NoError(t, err)
			refs := []types.ImageReference{newReference(t, w, "a"), newReference(t, w, "b"), newReference(t, w, "c")}
			for _, i := range order {
				require.NoError(t, copyImage(t, refs[i], images[i], nil), "%v", order)
			}
			if order == nil {
				var wg sync.WaitGroup
				for i, ref := range refs {
					wg.Go(func() { assert.NoError(t, copyImage(t, ref, images[i], nil)) })
				}
				wg.Wait()
			}
			require.NoError(t, w.Close(), "%v", order)
			assert.Equal(t, want, sum(content()), "%v", order)
		}
	}
}

// A layer that is on its way uncompressed when it arrives in another form is sent
// once, in the place of the first.
func TestTwoFormsOnTheirWay(t *testing.T) {
	ctx := context.Background()
	plain := plainLayer(1, 300_000)
	m := newImage(t, "forms", plain, differently(plain, gzipped, gzipLayer(0, 0).mediaType))
	path, content := makeFIFO(t)
	w, err := NewWriter(isolated(), path, manifests(m))
	require.NoError(t, err)
	d := openImage(t, newReference(t, w, ""))
	r, pipe := io.Pipe()
	put := make(chan error)
	go func() {
		_, err := d.PutBlob(ctx, r, types.BlobInfo{Digest: plain.digest, Size: int64(len(plain.blob))}, none.NoCache, false)
		put <- err
	}()
	_, err = pipe.Write(plain.blob[:200_000])
	require.NoError(t, err)
	putBlob(t, d, m.layers[1])
	_, err = pipe.Write(plain.blob[200_000:])
	require.NoError(t, err)
	require.NoError(t, pipe.Close())
	require.NoError(t, <-put)
	putConfig(t, d, m)
	require.NoError(t, d.PutManifest(ctx, m.raw, nil))
	require.NoError(t, d.Commit(ctx, nil))
	require.NoError(t, w.Close())
	assert.Equal(t, sum(theirs(t, saved{source: newImage(t, "forms", m.layers[1], m.layers[1])})), sum(content()))
}

// Images of an unplanned stream stand in the order of their copying; one that
// fails between two blobs is left out.
func TestUnplannedStream(t *testing.T) {
	a, b := newImage(t, "a", gzipLayer(1, 3000)), newImage(t, "b", gzipLayer(2, 3000), gzipLayer(1, 3000))
	path, content := makeFIFO(t)
	w, err := NewWriter(isolated(), path)
	require.NoError(t, err)
	ra, rb := newReference(t, w, "a"), newReference(t, w, "b")
	require.NoError(t, copyImage(t, rb, b, nil))
	bad := newImage(t, "bad", newLayer(nil, gzipped(make([]byte, 3000))[:20], imgspecv1.MediaTypeImageLayerGzip))
	require.Error(t, copyImage(t, newReference(t, w, "bad"), bad, nil))
	require.NoError(t, copyImage(t, ra, a, nil))
	require.NoError(t, w.Close())
	assert.Equal(t, sum(theirs(t, saved{source: b, name: "b"}, saved{source: a, name: "a"})), sum(content()))
}

// A reader that goes away is an error, wherever it does, and nothing hangs.
func TestReaderGoesAway(t *testing.T) {
	m := newImage(t, "epipe", plainLayer(1, 300_000), gzipLayer(2, 200_000))
	for _, planned := range []bool{false, true} {
		for _, n := range []int64{0, 1, 512, 70_000, 300_000} {
			path := filepath.Join(t.TempDir(), "fifo")
			require.NoError(t, syscall.Mkfifo(path, 0o600))
			gone := make(chan error, 1)
			go func() {
				f, err := os.Open(path)
				if err == nil {
					_, err = io.CopyN(io.Discard, f, n)
					err = errors.Join(err, f.Close())
				}
				gone <- err
			}()
			var options []WriterOption
			if planned {
				options = append(options, manifests(m))
			}
			w, err := NewWriter(isolated(), path, options...)
			require.NoError(t, err)
			if n == 0 {
				require.NoError(t, <-gone)
			}
			err = copyImage(t, newReference(t, w, ""), m, nil)
			if err == nil {
				err = w.Close()
			}
			require.ErrorIs(t, err, syscall.EPIPE)
			require.ErrorContains(t, err, path)
			require.NoError(t, w.Abort())
			if n > 0 {
				require.NoError(t, <-gone)
			}
		}
	}
}

// Temporary files of a stream are made where the caller wants them, without a name.
func TestStreamSpoolsWhereItIsTold(t *testing.T) {
	m := newImage(t, "spool", gzipLayer(1, 3000))
	dir := t.TempDir()
	sys := isolated()
	sys.BigFilesTemporaryDir = filepath.Join(dir, "missing")
	ref, err := NewReference(os.DevNull, nil)
	require.NoError(t, err)
	options := &copy.Options{DestinationCtx: sys}
	require.ErrorContains(t, copyImage(t, ref, m, options), sys.BigFilesTemporaryDir)
	require.NoError(t, os.Mkdir(sys.BigFilesTemporaryDir, 0o700))
	require.NoError(t, copyImage(t, ref, m, options))
	assert.Empty(t, leftovers(t, sys.BigFilesTemporaryDir))
}

// A symbolic link stays, and the archive is where it points to.
func TestSymlinkedTarget(t *testing.T) {
	m := newImage(t, "link", gzipLayer(1, 3000))
	dir, other := t.TempDir(), t.TempDir()
	link, path := filepath.Join(dir, "link"), filepath.Join(other, "archive.tar")
	require.NoError(t, os.Symlink(path, link))
	writeArchive(t, link, saved{source: m})
	assert.Equal(t, []string{"archive.tar"}, leftovers(t, other))
	info, err := os.Lstat(link)
	require.NoError(t, err)
	assert.Equal(t, os.ModeSymlink, info.Mode().Type())
	assert.Equal(t, sum(theirs(t, saved{source: m})), sum(readFile(t, path)))
}

// An empty file, as mktemp makes it, is replaced, and keeps its mode; if there is
// no image it stays.
func TestEmptyTarget(t *testing.T) {
	m := newImage(t, "empty", gzipLayer(1, 3000))
	path := filepath.Join(t.TempDir(), "archive.tar")
	require.NoError(t, os.WriteFile(path, nil, 0o600))
	w, err := NewWriter(isolated(), path)
	require.NoError(t, err)
	require.Error(t, copyImage(t, newReference(t, w, ""), failing(t, 100), nil))
	require.NoError(t, w.Close())
	info, err := os.Stat(path)
	require.NoError(t, err)
	assert.Zero(t, info.Size())

	writeArchive(t, path, saved{source: m})
	info, err = os.Stat(path)
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o600), info.Mode())
	assert.Equal(t, []string{"archive.tar"}, leftovers(t, filepath.Dir(path)))
}
