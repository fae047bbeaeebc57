package dockerarchive

import (
	"archive/tar"
	"bytes"
	"context"
	"io"
	"io/fs"
	"path/filepath"
	"sync"
	"testing"

	ocilayout "github.com/containers/image/v5/oci/layout"
	"github.com/containers/image/v5/pkg/blobinfocache/none"
	"github.com/containers/image/v5/transports"
	"github.com/containers/image/v5/types"
	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// newTestWriter returns a Writer and where its archive will be.
func newTestWriter(t testing.TB, options ...WriterOption) (*Writer, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "archive.tar")
	w, err := NewWriter(isolated(), path, options...)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, w.Abort()) })
	return w, path
}

func newReference(t testing.TB, w *Writer, name string) types.ImageReference {
	t.Helper()
	ref, err := w.NewReference(tagged(t, name))
	require.NoError(t, err)
	return ref
}

func openImage(t testing.TB, ref types.ImageReference) types.ImageDestination {
	t.Helper()
	d, err := ref.NewImageDestination(context.Background(), isolated())
	require.NoError(t, err)
	t.Cleanup(func() { d.Close() })
	return d
}

// manifests returns the plan for images.
func manifests(images ...*memoryImage) WriterOption {
	var raw [][]byte
	for _, m := range images {
		raw = append(raw, m.raw)
	}
	return WithManifests(raw...)
}

func TestWriterReferences(t *testing.T) {
	w, path := newTestWriter(t)
	ref := newReference(t, w, "busybox")
	assert.Equal(t, path+":docker.io/library/busybox:latest", ref.StringWithinTransport())
	_, _, err := NewWriterForReference(nil, ref)
	require.ErrorContains(t, err, "belongs to an open archive")
	require.NoError(t, w.Abort())

	standalone, err := NewReference(path, tagged(t, "busybox"))
	require.NoError(t, err)
	m := newImage(t, "", gzipLayer(1, 3000))
	w, ref, err = NewWriterForReference(isolated(), standalone)
	require.NoError(t, err)
	require.NoError(t, copyImage(t, ref, m, nil))
	require.NoFileExists(t, path)
	require.NoError(t, w.Close())
	assert.Equal(t, sum(theirs(t, saved{source: m, name: "busybox"})), sum(readFile(t, path)))
}

// Without an image there is no archive, and nothing to complain about.
func TestWriterWithoutImages(t *testing.T) {
	m := newImage(t, "", gzipLayer(1, 3000))
	for name, use := range map[string]func(w *Writer){
		"nothing":      func(*Writer) {},
		"a reference":  func(w *Writer) { newReference(t, w, "") },
		"uncommitted":  func(w *Writer) { d := openImage(t, newReference(t, w, "")); putImage(t, d, m); must(d.Close()) },
		"failed image": func(w *Writer) { require.Error(t, copyImage(t, newReference(t, w, ""), failing(t, 0), nil)) },
	} {
		for _, planned := range []bool{false, true} {
			var options []WriterOption
			if planned {
				options = append(options, manifests(m, m))
			}
			w, path := newTestWriter(t, options...)
			use(w)
			require.NoError(t, w.Close(), name)
			assert.Empty(t, leftovers(t, filepath.Dir(path)), name)
		}
	}
}

// failing returns an image whose first layer fails after n bytes.
func failing(t testing.TB, n int64) *memoryImage {
	t.Helper()
	m := newImage(t, "failing", gzipLayer(7, 3000), gzipLayer(8, 3000))
	m.disturb = func(_ context.Context, d digest.Digest, r io.Reader) io.Reader {
		if d != m.layers[0].digest {
			return r
		}
		return io.MultiReader(io.LimitReader(r, n), errorReader{errSource})
	}
	return m
}

type errorReader struct{ err error }

func (r errorReader) Read([]byte) (int, error) { return 0, r.err }

// A closed Writer takes nothing more, and Abort is harmless then.
func TestClosedWriter(t *testing.T) {
	m := newImage(t, "", gzipLayer(1, 3000))
	for _, abort := range []bool{false, true} {
		w, path := newTestWriter(t)
		require.NoError(t, copyImage(t, newReference(t, w, ""), m, nil))
		before := openImage(t, newReference(t, w, ""))
		if abort {
			require.NoError(t, w.Abort())
			require.NoFileExists(t, path)
		} else {
			require.NoError(t, w.Close())
			require.FileExists(t, path)
		}
		l := gzipLayer(2, 3000)
		_, err := before.PutBlob(context.Background(), bytes.NewReader(l.blob), types.BlobInfo{Digest: l.digest, Size: -1}, none.NoCache, false)
		require.ErrorIs(t, err, fs.ErrClosed)
		_, err = newReference(t, w, "").NewImageDestination(context.Background(), isolated())
		require.ErrorIs(t, err, fs.ErrClosed)
		require.ErrorContains(t, err, path)
		require.ErrorIs(t, w.Close(), fs.ErrClosed)
		require.NoError(t, w.Abort())
	}
}

// The images stand in the order of their references, not of their copying, and
// one that failed, or never came, leaves no trace and no hole.
func TestWriterOrder(t *testing.T) {
	shared := gzipLayer(1, 3000)
	a, b, c := newImage(t, "a", shared, gzipLayer(2, 3000)), newImage(t, "b", gzipLayer(3, 5000), shared), newImage(t, "c", plainLayer(4, 100))
	want := sum(theirs(t, saved{source: a, name: "a"}, saved{source: b, name: "b"}, saved{source: c, name: "c"}))
	bad := failing(t, 300)
	for _, planned := range []bool{false, true} {
		for _, order := range [][]int{{0, 1, 2, 3}, {3, 2, 1, 0}, {1, 0, 3, 2}, {2, 3, 1, 0}} {
			var options []WriterOption
			if planned {
				options = append(options, manifests(a, bad, b, c))
			}
			w, path := newTestWriter(t, options...)
			images := []*memoryImage{a, bad, b, c}
			refs := []types.ImageReference{newReference(t, w, "a"), newReference(t, w, "bad"), newReference(t, w, "b"), newReference(t, w, "c")}
			for _, i := range order {
				err := copyImage(t, refs[i], images[i], nil)
				if images[i] == bad {
					require.ErrorIs(t, err, errSource)
				} else {
					require.NoError(t, err)
				}
			}
			require.NoError(t, w.Close())
			assert.Equal(t, want, sum(readFile(t, path)), "planned %v, %v", planned, order)
		}
	}
}

// An image whose copying failed can be copied again to its reference, and then
// stands in its place.
func TestWriterRetry(t *testing.T) {
	a, b := newImage(t, "a", gzipLayer(1, 3000), gzipLayer(2, 3000)), newImage(t, "b", gzipLayer(3, 5000))
	want := sum(theirs(t, saved{source: a, name: "a"}, saved{source: b, name: "b"}))
	for _, planned := range []bool{false, true} {
		for fail := range a.layers {
			var options []WriterOption
			if planned {
				options = append(options, manifests(a, b))
			}
			w, path := newTestWriter(t, options...)
			first, second := newReference(t, w, "a"), newReference(t, w, "b")
			a.disturb = func(_ context.Context, d digest.Digest, r io.Reader) io.Reader {
				if d == a.layers[fail].digest {
					return io.MultiReader(io.LimitReader(r, 700), errorReader{errSource})
				}
				return r
			}
			require.ErrorIs(t, copyImage(t, first, a, nil), errSource)
			require.NoError(t, copyImage(t, second, b, nil))
			a.disturb = nil
			require.NoError(t, copyImage(t, first, a, nil))
			require.NoError(t, w.Close())
			assert.Equal(t, want, sum(readFile(t, path)))
		}
	}
}

// A layer whose size was announced wrongly, or not at all, the first time finds
// a place the second time, whether its turn had come or not.
func TestPlannedPlaceIsUsedAgain(t *testing.T) {
	l, other := plainLayer(1, 3000), gzipLayer(2, 3000)
	size := int64(len(l.blob))
	for _, layers := range [][]layer{{l, other}, {other, l}} {
		a := newImage(t, "a", layers...)
		want := sum(theirs(t, saved{source: a}))
		for _, sizes := range [][2]int64{{size, -1}, {-1, size}, {size + 1, size}, {100, size}} {
			w, path := newTestWriter(t, manifests(a))
			d := openImage(t, newReference(t, w, ""))
			broken := io.MultiReader(bytes.NewReader(l.blob[:50]), errorReader{errSource})
			_, err := d.PutBlob(context.Background(), broken, types.BlobInfo{Digest: l.digest, Size: sizes[0]}, none.NoCache, false)
			require.ErrorIs(t, err, errSource)
			putBlob(t, d, other)
			_, err = d.PutBlob(context.Background(), bytes.NewReader(l.blob), types.BlobInfo{Digest: l.digest, Size: sizes[1]}, none.NoCache, false)
			require.NoError(t, err, "%v", sizes)
			putConfig(t, d, a)
			require.NoError(t, d.PutManifest(context.Background(), a.raw, nil))
			require.NoError(t, d.Commit(context.Background(), nil))
			require.NoError(t, w.Close())
			assert.Equal(t, want, sum(readFile(t, path)), "%v", sizes)
		}
	}
}

// A plan that cannot be read is refused, and nothing is left of it.
func TestBadPlan(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "archive.tar")
	for _, m := range []string{"", "hello", `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}`} {
		_, err := NewWriter(isolated(), path, WithManifests([]byte(m)))
		require.ErrorContains(t, err, "creating "+path+": planning image 0")
		assert.Empty(t, leftovers(t, dir))
	}
}

// A plan that turns out wrong costs time at most.
func TestWrongPlan(t *testing.T) {
	a, b := newImage(t, "a", gzipLayer(1, 3000), gzipLayer(2, 3000)), newImage(t, "b", gzipLayer(3, 5000), gzipLayer(2, 3000))
	c := newImage(t, "c", gzipLayer(4, 100))
	want := sum(theirs(t, saved{source: a}, saved{source: b}))
	for name, plan := range map[string]WriterOption{
		"other order": manifests(b, a), "too few": manifests(a), "too many": manifests(a, b, c), "another": manifests(c, b), "others": manifests(c, c, c),
	} {
		w, path := newTestWriter(t, plan)
		for _, m := range []*memoryImage{a, b} {
			require.NoError(t, copyImage(t, newReference(t, w, ""), m, nil), name)
		}
		require.NoError(t, w.Close(), name)
		assert.Equal(t, want, sum(readFile(t, path)), name)
	}
}

// An image whose Commit was cancelled is not in the archive; the others are.
func TestCancelledCommit(t *testing.T) {
	a, b := newImage(t, "a", gzipLayer(1, 3000), gzipLayer(2, 3000)), newImage(t, "b", gzipLayer(3, 5000), gzipLayer(4, 5000))
	cancelled, cancel := context.WithCancel(context.Background())
	cancel()
	for _, planned := range []bool{false, true} {
		for first := range 2 {
			var options []WriterOption
			if planned {
				options = append(options, manifests(a, b))
			}
			w, path := newTestWriter(t, options...)
			refs := []types.ImageReference{newReference(t, w, "a"), newReference(t, w, "b")}
			images := []*memoryImage{a, b}
			ds := make([]types.ImageDestination, 2)
			for _, i := range []int{1, 0} { // so that blobs have to be moved
				ds[i] = openImage(t, refs[i])
				putImage(t, ds[i], images[i])
			}
			require.ErrorIs(t, ds[first].Commit(cancelled, nil), context.Canceled)
			require.NoError(t, ds[first].Close())
			require.NoError(t, ds[1-first].Commit(context.Background(), nil))
			require.NoError(t, w.Close())
			want := theirs(t, saved{source: images[1-first], name: []string{"a", "b"}[1-first]})
			assert.Equal(t, sum(want), sum(readFile(t, path)), "planned %v, cancelled %d", planned, first)
		}
	}
}

// expiring is a context that is cancelled when it has been asked n times.
type expiring struct {
	context.Context
	n int
}

func (c *expiring) Err() error {
	if c.n == 0 {
		return context.Canceled
	}
	c.n--
	return nil
}

// The same if the cancellation comes while the image is being put into its place.
func TestCommitCancelledInside(t *testing.T) {
	m := newImage(t, "a", gzipLayer(1, 3000), gzipLayer(2, 3000))
	committed := 0
	for n := range 8 {
		w, path := newTestWriter(t)
		d := openImage(t, newReference(t, w, ""))
		for _, i := range []int{1, 0} { // so that both have to be moved
			putBlob(t, d, m.layers[i])
		}
		putConfig(t, d, m)
		require.NoError(t, d.PutManifest(context.Background(), m.raw, nil))
		err := d.Commit(&expiring{context.Background(), n}, nil)
		require.NoError(t, d.Close())
		require.NoError(t, w.Close())
		if err != nil {
			require.ErrorIs(t, err, context.Canceled)
			require.NoFileExists(t, path)
		} else {
			committed++
			require.FileExists(t, path)
		}
	}
	assert.True(t, 0 < committed && committed < 6, "%d of 8 were not cancelled", committed)
}

// Abort wakes everyone who waits.
func TestAbortWhileCopying(t *testing.T) {
	m := newImage(t, "a", gzipLayer(1, 3000), gzipLayer(2, 3000))
	begun := make(chan struct{}, 2)
	m.disturb = func(ctx context.Context, _ digest.Digest, r io.Reader) io.Reader {
		return io.MultiReader(io.LimitReader(r, 100), hangingReader{ctx, begun})
	}
	w, path := newTestWriter(t)
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for range 2 { // The second one waits for the layers of the first.
		ref := newReference(t, w, "")
		wg.Go(func() { assert.Error(t, copyImageUntil(ctx, t, ref, m, nil)) })
	}
	<-begun
	require.NoError(t, w.Abort())
	cancel()
	wg.Wait()
	assert.Empty(t, leftovers(t, filepath.Dir(path)))
}

// hangingReader gives nothing until its context is done.
type hangingReader struct {
	ctx   context.Context
	begun chan<- struct{}
}

func (r hangingReader) Read([]byte) (int, error) {
	select {
	case r.begun <- struct{}{}:
	default:
	}
	<-r.ctx.Done()
	return 0, r.ctx.Err()
}

// A Writer writes either kind of archive, and no other.
func TestWriterOfTransport(t *testing.T) {
	path := filepath.Join(t.TempDir(), "archive.tar")
	w, err := NewWriter(isolated(), path, WithTransport(ImageTransport))
	require.NoError(t, err)
	ref, err := w.NewReference(tagged(t, "one:1"))
	require.NoError(t, err)
	require.NoError(t, copyImage(t, ref, testImage(t, "one"), nil))
	require.NoError(t, w.Close())
	assert.Equal(t, "image-archive:"+path+":docker.io/library/one:1", transports.ImageName(ref))
	header, err := tar.NewReader(bytes.NewReader(readFile(t, path))).Next()
	require.NoError(t, err)
	assert.Equal(t, "oci-layout", header.Name)

	_, err = NewWriter(isolated(), filepath.Join(t.TempDir(), "archive.tar"), WithTransport(ocilayout.Transport))
	require.ErrorContains(t, err, "transport oci")
}
