package writing

import (
	"bytes"
	"context"
	"errors"
	"io"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/internal/layout"
	"github.com/dockerarchive/dockerarchive/internal/tarfile"
)

// The laws of the design that show in the file that is written.

// countingFile counts the bytes that are written to a file.
type countingFile struct {
	tarfile.File
	mu      sync.Mutex
	written int64
}

func (f *countingFile) WriteAt(p []byte, off int64) (int, error) {
	n, err := f.File.WriteAt(p, off)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.written += int64(n)
	return n, err
}

// Law 2: every byte of an archive is written once, and nothing is spooled, whether
// sizes are known or not, if blobs come one after the other.
func TestLaw2OnceThrough(t *testing.T) {
	shared := zipped(1, 300_000)
	one, two := newImage(t, "one", shared, plain(2, 200_000), zipped(3, 10)), newImage(t, "two", plain(4, 3000), shared)
	for name, l := range layouts {
		for _, planned := range []bool{false, true} {
			for _, known := range []bool{false, true} {
				p := plan(one, two)
				if !planned {
					p = nil
				}
				var file *countingFile
				a := newArchiveOver(t, t.TempDir(), filepath.Join(t.TempDir(), "missing"), l, p, func(f tarfile.File) tarfile.File {
					file = &countingFile{File: f}
					return file
				})
				for _, m := range []*testImage{one, two} {
					place := a.NewImage()
					for _, b := range m.layers {
						size := int64(-1)
						if known {
							size = int64(len(b.blob))
						}
						_, _, err := a.Put(t.Context(), "test", bytes.NewReader(b.blob), b.digest(), size)
						require.NoError(t, err)
					}
					require.NoError(t, putAll(a.Archive, m, false))
					require.NoError(t, commit(a.Archive, place, m))
				}
				require.NoError(t, a.Close(t.Context()))
				assert.EqualValues(t, len(read(t, a.path)), file.written, "%s, planned: %v, sizes known: %v", name, planned, known)
			}
		}
	}
}

// hole is a file that keeps nothing, for layers larger than tests may write.
type hole struct{ onWrite func() }

func (h hole) WriteAt(p []byte, _ int64) (int, error) { h.onWrite(); return len(p), nil }
func (hole) ReadAt(p []byte, _ int64) (int, error)    { clear(p); return len(p), nil }
func (hole) Truncate(int64) error                     { return nil }

// Law 6: memory does not grow with the size of a layer.
func TestLaw6FlatMemory(t *testing.T) {
	const limit, size = 8 << 20, 48 << 20
	blob := bytes.Repeat(gzipped(make([]byte, size/16)), 16)
	heap := func() uint64 {
		var stats runtime.MemStats
		runtime.ReadMemStats(&stats)
		return stats.HeapInuse
	}
	for name, l := range layouts {
		var mu sync.Mutex
		most, writes := uint64(0), 0
		onWrite := func() {
			mu.Lock()
			defer mu.Unlock()
			if writes++; writes%16 == 0 {
				runtime.GC() // The amount of garbage depends on when it last ran.
				most = max(most, heap())
			}
		}
		a := newArchiveOver(t, t.TempDir(), filepath.Join(t.TempDir(), "missing"), l, nil, func(tarfile.File) tarfile.File { return hole{onWrite} })
		var in io.Reader = bytes.NewReader(blob)
		if !l.Unpacks() {
			in = io.LimitReader(zeros{}, size)
		}
		runtime.GC()
		before := heap()
		_, _, err := a.Put(t.Context(), "test", in, "", -1)
		require.NoError(t, err)
		assert.GreaterOrEqual(t, writes, size/(1<<20), name)
		assert.Less(t, most, before+limit, name)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// fullDisk is a file on a disk that is full after some bytes, the last of which
// are still written.
type fullDisk struct {
	tarfile.File
	mu   sync.Mutex
	left int64
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
		return int(n), errDiskFull
	}
	return len(p), nil
}

// Law 4: if the disk becomes full at any point, there is an error that names the
// archive, nothing is left, and nothing goes on. With enough room there is no
// error.
func TestLaw4DiskFullAnywhere(t *testing.T) {
	m := newImage(t, "m", zipped(1, 3000), plain(2, 2000), zipped(3, 4000), zipped(4, 10))
	for name, l := range layouts {
		whole := written(t, l, m)
		for left := int64(0); left < int64(len(whole)); left += 211 {
			a := newArchiveOn(t, m, name, left)
			if a == nil {
				continue // Not even begun.
			}
			place := a.NewImage()
			err := putAll(a.Archive, m, left%2 == 0)
			if err == nil {
				err = commit(a.Archive, place, m)
			}
			closeErr := a.Close(t.Context())
			require.ErrorIs(t, errors.Join(err, closeErr), errDiskFull, "%s, %d", name, left)
			require.Empty(t, a.leftovers(t))
		}
		a := newArchiveOn(t, m, name, int64(len(whole)))
		require.NoError(t, write(a.Archive, m))
		require.True(t, bytes.Equal(whole, read(t, a.path)))
	}
}

// newArchiveOn begins an archive on a disk with so many bytes left; nil if they do
// not suffice for its head.
func newArchiveOn(t testing.TB, m *testImage, name string, left int64) *testArchive {
	t.Helper()
	l := layouts[name]
	head, err := l.NewTable().Head()
	require.NoError(t, err)
	if left < int64(len(head))*1024 {
		return nil
	}
	dir := t.TempDir()
	a := newArchiveOver(t, dir, dir, l, nil, func(f tarfile.File) tarfile.File { return &fullDisk{File: f, left: left} })
	return &a
}

// Law 8: a source that gives nothing any more holds up no caller whose context has
// ended, and neither does a caller that waits for it.
func TestLaw8TheContextEndsEverything(t *testing.T) {
	for _, l := range layouts {
		for _, b := range []testLayer{plain(1, 300_000), zipped(1, 300_000)} {
			for _, at := range []int{0, 4, len(b.blob) / 2} {
				synctest.Test(t, func(t *testing.T) { hang(t, l, b, at) })
			}
		}
	}
}

// hang puts a layer that hangs after so many bytes. The time that the reader is
// given to end is not the real one.
func hang(t *testing.T, l layout.Layout, b testLayer, at int) {
	a := newTestArchive(t, l, nil)
	ctx, cancel := context.WithCancel(t.Context())
	release := make(chan struct{})
	hanging := io.MultiReader(bytes.NewReader(b.blob[:at]), readerFunc(func([]byte) (int, error) {
		cancel()
		<-release
		return 0, io.ErrUnexpectedEOF
	}))
	done := make(chan error, 2)
	go func() {
		_, _, err := a.Put(ctx, "one", hanging, b.digest(), -1)
		done <- err
	}()
	go func() {
		_, _, err := a.Find(ctx, "two", b.digest())
		if err == nil { // It looked after all was over.
			err = context.Canceled
		}
		done <- err
	}()
	require.ErrorIs(t, <-done, context.Canceled)
	require.ErrorIs(t, <-done, context.Canceled)
	close(release)
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }
