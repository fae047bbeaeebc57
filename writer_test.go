package dockerarchive_test

import (
	"archive/tar"
	"bytes"
	"context"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/iotest"

	ocilayout "github.com/containers/image/v5/oci/layout"
	"github.com/containers/image/v5/pkg/blobinfocache/none"
	"github.com/containers/image/v5/transports"
	"github.com/containers/image/v5/types"
	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive"
	"github.com/dockerarchive/dockerarchive/internal/fronttest"
	"github.com/dockerarchive/dockerarchive/internal/imagetest"
	"github.com/dockerarchive/dockerarchive/internal/layout"
)

func TestWriterReferences(t *testing.T) {
	w, path := fronttest.New(t, nil)
	ref := fronttest.Reference(t, w, "busybox")
	assert.Equal(t, path+":docker.io/library/busybox:latest", ref.StringWithinTransport())
	_, _, err := dockerarchive.NewWriterForReference(t.Context(), nil, ref, nil)
	require.ErrorContains(t, err, "belongs to an open archive")
	require.NoError(t, w.Abort())

	standalone, err := dockerarchive.NewReference(path, imagetest.Tagged(t, "busybox"))
	require.NoError(t, err)
	m := imagetest.NewImage(t, "", imagetest.Gzip(1, 3000))
	w, ref, err = dockerarchive.NewWriterForReference(t.Context(), imagetest.Isolated(), standalone, nil)
	require.NoError(t, err)
	require.NoError(t, imagetest.Copy(t, ref, m, nil))
	require.NoFileExists(t, path)
	require.NoError(t, w.Close())
	assert.Equal(t, imagetest.Sum(imagetest.Theirs(t, imagetest.Named{Source: m, Name: "busybox"})), imagetest.Sum(imagetest.ReadFile(t, path)))
}

// Without an image there is no archive, and nothing to complain about.
func TestWriterWithoutImages(t *testing.T) {
	m := imagetest.NewImage(t, "", imagetest.Gzip(1, 3000))
	for name, use := range map[string]func(w *dockerarchive.Writer){
		"nothing":     func(*dockerarchive.Writer) {},
		"a reference": func(w *dockerarchive.Writer) { fronttest.Reference(t, w, "") },
		"uncommitted": func(w *dockerarchive.Writer) {
			d := fronttest.Open(t, fronttest.Reference(t, w, ""))
			fronttest.PutImage(t, d, m)
			require.NoError(t, d.Close())
		},
		"failed image": func(w *dockerarchive.Writer) {
			require.Error(t, imagetest.Copy(t, fronttest.Reference(t, w, ""), fronttest.Failing(t, 0), nil))
		},
	} {
		for _, planned := range []bool{false, true} {
			var options *dockerarchive.WriterOptions
			if planned {
				options = fronttest.Plan(t, m, m)
			}
			w, path := fronttest.New(t, options)
			use(w)
			require.NoError(t, w.Close(), name)
			assert.Empty(t, imagetest.Leftovers(t, filepath.Dir(path)), name)
		}
	}
}

// A closed Writer takes nothing more, and Abort is harmless then.
func TestClosedWriter(t *testing.T) {
	m := imagetest.NewImage(t, "", imagetest.Gzip(1, 3000))
	for _, abort := range []bool{false, true} {
		w, path := fronttest.New(t, nil)
		require.NoError(t, imagetest.Copy(t, fronttest.Reference(t, w, ""), m, nil))
		before := fronttest.Open(t, fronttest.Reference(t, w, ""))
		if abort {
			require.NoError(t, w.Abort())
			require.NoFileExists(t, path)
		} else {
			require.NoError(t, w.Close())
			require.FileExists(t, path)
		}
		l := imagetest.Gzip(2, 3000)
		_, err := before.PutBlob(context.Background(), bytes.NewReader(l.Blob), types.BlobInfo{Digest: l.Digest, Size: -1}, none.NoCache, false)
		require.ErrorIs(t, err, fs.ErrClosed)
		_, err = fronttest.Reference(t, w, "").NewImageDestination(context.Background(), imagetest.Isolated())
		require.ErrorIs(t, err, fs.ErrClosed)
		require.ErrorContains(t, err, path)
		require.ErrorIs(t, w.Close(), fs.ErrClosed)
		require.NoError(t, w.Abort())
	}
}

// The images stand in the order of their references, not of their copying, and
// one that failed, or never came, leaves no trace and no hole.
func TestWriterOrder(t *testing.T) {
	shared := imagetest.Gzip(1, 3000)
	a, b, c := imagetest.NewImage(t, "a", shared, imagetest.Gzip(2, 3000)), imagetest.NewImage(t, "b", imagetest.Gzip(3, 5000), shared), imagetest.NewImage(t, "c", imagetest.Plain(4, 100))
	want := imagetest.Sum(imagetest.Theirs(t, imagetest.Named{Source: a, Name: "a"}, imagetest.Named{Source: b, Name: "b"}, imagetest.Named{Source: c, Name: "c"}))
	bad := fronttest.Failing(t, 300)
	for _, planned := range []bool{false, true} {
		for _, order := range [][]int{{0, 1, 2, 3}, {3, 2, 1, 0}, {1, 0, 3, 2}, {2, 3, 1, 0}} {
			var options *dockerarchive.WriterOptions
			if planned {
				options = fronttest.Plan(t, a, bad, b, c)
			}
			w, path := fronttest.New(t, options)
			images := []*imagetest.Image{a, bad, b, c}
			refs := []types.ImageReference{fronttest.Reference(t, w, "a"), fronttest.Reference(t, w, "bad"), fronttest.Reference(t, w, "b"), fronttest.Reference(t, w, "c")}
			for _, i := range order {
				err := imagetest.Copy(t, refs[i], images[i], nil)
				if images[i] == bad {
					require.ErrorIs(t, err, fronttest.ErrSource)
				} else {
					require.NoError(t, err)
				}
			}
			require.NoError(t, w.Close())
			assert.Equal(t, want, imagetest.Sum(imagetest.ReadFile(t, path)), "planned %v, %v", planned, order)
		}
	}
}

// An image whose copying failed can be copied again to its reference, and then
// stands in its place.
func TestWriterRetry(t *testing.T) {
	a, b := imagetest.NewImage(t, "a", imagetest.Gzip(1, 3000), imagetest.Gzip(2, 3000)), imagetest.NewImage(t, "b", imagetest.Gzip(3, 5000))
	want := imagetest.Sum(imagetest.Theirs(t, imagetest.Named{Source: a, Name: "a"}, imagetest.Named{Source: b, Name: "b"}))
	for _, planned := range []bool{false, true} {
		for fail := range a.Layers {
			var options *dockerarchive.WriterOptions
			if planned {
				options = fronttest.Plan(t, a, b)
			}
			w, path := fronttest.New(t, options)
			first, second := fronttest.Reference(t, w, "a"), fronttest.Reference(t, w, "b")
			a.Disturb = func(_ context.Context, d digest.Digest, r io.Reader) io.Reader {
				if d == a.Layers[fail].Digest {
					return io.MultiReader(io.LimitReader(r, 700), iotest.ErrReader(fronttest.ErrSource))
				}
				return r
			}
			require.ErrorIs(t, imagetest.Copy(t, first, a, nil), fronttest.ErrSource)
			require.NoError(t, imagetest.Copy(t, second, b, nil))
			a.Disturb = nil
			require.NoError(t, imagetest.Copy(t, first, a, nil))
			require.NoError(t, w.Close())
			assert.Equal(t, want, imagetest.Sum(imagetest.ReadFile(t, path)))
		}
	}
}

// A layer whose size was announced wrongly, or not at all, the first time finds
// a place the second time, whether its turn had come or not.
func TestPlannedPlaceIsUsedAgain(t *testing.T) {
	l, other := imagetest.Plain(1, 3000), imagetest.Gzip(2, 3000)
	size := int64(len(l.Blob))
	for _, layers := range [][]imagetest.Layer{{l, other}, {other, l}} {
		a := imagetest.NewImage(t, "a", layers...)
		want := imagetest.Sum(imagetest.Theirs(t, imagetest.Named{Source: a}))
		for _, sizes := range [][2]int64{{size, -1}, {-1, size}, {size + 1, size}, {100, size}} {
			w, path := fronttest.New(t, fronttest.Plan(t, a))
			d := fronttest.Open(t, fronttest.Reference(t, w, ""))
			broken := io.MultiReader(bytes.NewReader(l.Blob[:50]), iotest.ErrReader(fronttest.ErrSource))
			_, err := d.PutBlob(context.Background(), broken, types.BlobInfo{Digest: l.Digest, Size: sizes[0]}, none.NoCache, false)
			require.ErrorIs(t, err, fronttest.ErrSource)
			fronttest.PutBlob(t, d, other)
			_, err = d.PutBlob(context.Background(), bytes.NewReader(l.Blob), types.BlobInfo{Digest: l.Digest, Size: sizes[1]}, none.NoCache, false)
			require.NoError(t, err, "%v", sizes)
			fronttest.PutConfig(t, d, a)
			require.NoError(t, d.PutManifest(context.Background(), a.Raw, nil))
			require.NoError(t, d.Commit(context.Background(), nil))
			require.NoError(t, w.Close())
			assert.Equal(t, want, imagetest.Sum(imagetest.ReadFile(t, path)), "%v", sizes)
		}
	}
}

// A plan that cannot be read is refused.
func TestBadPlan(t *testing.T) {
	for _, m := range []string{"", "hello", `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","config":{},"manifests":[]}`} {
		var p dockerarchive.Plan
		require.ErrorContains(t, p.AddManifest([]byte(m)), "planning an image: ", m)
	}
}

// A plan that turns out wrong costs time at most.
func TestWrongPlan(t *testing.T) {
	a, b := imagetest.NewImage(t, "a", imagetest.Gzip(1, 3000), imagetest.Gzip(2, 3000)), imagetest.NewImage(t, "b", imagetest.Gzip(3, 5000), imagetest.Gzip(2, 3000))
	c := imagetest.NewImage(t, "c", imagetest.Gzip(4, 100))
	want := imagetest.Sum(imagetest.Theirs(t, imagetest.Named{Source: a}, imagetest.Named{Source: b}))
	for name, plan := range map[string]*dockerarchive.WriterOptions{
		"other order": fronttest.Plan(t, b, a), "too few": fronttest.Plan(t, a), "too many": fronttest.Plan(t, a, b, c), "another": fronttest.Plan(t, c, b), "others": fronttest.Plan(t, c, c, c),
	} {
		w, path := fronttest.New(t, plan)
		for _, m := range []*imagetest.Image{a, b} {
			require.NoError(t, imagetest.Copy(t, fronttest.Reference(t, w, ""), m, nil), name)
		}
		require.NoError(t, w.Close(), name)
		assert.Equal(t, want, imagetest.Sum(imagetest.ReadFile(t, path)), name)
	}
}

// An image whose Commit was cancelled is not in the archive; the others are.
func TestCancelledCommit(t *testing.T) {
	a, b := imagetest.NewImage(t, "a", imagetest.Gzip(1, 3000), imagetest.Gzip(2, 3000)), imagetest.NewImage(t, "b", imagetest.Gzip(3, 5000), imagetest.Gzip(4, 5000))
	cancelled, cancel := context.WithCancel(context.Background())
	cancel()
	for _, planned := range []bool{false, true} {
		for first := range 2 {
			var options *dockerarchive.WriterOptions
			if planned {
				options = fronttest.Plan(t, a, b)
			}
			w, path := fronttest.New(t, options)
			refs := []types.ImageReference{fronttest.Reference(t, w, "a"), fronttest.Reference(t, w, "b")}
			images := []*imagetest.Image{a, b}
			ds := make([]types.ImageDestination, 2)
			for _, i := range []int{1, 0} { // so that blobs have to be moved
				ds[i] = fronttest.Open(t, refs[i])
				fronttest.PutImage(t, ds[i], images[i])
			}
			require.ErrorIs(t, ds[first].Commit(cancelled, nil), context.Canceled)
			require.NoError(t, ds[first].Close())
			require.NoError(t, ds[1-first].Commit(context.Background(), nil))
			require.NoError(t, w.Close())
			want := imagetest.Theirs(t, imagetest.Named{Source: images[1-first], Name: []string{"a", "b"}[1-first]})
			assert.Equal(t, imagetest.Sum(want), imagetest.Sum(imagetest.ReadFile(t, path)), "planned %v, cancelled %d", planned, first)
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
	m := imagetest.NewImage(t, "a", imagetest.Gzip(1, 3000), imagetest.Gzip(2, 3000))
	committed := 0
	for n := range 8 {
		w, path := fronttest.New(t, nil)
		d := fronttest.Open(t, fronttest.Reference(t, w, ""))
		for _, i := range []int{1, 0} { // so that both have to be moved
			fronttest.PutBlob(t, d, m.Layers[i])
		}
		fronttest.PutConfig(t, d, m)
		require.NoError(t, d.PutManifest(context.Background(), m.Raw, nil))
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
	m := imagetest.NewImage(t, "a", imagetest.Gzip(1, 3000), imagetest.Gzip(2, 3000))
	begun := make(chan struct{}, 2)
	m.Disturb = func(ctx context.Context, _ digest.Digest, r io.Reader) io.Reader {
		return io.MultiReader(io.LimitReader(r, 100), hangingReader{ctx, begun})
	}
	w, path := fronttest.New(t, nil)
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for range 2 { // The second one waits for the layers of the first.
		ref := fronttest.Reference(t, w, "")
		wg.Go(func() { assert.Error(t, imagetest.CopyUntil(ctx, t, ref, m, nil)) })
	}
	<-begun
	require.NoError(t, w.Abort())
	cancel()
	wg.Wait()
	assert.Empty(t, imagetest.Leftovers(t, filepath.Dir(path)))
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
	w, err := dockerarchive.NewWriterContext(t.Context(), imagetest.Isolated(), path, &dockerarchive.WriterOptions{Transport: dockerarchive.ImageTransport})
	require.NoError(t, err)
	ref, err := w.NewReference(imagetest.Tagged(t, "one:1"))
	require.NoError(t, err)
	require.NoError(t, imagetest.Copy(t, ref, imagetest.Saved(t, "one"), nil))
	require.NoError(t, w.Close())
	assert.Equal(t, "image-archive:"+path+":docker.io/library/one:1", transports.ImageName(ref))
	header, err := tar.NewReader(bytes.NewReader(imagetest.ReadFile(t, path))).Next()
	require.NoError(t, err)
	assert.Equal(t, "oci-layout", header.Name)

	_, err = dockerarchive.NewWriterContext(t.Context(), imagetest.Isolated(), filepath.Join(t.TempDir(), "archive.tar"), &dockerarchive.WriterOptions{Transport: ocilayout.Transport})
	require.ErrorContains(t, err, "transport oci")
}

// One name for two images is refused when the second is committed; the first stays.
func TestOneNameForTwoImages(t *testing.T) {
	one, two := imagetest.NewImage(t, "one", imagetest.Gzip(1, 100)), imagetest.NewImage(t, "two", imagetest.Gzip(1, 100))
	for _, transport := range []types.ImageTransport{dockerarchive.Transport, dockerarchive.ImageTransport} {
		w, path := fronttest.New(t, &dockerarchive.WriterOptions{Transport: transport})
		require.NoError(t, imagetest.Copy(t, fronttest.Reference(t, w, "app:1"), one, nil))
		err := imagetest.Copy(t, fronttest.Reference(t, w, "app:1"), two, nil)
		var taken *layout.NameError
		require.ErrorAs(t, err, &taken)
		assert.Equal(t, "docker.io/library/app:1", taken.Name)
		require.ErrorContains(t, err, path)
		require.NoError(t, imagetest.Copy(t, fronttest.Reference(t, w, "app:1"), one, nil), "the same image again")
		require.NoError(t, imagetest.Copy(t, fronttest.Reference(t, w, "app:2"), two, nil))
		require.NoError(t, w.Close())
		assert.Equal(t, [][]string{{"docker.io/library/app:1"}, {"docker.io/library/app:2"}}, imagetest.RepoTags(t, imagetest.ReadFile(t, path)))
	}
}

// A Writer that is closed when its context has ended leaves the path as it was.
func TestCloseWithEndedContext(t *testing.T) {
	m := imagetest.NewImage(t, "a", imagetest.Gzip(1, 3000))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, transport := range []types.ImageTransport{dockerarchive.Transport, dockerarchive.ImageTransport} {
		for _, empty := range []bool{false, true} {
			dir := t.TempDir()
			path := filepath.Join(dir, "archive.tar")
			var want []string
			if empty {
				require.NoError(t, os.WriteFile(path, nil, 0o600))
				want = []string{"archive.tar"}
			}
			w := fronttest.To(t, path, &dockerarchive.WriterOptions{Transport: transport})
			require.NoError(t, imagetest.Copy(t, fronttest.Reference(t, w, ""), m, nil))
			require.ErrorIs(t, w.CloseContext(ctx), context.Canceled)
			assert.Equal(t, want, imagetest.Leftovers(t, dir))
			if empty {
				assert.Empty(t, imagetest.ReadFile(t, path))
			}
		}
	}
}

// An io.Writer gets the same bytes as a file, with and without a plan.
func TestWriterToAWriter(t *testing.T) {
	m := imagetest.Small(t)
	want := imagetest.Sum(imagetest.Theirs(t, imagetest.Named{Source: m.InGzip(t), Name: "to:1"}))
	for _, options := range []*dockerarchive.WriterOptions{nil, fronttest.Plan(t, m)} {
		var b bytes.Buffer
		w, err := dockerarchive.NewWriterTo(t.Context(), imagetest.Isolated(), &b, options)
		require.NoError(t, err)
		require.NoError(t, imagetest.Copy(t, fronttest.Reference(t, w, "to:1"), m, nil))
		require.NoError(t, w.Close())
		assert.Equal(t, want, imagetest.Sum(b.Bytes()))
	}
	failing := imagetest.WriterFunc(func([]byte) (int, error) { return 0, fronttest.ErrSource })
	w, err := dockerarchive.NewWriterTo(t.Context(), imagetest.Isolated(), failing, nil)
	require.NoError(t, err)
	require.ErrorIs(t, imagetest.Copy(t, fronttest.Reference(t, w, ""), m, nil), fronttest.ErrSource)
	require.NoError(t, w.Abort())
}
