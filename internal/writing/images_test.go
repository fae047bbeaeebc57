package writing

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/internal/image"
	"github.com/dockerarchive/dockerarchive/internal/layout"
)

// The error names the missing or wrong part of an image.
func TestCheck(t *testing.T) {
	one, other := zipped(1, 3000), plain(2, 1000)
	for name, l := range layouts {
		a := newTestArchive(t, l, nil)
		m := newImage(t, "m", one, other)
		require.NoError(t, put(a.Archive, one))
		require.ErrorContains(t, a.Check(m.Image), other.digest().String()+" ", name)
		require.NoError(t, put(a.Archive, other))
		if !l.Unpacks() {
			require.ErrorContains(t, a.Check(m.Image), m.Top().Config.Digest.String()+" of image")
		}
		require.NoError(t, putAll(a.Archive, m, false))
		require.NoError(t, a.Check(m.Image), name)

		wrong := newImage(t, "m", testLayer{one.blob, other.diff, one.mediaType})
		require.NoError(t, putAll(a.Archive, wrong, false))
		err := a.Check(wrong.Image)
		require.ErrorContains(t, err, digest.FromBytes(one.diff).String())
		require.ErrorContains(t, err, digest.FromBytes(other.diff).String())
		if l.Unpacks() {
			continue
		}
		m.Top().Layers[1].Size++
		require.ErrorContains(t, a.Check(m.Image), "has 1001 bytes, but it has 1000")
		m.Top().Layers[1].Size = -1
		require.NoError(t, a.Check(m.Image), "a size that is not known")
	}
}

// In a file images stand in the order in which their places were made, whether
// they are planned or not, and for any order in which they come, alone or at the
// same time.
func TestOrderOfImages(t *testing.T) {
	shared := zipped(1, 5000)
	for name, l := range layouts {
		images := []*testImage{newImage(t, "a", shared, plain(2, 700)), newImage(t, "b", zipped(3, 9000), shared), newImage(t, "c", plain(4, 10), zipped(5, 10))}
		want := written(t, l, images...)
		for _, planned := range [][][]image.Blob{nil, plan(images...), plan(images[1], images[0]), plan(images[:1]...)} {
			for _, order := range [][]int{{0, 1, 2}, {2, 1, 0}, {1, 2, 0}, nil} {
				a := newTestArchive(t, l, planned)
				places := []*Image{a.NewImage(), a.NewImage(), a.NewImage()}
				var wg sync.WaitGroup
				for i := range images {
					if order != nil {
						require.NoError(t, putAll(a.Archive, images[order[i]], i == 1))
						require.NoError(t, commit(a.Archive, places[order[i]], images[order[i]]))
						continue
					}
					wg.Go(func() {
						assert.NoError(t, putAll(a.Archive, images[i], true))
						assert.NoError(t, commit(a.Archive, places[i], images[i]))
					})
				}
				wg.Wait()
				require.NoError(t, a.Close(t.Context()))
				assert.True(t, bytes.Equal(want, read(t, a.path)), "%s, %d planned, %v", name, len(planned), order)
			}
		}
	}
}

// On a stream they stand in the order of their commits, unless there is a plan.
func TestOrderOnAStream(t *testing.T) {
	for name, l := range layouts {
		one, two := newImage(t, "a", zipped(1, 5000), plain(2, 700)), newImage(t, "b", plain(3, 900))
		for _, planned := range []bool{false, true} {
			var b bytes.Buffer
			var p [][]image.Blob
			order := []*testImage{two, one}
			if planned {
				p, order = plan(one, two), []*testImage{one, two}
			}
			a := newTestStream(t, l, p, &b)
			assert.Equal(t, planned, a.Concurrent())
			first, second := a.NewImage(), a.NewImage()
			require.NoError(t, putAll(a, two, false))
			require.NoError(t, commit2(t, a, second, two, planned))
			require.NoError(t, putAll(a, one, false))
			require.NoError(t, commit(a, first, one))
			require.NoError(t, a.Close(t.Context()))
			assert.True(t, bytes.Equal(written(t, l, order...), b.Bytes()), "%s, planned: %v", name, planned)
		}
	}
}

// commit2 commits an image whose turn has not come if there is a plan.
func commit2(t testing.TB, a *Archive, place *Image, m *testImage, planned bool) error {
	t.Helper()
	err := commit(a, place, m)
	if planned && err == nil {
		assert.Equal(t, committed, a.stateOf(place))
	}
	return err
}

// A place planned for a blob that does not come leaves no gap: if the image is
// abandoned, if a layer comes in another form, if no image has the blob.
func TestPlannedPlacesThatStayEmpty(t *testing.T) {
	shared := plain(1, 3000)
	alsoShared := testLayer{gzipped(shared.diff), shared.diff, zipped(0, 0).mediaType}
	for name, l := range layouts {
		a, gone, b := newImage(t, "a", shared, plain(2, 100)), newImage(t, "gone", plain(3, 4000), zipped(4, 4000)), newImage(t, "b", alsoShared, plain(5, 100))
		want := written(t, l, a, b)
		for _, stream := range []bool{false, true} {
			var buffer bytes.Buffer
			var archive *Archive
			path := ""
			if stream {
				archive = newTestStream(t, l, plan(a, gone, b), &buffer)
			} else {
				file := newTestArchive(t, l, plan(a, gone, b))
				archive, path = file.Archive, file.path
			}
			places := []*Image{archive.NewImage(), archive.NewImage(), archive.NewImage()}
			place, err := archive.Open(places[1])
			require.NoError(t, err)
			archive.Abandon(place)
			for _, i := range []int{2, 0} {
				m := []*testImage{a, gone, b}[i]
				if stream && i == 2 {
					archive.Forgo(digestsOf(gone))
				}
				require.NoError(t, putAll(archive, m, false))
				require.NoError(t, commit(archive, places[i], m))
			}
			require.NoError(t, archive.Close(t.Context()))
			got := buffer.Bytes()
			if !stream {
				got = read(t, path)
			}
			assert.True(t, bytes.Equal(want, got), "%s, stream: %v", name, stream)
		}
	}
}

// A layer that arrives in another form while it is on its way is in the archive
// once, in the place of the first, whichever of them ends first.
func TestTwoFormsOnTheirWay(t *testing.T) {
	form := plain(1, 300_000)
	other := testLayer{gzipped(form.diff), form.diff, zipped(0, 0).mediaType}
	m := newImage(t, "m", form, plain(2, 100), other)
	l := layouts["docker"]
	want := written(t, l, newImage(t, "m", form, plain(2, 100), form))
	_, wantNames := entriesOf(t, want)
	for _, stream := range []bool{false, true} {
		for _, first := range []testLayer{form, other} {
			second := form
			if first.digest() == form.digest() {
				second = other
			}
			var buffer bytes.Buffer
			var a *Archive
			path := ""
			if stream {
				a = newTestStream(t, l, plan(m), &buffer)
			} else {
				file := newTestArchive(t, l, plan(m))
				a, path = file.Archive, file.path
			}
			place := a.NewImage()
			r, w := io.Pipe()
			done := make(chan error, 1)
			go func() {
				_, _, err := a.Put(context.Background(), "one", r, first.digest(), int64(len(first.blob)))
				done <- err
			}()
			half := len(first.blob) / 2
			_, err := w.Write(first.blob[:half])
			require.NoError(t, err)
			require.NoError(t, put(a, second))
			_, err = w.Write(first.blob[half:])
			require.NoError(t, err)
			require.NoError(t, w.Close())
			require.NoError(t, <-done)
			require.NoError(t, putAll(a, m, false))
			require.NoError(t, commit(a, place, m))
			require.NoError(t, a.Close(t.Context()))
			got := buffer.Bytes()
			if !stream {
				got = read(t, path)
			}
			contents, names := entriesOf(t, got)
			assert.Equal(t, wantNames, names, "stream: %v", stream)
			assert.True(t, bytes.Equal(form.diff, contents[wantNames[0]]))
		}
	}
}

// entriesOf returns the contents of an archive's entries, and the names of its
// layers in their order.
func entriesOf(t testing.TB, archive []byte) (contents map[string][]byte, layers []string) {
	t.Helper()
	contents = map[string][]byte{}
	r := tar.NewReader(bytes.NewReader(archive))
	for {
		h, err := r.Next()
		if err == io.EOF {
			return contents, layers
		}
		require.NoError(t, err)
		contents[h.Name], err = io.ReadAll(r)
		require.NoError(t, err)
		if filepath.Ext(h.Name) == ".tar" {
			layers = append(layers, h.Name)
		}
	}
}

func digestsOf(m *testImage) (digests []digest.Digest) {
	for b := range m.Blobs() {
		digests = append(digests, b.Digest)
	}
	return digests
}

// Places that are given up on a stream are not waited for.
func TestForgo(t *testing.T) {
	gone, b := newImage(t, "gone", plain(3, 4000)), newImage(t, "b", plain(5, 3000))
	for _, forgo := range []bool{false, true} {
		var sent bytes.Buffer
		a := newTestStream(t, layouts["oci"], plan(gone, b), &sent)
		before := sent.Len()
		if forgo {
			a.Forgo(digestsOf(gone))
		}
		require.NoError(t, put(a, b.layers[0]))
		assert.Equal(t, forgo, sent.Len() > before+3000, "sent at once")
	}
}

// A name that another image has is refused by Commit; the image is not part of the
// archive, and may be under another name.
func TestCommitOfATakenName(t *testing.T) {
	for _, l := range layouts {
		one, two := newImage(t, "m", plain(1, 100)), newImage(t, "m", plain(2, 100))
		want := written(t, l, one)
		a := newTestArchive(t, l, nil)
		first, second := a.NewImage(), a.NewImage()
		require.NoError(t, putAll(a.Archive, one, false))
		require.NoError(t, commit(a.Archive, first, one))
		require.NoError(t, putAll(a.Archive, two, false))
		var taken *layout.NameError
		require.ErrorAs(t, commit(a.Archive, second, two), &taken)
		a.Abandon(second)
		require.NoError(t, a.Close(t.Context()))
		assert.True(t, bytes.Equal(want, read(t, a.path)))
	}
}

// The names of an image that could not be committed may be those of another one.
func TestCommitFails(t *testing.T) {
	failing := metadata
	failing.Legacy = func(config []byte, diffIDs []digest.Digest) (layout.LegacyLayers, error) {
		if bytes.Contains(config, []byte("bad")) {
			return layout.LegacyLayers{}, errors.New("bad")
		}
		return metadata.Legacy(config, diffIDs)
	}
	for _, l := range []layout.Layout{layout.Docker{Metadata: failing}, layout.OCI{Metadata: failing}} {
		good, bad := newImage(t, "good", plain(1, 100)), newImage(t, "bad", plain(1, 100))
		bad.Names = good.Names
		a := newTestArchive(t, l, nil)
		place := a.NewImage()
		require.NoError(t, putAll(a.Archive, bad, false))
		require.ErrorContains(t, commit(a.Archive, place, bad), "bad")
		a.Abandon(place)
		require.NoError(t, write(a.Archive, good))
	}
}

// A place belongs to the caller that opened it, until it is abandoned.
func TestOpenTwice(t *testing.T) {
	a := newTestArchive(t, layouts["oci"], nil)
	place := a.NewImage()
	one, err := a.Open(place)
	require.NoError(t, err)
	assert.Same(t, place, one)
	two, err := a.Open(place)
	require.NoError(t, err)
	assert.NotSame(t, place, two)
	a.Abandon(place)
	again, err := a.Open(place)
	require.NoError(t, err)
	assert.Same(t, place, again)
}

// Nothing more goes into a closed archive; one without images is none.
func TestClosed(t *testing.T) {
	for _, l := range layouts {
		for _, abort := range []bool{false, true} {
			m := newImage(t, "m", plain(1, 100))
			a := newTestArchive(t, l, nil)
			place, err := a.Open(a.NewImage())
			require.NoError(t, err)
			require.NoError(t, putAll(a.Archive, m, false))
			if abort {
				require.NoError(t, a.Abort())
			} else {
				require.NoError(t, a.Close(t.Context()))
			}
			assert.Empty(t, a.leftovers(t))
			require.ErrorIs(t, put(a.Archive, plain(2, 100)), fs.ErrClosed)
			require.ErrorIs(t, a.Commit(t.Context(), place, m.Image), fs.ErrClosed)
			_, err = a.Open(a.NewImage())
			require.ErrorIs(t, err, fs.ErrClosed)
			require.ErrorIs(t, a.Close(t.Context()), fs.ErrClosed)
			require.NoError(t, a.Abort())
		}
	}
}

// With a context that has ended nothing is committed, and Close is Abort.
func TestEndedContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, l := range layouts {
		m := newImage(t, "m", plain(1, 100))
		a := newTestArchive(t, l, nil)
		place, err := a.Open(a.NewImage())
		require.NoError(t, err)
		require.NoError(t, putAll(a.Archive, m, false))
		require.ErrorIs(t, a.Commit(ctx, place, m.Image), context.Canceled)
		require.NoError(t, a.Commit(t.Context(), place, m.Image))
		require.ErrorIs(t, a.Close(ctx), context.Canceled)
		assert.Empty(t, a.leftovers(t))
	}
}

// A caller that waits for another one's sealing ends with its own context.
func TestSealingIsWaitedForWithContext(t *testing.T) {
	a := newTestArchive(t, layouts["oci"], nil)
	m := newImage(t, "m", plain(1, 100))
	place, err := a.Open(a.NewImage())
	require.NoError(t, err)
	require.NoError(t, putAll(a.Archive, m, false))
	require.NoError(t, a.sealing.acquire(t.Context()))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- a.Commit(ctx, place, m.Image) }()
	cancel()
	require.ErrorIs(t, <-done, context.Canceled)
	a.sealing.release()
	require.NoError(t, a.Commit(t.Context(), place, m.Image))
	require.NoError(t, a.Close(t.Context()))
	assert.True(t, slices.Contains(a.leftovers(t), "archive.tar"))
}
