//go:build unix

package e2e_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/containers/image/v5/copy"
	"github.com/containers/image/v5/pkg/blobinfocache/none"
	"github.com/containers/image/v5/types"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive"
	"github.com/dockerarchive/dockerarchive/internal/fronttest"
	"github.com/dockerarchive/dockerarchive/internal/imagetest"
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

// A pipe gets the same bytes as a file, with and without a plan, however many
// blobs are copied at once.
func TestStreamIsTheSameAsAFile(t *testing.T) {
	for name, forms := range imagetest.Forms(t) {
		want := imagetest.Sum(imagetest.Theirs(t, imagetest.Named{Source: forms.Theirs, Name: "form:1"}))
		for _, planned := range []bool{false, true} {
			path, content := makeFIFO(t)
			var options *dockerarchive.WriterOptions
			if planned {
				options = fronttest.Plan(t, forms.Image)
			}
			w := fronttest.To(t, path, options)
			require.NoError(t, imagetest.Copy(t, fronttest.Reference(t, w, "form:1"), forms.Image, &copy.Options{DownloadForeignLayers: true}))
			require.NoError(t, w.Close())
			assert.Equal(t, want, imagetest.Sum(content()), "%s, planned %v", name, planned)
		}
	}
}

// Planned images may be copied in any order and at the same time, also if a layer
// comes in two compressions and the wrong one comes first.
func TestPlannedStreamInAnyOrder(t *testing.T) {
	shared := imagetest.Gzip(1, 3000)
	a := imagetest.NewImage(t, "a", shared, imagetest.Plain(2, 100))
	b := imagetest.NewImage(t, "b", shared, imagetest.Gzip(3, 200_000))
	sameAsC := imagetest.NewImage(t, "c", shared, imagetest.Gzip(4, 100))
	want := imagetest.Sum(imagetest.Theirs(t, imagetest.Named{Source: a, Name: "a"}, imagetest.Named{Source: b, Name: "b"}, imagetest.Named{Source: sameAsC, Name: "c"}))
	for _, form := range []imagetest.Layer{
		shared.In(imagetest.Zstandard, imgspecv1.MediaTypeImageLayerZstd),
		shared.In(bytes.Clone, imgspecv1.MediaTypeImageLayer),
	} {
		images := []*imagetest.Image{a, b, imagetest.NewImage(t, "c", form, imagetest.Gzip(4, 100))}
		for _, order := range [][]int{{0, 1, 2}, {2, 1, 0}, {1, 2, 0}, {2, 0, 1}, nil, nil} {
			path, content := makeFIFO(t)
			w := fronttest.To(t, path, fronttest.Plan(t, images...))
			refs := []types.ImageReference{fronttest.Reference(t, w, "a"), fronttest.Reference(t, w, "b"), fronttest.Reference(t, w, "c")}
			for _, i := range order {
				require.NoError(t, imagetest.Copy(t, refs[i], images[i], nil), "%v", order)
			}
			if order == nil {
				var wg sync.WaitGroup
				for i, ref := range refs {
					wg.Go(func() { assert.NoError(t, imagetest.Copy(t, ref, images[i], nil)) })
				}
				wg.Wait()
			}
			require.NoError(t, w.Close(), "%v", order)
			assert.Equal(t, want, imagetest.Sum(content()), "%v", order)
		}
	}
}

// A layer that is on its way uncompressed when it arrives in another form is sent
// once, in the place of the first.
func TestTwoFormsOnTheirWay(t *testing.T) {
	ctx := context.Background()
	plain := imagetest.Plain(1, 300_000)
	m := imagetest.NewImage(t, "forms", plain, plain.InGzip())
	path, content := makeFIFO(t)
	w := fronttest.To(t, path, fronttest.Plan(t, m))
	d := fronttest.Open(t, fronttest.Reference(t, w, ""))
	r, pipe := io.Pipe()
	put := make(chan error)
	go func() {
		_, err := d.PutBlob(ctx, r, types.BlobInfo{Digest: plain.Digest, Size: int64(len(plain.Blob))}, none.NoCache, false)
		put <- err
	}()
	_, err := pipe.Write(plain.Blob[:200_000])
	require.NoError(t, err)
	fronttest.PutBlob(t, d, m.Layers[1])
	_, err = pipe.Write(plain.Blob[200_000:])
	require.NoError(t, err)
	require.NoError(t, pipe.Close())
	require.NoError(t, <-put)
	fronttest.PutConfig(t, d, m)
	require.NoError(t, d.PutManifest(ctx, m.Raw, nil))
	require.NoError(t, d.Commit(ctx, nil))
	require.NoError(t, w.Close())
	assert.Equal(t, imagetest.Sum(imagetest.Theirs(t, imagetest.Named{Source: imagetest.NewImage(t, "forms", m.Layers[1], m.Layers[1])})), imagetest.Sum(content()))
}

// Images of an unplanned stream stand in the order of their copying; one that
// fails between two blobs is left out.
func TestUnplannedStream(t *testing.T) {
	a, b := imagetest.NewImage(t, "a", imagetest.Gzip(1, 3000)), imagetest.NewImage(t, "b", imagetest.Gzip(2, 3000), imagetest.Gzip(1, 3000))
	path, content := makeFIFO(t)
	w, err := dockerarchive.NewWriter(imagetest.Isolated(), path)
	require.NoError(t, err)
	ra, rb := fronttest.Reference(t, w, "a"), fronttest.Reference(t, w, "b")
	require.NoError(t, imagetest.Copy(t, rb, b, nil))
	bad := imagetest.NewImage(t, "bad", imagetest.NewLayer(nil, imagetest.Gzipped(make([]byte, 3000))[:20], imgspecv1.MediaTypeImageLayerGzip))
	require.Error(t, imagetest.Copy(t, fronttest.Reference(t, w, "bad"), bad, nil))
	require.NoError(t, imagetest.Copy(t, ra, a, nil))
	require.NoError(t, w.Close())
	assert.Equal(t, imagetest.Sum(imagetest.Theirs(t, imagetest.Named{Source: b, Name: "b"}, imagetest.Named{Source: a, Name: "a"})), imagetest.Sum(content()))
}

// A reader that goes away is an error, wherever it does, and nothing hangs.
func TestReaderGoesAway(t *testing.T) {
	m := imagetest.NewImage(t, "epipe", imagetest.Plain(1, 300_000), imagetest.Gzip(2, 200_000))
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
			var options *dockerarchive.WriterOptions
			if planned {
				options = fronttest.Plan(t, m)
			}
			w := fronttest.To(t, path, options)
			if n == 0 {
				require.NoError(t, <-gone)
			}
			err := imagetest.Copy(t, fronttest.Reference(t, w, ""), m, nil)
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
	m := imagetest.NewImage(t, "spool", imagetest.Gzip(1, 3000))
	dir := t.TempDir()
	sys := imagetest.Isolated()
	sys.BigFilesTemporaryDir = filepath.Join(dir, "missing")
	ref, err := dockerarchive.NewReference(os.DevNull, nil)
	require.NoError(t, err)
	options := &copy.Options{DestinationCtx: sys}
	require.ErrorContains(t, imagetest.Copy(t, ref, m, options), sys.BigFilesTemporaryDir)
	require.NoError(t, os.Mkdir(sys.BigFilesTemporaryDir, 0o700))
	require.NoError(t, imagetest.Copy(t, ref, m, options))
	assert.Empty(t, imagetest.Leftovers(t, sys.BigFilesTemporaryDir))
}

// A symbolic link stays, and the archive is where it points to.
func TestSymlinkedTarget(t *testing.T) {
	m := imagetest.NewImage(t, "link", imagetest.Gzip(1, 3000))
	dir, other := t.TempDir(), t.TempDir()
	link, path := filepath.Join(dir, "link"), filepath.Join(other, "archive.tar")
	require.NoError(t, os.Symlink(path, link))
	fronttest.Write(t, link, imagetest.Named{Source: m})
	assert.Equal(t, []string{"archive.tar"}, imagetest.Leftovers(t, other))
	info, err := os.Lstat(link)
	require.NoError(t, err)
	assert.Equal(t, os.ModeSymlink, info.Mode().Type())
	assert.Equal(t, imagetest.Sum(imagetest.Theirs(t, imagetest.Named{Source: m})), imagetest.Sum(imagetest.ReadFile(t, path)))
}

// An empty file, as mktemp makes it, is replaced, and keeps its mode; if there is
// no image it stays.
func TestEmptyTarget(t *testing.T) {
	m := imagetest.NewImage(t, "empty", imagetest.Gzip(1, 3000))
	path := filepath.Join(t.TempDir(), "archive.tar")
	require.NoError(t, os.WriteFile(path, nil, 0o600))
	w, err := dockerarchive.NewWriter(imagetest.Isolated(), path)
	require.NoError(t, err)
	require.Error(t, imagetest.Copy(t, fronttest.Reference(t, w, ""), fronttest.Failing(t, 100), nil))
	require.NoError(t, w.Close())
	info, err := os.Stat(path)
	require.NoError(t, err)
	assert.Zero(t, info.Size())

	fronttest.Write(t, path, imagetest.Named{Source: m})
	info, err = os.Stat(path)
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o600), info.Mode())
	assert.Equal(t, []string{"archive.tar"}, imagetest.Leftovers(t, filepath.Dir(path)))
}

// While one image is stuck in its Commit, because nobody reads the pipe, another
// one that waits for its turn ends with its own context.
func TestCommitBehindAStuckOne(t *testing.T) {
	out, in, err := os.Pipe()
	require.NoError(t, err)
	defer out.Close()
	defer in.Close()
	config := func(label string) map[string]any {
		return map[string]any{
			"os": "linux", "architecture": "amd64", "config": map[string]any{"Labels": map[string]string{"l": label}},
			"rootfs": map[string]any{"type": "layers", "diff_ids": []string{}},
		}
	}
	large := imagetest.NewImageOfConfig(t, config(strings.Repeat("large ", 100_000)))
	small := imagetest.NewImageOfConfig(t, config("small"))
	w := fronttest.To(t, fmt.Sprintf("/dev/fd/%d", in.Fd()), nil)
	stuck, waiting := fronttest.Open(t, fronttest.Reference(t, w, "")), fronttest.Open(t, fronttest.Reference(t, w, ""))
	fronttest.PutImage(t, stuck, large)
	fronttest.PutImage(t, waiting, small)
	commit := func(ctx context.Context, d types.ImageDestination) <-chan error {
		done := make(chan error, 1)
		go func() { done <- d.Commit(ctx, nil) }()
		return done
	}
	first := commit(t.Context(), stuck)
	_, err = io.CopyN(io.Discard, out, 1000) // It is being written now.
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	second := commit(ctx, waiting)
	cancel()
	require.ErrorIs(t, <-second, context.Canceled)
	select {
	case err := <-first:
		t.Fatalf("the pipe took it all: %v", err)
	default:
	}
	drained := make(chan error, 1)
	go func() {
		_, err := io.Copy(io.Discard, out)
		drained <- err
	}()
	require.NoError(t, <-first)
	require.NoError(t, waiting.Commit(t.Context(), nil), "the next attempt")
	require.NoError(t, w.Close())
	require.NoError(t, in.Close())
	require.NoError(t, <-drained)
}
