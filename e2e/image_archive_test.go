package e2e_test

import (
	"bytes"
	"context"
	"io"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/iotest"

	"github.com/containers/image/v5/copy"
	"github.com/containers/image/v5/types"
	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive"
	"github.com/dockerarchive/dockerarchive/internal/fronttest"
	"github.com/dockerarchive/dockerarchive/internal/imagetest"
)

// The laws and the faults again, for the OCI layout, where all blobs are stored as
// they are received and the manifest is one of them.

// sequentialArchive is the image-archive of images that are copied one blob after
// the other, without a plan: all others have to equal it.
func sequentialArchive(t testing.TB, images ...*imagetest.Image) []byte {
	t.Helper()
	w, path := fronttest.New(t, &dockerarchive.WriterOptions{Transport: dockerarchive.ImageTransport})
	for _, m := range images {
		require.NoError(t, imagetest.Copy(t, fronttest.Reference(t, w, ""), m, imagetest.Sequentially()))
	}
	require.NoError(t, w.Close())
	return imagetest.ReadFile(t, path)
}

// The archive stores what the design says, in its order, with every digest kept.
func TestImageArchiveIsAsReceived(t *testing.T) {
	one := imagetest.NewImage(t, "one", imagetest.Zstd(1, 3000), imagetest.Plain(2, 100), imagetest.Zstd(1, 3000))
	two := imagetest.NewImage(t, "two", imagetest.Gzip(3, 10), imagetest.Plain(2, 100))
	archive := sequentialArchive(t, one, two)
	contents, names := imagetest.Files(t, archive)
	var blobs []string
	for _, m := range []*imagetest.Image{one, two} {
		for _, l := range append(m.Layers, imagetest.Layer{Digest: m.ConfigDigest(), Blob: m.Config}, imagetest.Layer{Digest: digest.FromBytes(m.Raw), Blob: m.Raw}) {
			name := "blobs/sha256/" + l.Digest.Encoded()
			assert.True(t, bytes.Equal(l.Blob, contents[name]), name)
			if !strings.Contains(strings.Join(blobs, "\n"), name) {
				blobs = append(blobs, name)
			}
		}
	}
	want := append([]string{"oci-layout", "blobs/", "blobs/sha256/"}, blobs...)
	assert.Equal(t, append(want, "index.json", "manifest.json"), names[:len(want)+2])
}

// Digests of another algorithm are kept too, though their names are longer than a
// tar header has room for.
func TestImageArchiveOfSHA512(t *testing.T) {
	l := imagetest.Gzip(1, 3000)
	l.Digest = digest.SHA512.FromBytes(l.Blob)
	archive := sequentialArchive(t, imagetest.NewImage(t, "sha512", l))
	contents, _ := imagetest.Files(t, archive)
	assert.True(t, bytes.Equal(l.Blob, contents["blobs/sha512/"+l.Digest.Encoded()]))
	assert.Equal(t, []string{"blobs/sha512/" + l.Digest.Encoded()}, imagetest.Items(t, archive)[0].Layers)
}

func TestImageArchiveLaw1SameInSameOut(t *testing.T) {
	shared, big := imagetest.Gzip(1, 40_000), imagetest.Zstd(2, 250_000)
	images := []*imagetest.Image{
		imagetest.NewImage(t, "one", imagetest.Gzip(3, 10), shared, imagetest.Plain(4, 140_000), big, imagetest.Plain(6, 0)),
		imagetest.NewImage(t, "two", shared, imagetest.Zstd(8, 30_000), big, imagetest.Plain(9, 1500), imagetest.Gzip(3, 10)),
	}
	want := imagetest.Sum(sequentialArchive(t, images...))
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	for i := range imagetest.Rounds(t, 18, 200) {
		runtime.GOMAXPROCS([]int{1, 2, 8}[i%3])
		options := &dockerarchive.WriterOptions{}
		if i%2 == 0 {
			options = fronttest.Plan(t, images...)
		}
		options.Transport = dockerarchive.ImageTransport
		w, path := fronttest.New(t, options)
		refs := []types.ImageReference{fronttest.Reference(t, w, ""), fronttest.Reference(t, w, "")}
		var wg sync.WaitGroup
		for _, k := range rand.Perm(2) {
			images[k].Disturb, images[k].HideSizes = imagetest.Jitter, i%4 < 2
			wg.Go(func() {
				assert.NoError(t, imagetest.Copy(t, refs[k], images[k], &copy.Options{MaxParallelDownloads: 6}))
			})
		}
		wg.Wait()
		require.NoError(t, w.Close())
		require.Equal(t, want, imagetest.Sum(imagetest.ReadFile(t, path)), "run %d", i)
	}
}

func TestImageArchiveFaultsAnywhere(t *testing.T) {
	m := imagetest.Small(t)
	archive := sequentialArchive(t, m)
	all := m.Positions(int64(imagetest.Rounds(t, 60, 400)))
	for i, p := range all {
		f := newFault(t, i/3)
		f.transport = dockerarchive.ImageTransport
		ctx, cancel := context.WithCancel(context.Background())
		want := fronttest.ErrSource
		fail := func(_ context.Context, d digest.Digest, r io.Reader) io.Reader {
			if d == p.Blob {
				return io.MultiReader(io.LimitReader(r, p.At), iotest.ErrReader(fronttest.ErrSource))
			}
			return r
		}
		w, err := dockerarchive.NewWriterContext(t.Context(), imagetest.Isolated(), f.path, &dockerarchive.WriterOptions{Transport: dockerarchive.ImageTransport})
		require.NoError(t, err)
		switch i % 2 {
		case 0:
			m.Disturb = fail
		case 1:
			want = context.Canceled
			m.Disturb = func(_ context.Context, d digest.Digest, r io.Reader) io.Reader {
				if d != p.Blob {
					return r
				}
				return io.MultiReader(io.LimitReader(r, p.At), imagetest.ReaderFunc(func([]byte) (int, error) { cancel(); return 0, io.EOF }), r)
			}
		}
		if err == nil {
			err = imagetest.CopyUntil(ctx, t, fronttest.Reference(t, w, ""), m, f.options)
		}
		if err == nil {
			err = w.Close()
		}
		require.ErrorIs(t, err, want, "%v", p)
		require.NoError(t, w.Abort())
		cancel()
		f.check(t, m, imagetest.Sum(archive))
	}
}
