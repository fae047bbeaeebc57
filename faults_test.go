package dockerarchive

import (
	"cmp"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/containers/image/v5/copy"
	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/dockerarchive/dockerarchive/internal/tarfile"
)

// Whatever goes wrong, wherever it does, the path shows what was there, nothing is
// left beside it or running, and the next attempt succeeds.

// position is a place where something goes wrong.
type position struct {
	blob digest.Digest
	at   int64
}

// positions are at least n places spread over all bytes that an image is read
// from, the ends of its blobs included.
func positions(m *memoryImage, n int64) []position {
	blobs := append([]layer{{digest: m.configDigest(), blob: m.config}}, m.layers...)
	total := int64(0)
	for _, b := range blobs {
		total += int64(len(b.blob))
	}
	var all []position
	for _, b := range blobs {
		for at := int64(0); at < int64(len(b.blob)); at += total/n - 1 {
			all = append(all, position{b.digest, at})
		}
		all = append(all, position{b.digest, int64(len(b.blob))})
	}
	return all
}

// faultyImage is small, and has layers of every kind.
func faultyImage(t testing.TB) *memoryImage {
	return newImage(t, "faults", gzipLayer(1, 3000), plainLayer(2, 2000), zstdLayer(3, 4000), gzipLayer(4, 10))
}

// fault is an attempt to write an archive that is going to fail.
type fault struct {
	dir, path string
	transport archiveTransport
	empty     bool // there is an empty file at the path
	options   *copy.Options
}

func newFault(t testing.TB, i int) fault {
	t.Helper()
	dir := t.TempDir()
	f := fault{transport: Transport, dir: dir, path: filepath.Join(dir, "archive.tar"), empty: i%3 == 0, options: &copy.Options{MaxParallelDownloads: 6}}
	if f.empty {
		require.NoError(t, os.WriteFile(f.path, nil, 0o600))
	}
	if i%2 == 0 {
		f.options = sequentially()
	}
	return f
}

// check checks what is left when it has failed, and tries again.
func (f fault) check(t testing.TB, m *memoryImage, want string) {
	t.Helper()
	if f.empty {
		require.Equal(t, []string{"archive.tar"}, leftovers(t, f.dir))
		require.Empty(t, readFile(t, f.path))
	} else {
		require.Empty(t, leftovers(t, f.dir))
	}
	require.NoError(t, goleak.Find())
	m.disturb = nil
	f.copy(t, m)
	require.Equal(t, want, sum(readFile(t, f.path)))
	require.Equal(t, []string{"archive.tar"}, leftovers(t, f.dir))
}

func (f fault) copy(t testing.TB, m *memoryImage) {
	t.Helper()
	ref, err := f.transport.newReference(f.path, nil, -1)
	require.NoError(t, err)
	require.NoError(t, copyImage(t, ref, m, f.options))
}

func TestSourceFailsAnywhere(t *testing.T) {
	m := faultyImage(t)
	want := sum(theirsWithout(t, m))
	all := positions(m, 200)
	require.GreaterOrEqual(t, len(all), 200)
	for i, p := range all {
		f := newFault(t, i)
		m.disturb = func(_ context.Context, d digest.Digest, r io.Reader) io.Reader {
			if d == p.blob {
				return io.MultiReader(io.LimitReader(r, p.at), errorReader{errSource})
			}
			return r
		}
		ref, err := NewReference(f.path, nil)
		require.NoError(t, err)
		require.ErrorIs(t, copyImage(t, ref, m, f.options), errSource, "%v", p)
		f.check(t, m, want)
	}
}

// theirsWithout is theirs for an image with zstd layers.
func theirsWithout(t testing.TB, m *memoryImage) []byte {
	t.Helper()
	var layers []layer
	for _, l := range m.layers {
		layers = append(layers, differently(l, gzipped, gzipLayer(0, 0).mediaType))
	}
	return theirs(t, saved{source: newImage(t, "faults", layers...)})
}

func TestCancelledAnywhere(t *testing.T) {
	m := faultyImage(t)
	want := sum(theirsWithout(t, m))
	for i, p := range positions(m, 200) {
		f := newFault(t, i)
		ctx, cancel := context.WithCancel(context.Background())
		m.disturb = func(_ context.Context, d digest.Digest, r io.Reader) io.Reader {
			if d != p.blob {
				return r
			}
			cancelling := readerFunc(func([]byte) (int, error) { cancel(); return 0, io.EOF })
			return io.MultiReader(io.LimitReader(r, p.at), cancelling, r)
		}
		ref, err := NewReference(f.path, nil)
		require.NoError(t, err)
		require.ErrorIs(t, copyImageUntil(ctx, t, ref, m, f.options), context.Canceled, "%v", p)
		f.check(t, m, want)
	}
}

// fullDisk is a file on a disk that is full after some bytes, of which the last
// are still written.
type fullDisk struct {
	tarfile.File
	mu   sync.Mutex
	left int64
	err  error // errDiskFull if nil
}

var errDiskFull = errors.New("no space left")

func (f *fullDisk) WriteAt(p []byte, off int64) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := min(int64(len(p)), f.left)
	f.left -= n
	if _, err := f.File.WriteAt(p[:n], off); err != nil {
		return 0, err
	}
	if int(n) < len(p) {
		return int(n), cmp.Or(f.err, errDiskFull)
	}
	return len(p), nil
}

func TestDiskFullAnywhere(t *testing.T) {
	m := faultyImage(t)
	archive := theirsWithout(t, m)
	// The layers may have to be moved, so that more is written.
	for i := range 200 {
		limit := int64(i) * int64(len(archive)) / 200
		f := newFault(t, i)
		w, err := NewWriter(isolated(), f.path)
		require.NoError(t, err)
		writeThrough(w, &fullDisk{File: w.out.File(), left: limit}, f.dir)
		err = copyImage(t, newReference(t, w, ""), m, f.options)
		closeErr := w.Close()
		if err == nil {
			err = closeErr
		}
		require.ErrorIs(t, err, errDiskFull, "%d", limit)
		require.ErrorContains(t, err, f.path)
		f.check(t, m, sum(archive))
	}
}

// Somebody else writes to the path while the archive is being made: theirs stays.
func TestTargetAppearsMeanwhile(t *testing.T) {
	m := faultyImage(t)
	dir := t.TempDir()
	path := filepath.Join(dir, "archive.tar")
	ref, err := NewReference(path, nil)
	require.NoError(t, err)
	d := openImage(t, ref)
	putImage(t, d, m)
	require.NoError(t, os.WriteFile(path, []byte("theirs"), 0o600))
	require.ErrorIs(t, d.Commit(context.Background(), nil), ErrNotEmpty)
	require.NoError(t, d.Close())
	assert.Equal(t, "theirs", string(readFile(t, path)))
	assert.Equal(t, []string{"archive.tar"}, leftovers(t, dir))
}
