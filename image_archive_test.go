package dockerarchive

import (
	"bytes"
	"context"
	"io"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/containers/image/v5/copy"
	"github.com/containers/image/v5/types"
	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/internal/tarfile"
)

// The laws and the faults again, for the OCI layout, where all blobs are stored as
// they are received and the manifest is one of them.

// sequentialArchive is the image-archive of images that are copied one blob after
// the other, without a plan: what all others have to equal.
func sequentialArchive(t testing.TB, images ...*memoryImage) []byte {
	t.Helper()
	w, path := newTestWriter(t, WithTransport(ImageTransport))
	for _, m := range images {
		require.NoError(t, copyImage(t, newReference(t, w, ""), m, sequentially()))
	}
	require.NoError(t, w.Close())
	return readFile(t, path)
}

// What is stored is what the design says, in its order, with every digest kept.
func TestImageArchiveIsAsReceived(t *testing.T) {
	one := newImage(t, "one", zstdLayer(1, 3000), plainLayer(2, 100), zstdLayer(1, 3000))
	two := newImage(t, "two", gzipLayer(3, 10), plainLayer(2, 100))
	archive := sequentialArchive(t, one, two)
	contents, names := files(t, archive)
	var blobs []string
	for _, m := range []*memoryImage{one, two} {
		for _, l := range append(m.layers, layer{digest: m.configDigest(), blob: m.config}, layer{digest: digest.FromBytes(m.raw), blob: m.raw}) {
			name := "blobs/sha256/" + l.digest.Encoded()
			assert.True(t, bytes.Equal(l.blob, contents[name]), name)
			if !strings.Contains(strings.Join(blobs, "\n"), name) {
				blobs = append(blobs, name)
			}
		}
	}
	want := append([]string{"oci-layout", "blobs/", "blobs/sha256/"}, blobs...)
	assert.Equal(t, append(want, "index.json", "manifest.json"), names[:len(want)+2])
}

func TestImageArchiveLaw1SameInSameOut(t *testing.T) {
	shared, big := gzipLayer(1, 40_000), zstdLayer(2, 250_000)
	images := []*memoryImage{
		newImage(t, "one", gzipLayer(3, 10), shared, plainLayer(4, 140_000), big, plainLayer(6, 0)),
		newImage(t, "two", shared, zstdLayer(8, 30_000), big, plainLayer(9, 1500), gzipLayer(3, 10)),
	}
	want := sum(sequentialArchive(t, images...))
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	for i := range 30 {
		runtime.GOMAXPROCS([]int{1, 2, 8}[i%3])
		options := []WriterOption{WithTransport(ImageTransport)}
		if i%2 == 0 {
			options = append(options, manifests(images...))
		}
		w, path := newTestWriter(t, options...)
		refs := []types.ImageReference{newReference(t, w, ""), newReference(t, w, "")}
		var wg sync.WaitGroup
		for _, k := range rand.Perm(2) {
			images[k].disturb, images[k].hideSizes = jitter, i%4 < 2
			wg.Go(func() { assert.NoError(t, copyImage(t, refs[k], images[k], &copy.Options{MaxParallelDownloads: 6})) })
		}
		wg.Wait()
		require.NoError(t, w.Close())
		require.Equal(t, want, sum(readFile(t, path)), "run %d", i)
	}
}

// Law 2 and Law 3: one write for every byte, one read of every blob.
func TestImageArchiveLaw2OnceThrough(t *testing.T) {
	one := newImage(t, "one", gzipLayer(1, 300_000), plainLayer(2, 200_000), zstdLayer(3, 3000))
	two := newImage(t, "two", plainLayer(5, 3000), gzipLayer(1, 300_000))
	for _, hide := range []bool{false, true} {
		one.hideSizes, two.hideSizes = hide, hide
		one.gets, two.gets = map[digest.Digest]int{}, map[digest.Digest]int{}
		w, path := newTestWriter(t, WithTransport(ImageTransport))
		file := &countingFile{File: w.out.File()}
		writeThrough(w, file, noSpool(t))
		require.NoError(t, w.start(nil))
		for _, m := range []*memoryImage{one, two} {
			require.NoError(t, copyImage(t, newReference(t, w, ""), m, sequentially()))
		}
		require.NoError(t, w.Close())
		assert.EqualValues(t, len(readFile(t, path)), file.written)
		shared := one.layers[0].digest
		assert.Equal(t, 1, one.gets[shared]+two.gets[shared])
	}
}

func TestImageArchiveFaultsAnywhere(t *testing.T) {
	m := faultyImage(t)
	archive := sequentialArchive(t, m)
	all := positions(m, 200)
	for i, p := range all {
		f := newFault(t, i/3)
		f.transport = ImageTransport
		ctx, cancel := context.WithCancel(context.Background())
		var disk tarfile.File
		want := errSource
		fail := func(_ context.Context, d digest.Digest, r io.Reader) io.Reader {
			if d == p.blob {
				return io.MultiReader(io.LimitReader(r, p.at), errorReader{errSource})
			}
			return r
		}
		w, err := NewWriter(isolated(), f.path, WithTransport(ImageTransport))
		require.NoError(t, err)
		switch i % 3 {
		case 0:
			m.disturb = fail
		case 1:
			want = context.Canceled
			m.disturb = func(_ context.Context, d digest.Digest, r io.Reader) io.Reader {
				if d != p.blob {
					return r
				}
				return io.MultiReader(io.LimitReader(r, p.at), readerFunc(func([]byte) (int, error) { cancel(); return 0, io.EOF }), r)
			}
		case 2:
			want = errDiskFull
			disk = &fullDisk{File: w.out.File(), left: int64(i * (len(archive) - 1) / len(all))}
			writeThrough(w, disk, f.dir)
			err = w.start(nil)
		}
		if err == nil {
			err = copyImageUntil(ctx, t, newReference(t, w, ""), m, f.options)
		}
		if err == nil {
			err = w.Close()
		}
		require.ErrorIs(t, err, want, "%v", p)
		require.NoError(t, w.Abort())
		cancel()
		f.check(t, m, sum(archive))
	}
}
