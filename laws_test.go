package dockerarchive

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/containers/image/v5/copy"
	"github.com/containers/image/v5/pkg/blobinfocache/none"
	"github.com/containers/image/v5/types"
	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/internal/tarfile"
)

// The laws of docs/design.md, as far as writing goes.

// jitter delays a blob's reads by random times and cuts them into random pieces,
// as a network does.
func jitter(ctx context.Context, _ digest.Digest, r io.Reader) io.Reader {
	first := true
	return readerFunc(func(p []byte) (int, error) {
		if first || rand.IntN(4) == 0 {
			time.Sleep(time.Duration(rand.IntN(3000)) * time.Microsecond)
		}
		first = false
		return r.Read(p[:1+rand.IntN(min(len(p), 64<<10))])
	})
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// Law 1: the bytes depend on the images, their names and their order only. Not on
// the order in which blobs arrive, the number of processors, a plan, or whether
// the images are copied one after the other.
func TestLaw1SameInSameOut(t *testing.T) {
	shared, big := gzipLayer(1, 40_000), gzipLayer(2, 250_000)
	one := newImage(t, "one", gzipLayer(3, 10), shared, plainLayer(4, 140_000), gzipLayer(5, 5000), big, plainLayer(6, 0), gzipLayer(7, 600))
	two := newImage(t, "two", shared, gzipLayer(8, 30_000), big, plainLayer(9, 1500), gzipLayer(3, 10))
	images := []*memoryImage{one, two}
	want := sum(theirs(t, saved{source: one, name: "one:1"}, saved{source: two, name: "two:2"}))
	for _, m := range images {
		m.disturb = jitter
	}
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	sums := map[string]int{}
	for i := range 50 {
		runtime.GOMAXPROCS([]int{1, 2, 8}[i%3])
		one.hideSizes, two.hideSizes = i%4 < 2, i%4 < 2
		var options []WriterOption
		if i%2 == 0 {
			options = append(options, manifests(images...))
		}
		w, path := newTestWriter(t, options...)
		refs := []types.ImageReference{newReference(t, w, "one:1"), newReference(t, w, "two:2")}
		var wg sync.WaitGroup
		for _, k := range rand.Perm(2) {
			wg.Go(func() { assert.NoError(t, copyImage(t, refs[k], images[k], &copy.Options{MaxParallelDownloads: 6})) })
			if i%5 == 0 {
				wg.Wait()
			}
		}
		wg.Wait()
		require.NoError(t, w.Close())
		sums[sum(readFile(t, path))]++
	}
	assert.Equal(t, map[string]int{want: 50}, sums)
}

// countingFile counts the bytes that are written to an archive.
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

// writeThrough makes a Writer write through another file. It must be called before
// the Writer is used, and not on a planned one.
func writeThrough(w *Writer, file tarfile.File, spoolDir string) {
	w.tar = tarfile.NewFileWriter(file, 0, spoolDir)
}

// noSpool is a directory in which nothing can be spooled, because there is none.
func noSpool(t testing.TB) string { return filepath.Join(t.TempDir(), "missing") }

// Law 2: a blob is written to disk once, whether its size is known or not, if
// blobs come one after the other; no temporary file is made.
func TestLaw2OnceThrough(t *testing.T) {
	one := newImage(t, "one", gzipLayer(1, 300_000), plainLayer(2, 200_000), zstdLayer(3, 3000), gzipLayer(4, 10))
	two := newImage(t, "two", plainLayer(5, 3000), gzipLayer(1, 300_000), gzipLayer(6, 100_000))
	for _, planned := range []bool{false, true} {
		for _, hide := range []bool{false, true} {
			w, path := newTestWriter(t)
			file := &countingFile{File: w.out.File()}
			writeThrough(w, file, noSpool(t))
			if planned {
				require.NoError(t, w.start([][]plannedBlob{planOf(one), planOf(two)}))
			}
			for _, m := range []*memoryImage{one, two} {
				m.hideSizes = hide
				require.NoError(t, copyImage(t, newReference(t, w, ""), m, sequentially()))
			}
			require.NoError(t, w.Close())
			assert.EqualValues(t, len(readFile(t, path)), file.written, "planned %v, sizes hidden %v", planned, hide)
		}
	}
}

func planOf(m *memoryImage) []plannedBlob {
	var blobs []plannedBlob
	for _, l := range m.manifest.Layers {
		blobs = append(blobs, plannedBlob{l.Digest, l.Size, true, l.MediaType})
	}
	return blobs
}

// Law 3: a blob that images share is asked for and read once, at whatever time
// they are copied.
func TestLaw3EachBlobOnce(t *testing.T) {
	shared := []layer{gzipLayer(1, 200_000), plainLayer(2, 30_000), zstdLayer(3, 3000)}
	for _, concurrently := range []bool{false, true} {
		var images []*memoryImage
		for _, l := range []layer{gzipLayer(4, 100), gzipLayer(5, 200), gzipLayer(6, 300)} {
			m := newImage(t, l.digest.String(), append([]layer{l}, shared...)...)
			m.disturb = jitter
			images = append(images, m)
		}
		w, _ := newTestWriter(t)
		var wg sync.WaitGroup
		for _, m := range images {
			ref := newReference(t, w, "")
			wg.Go(func() { assert.NoError(t, copyImage(t, ref, m, nil)) })
			if !concurrently {
				wg.Wait()
			}
		}
		wg.Wait()
		require.NoError(t, w.Close())
		for _, l := range shared {
			gets, read := 0, int64(0)
			for _, m := range images {
				gets += m.gets[l.digest]
				read += m.read[l.digest]
			}
			assert.Equal(t, 1, gets)
			assert.EqualValues(t, len(l.blob), read)
		}
	}
}

// Law 4: who reads the path sees what was there, or the whole archive.
func TestLaw4OldOrNew(t *testing.T) {
	m := newImage(t, "poll", gzipLayer(1, 200_000), plainLayer(2, 100_000))
	whole := sum(theirs(t, saved{source: m}))
	for _, old := range []bool{false, true} {
		for range 5 {
			path := filepath.Join(t.TempDir(), "archive.tar")
			if old {
				require.NoError(t, os.WriteFile(path, nil, 0o600))
			}
			stop, polled := make(chan struct{}), make(chan struct{})
			go func() {
				defer close(polled)
				for last := false; ; {
					data, err := os.ReadFile(path)
					switch {
					case errors.Is(err, fs.ErrNotExist) && !old:
					case err == nil && len(data) == 0 && old:
					default:
						if assert.NoError(t, err) {
							assert.Equal(t, whole, sum(data))
						}
					}
					if last {
						return
					}
					select {
					case <-stop:
						last = true
					default:
					}
				}
			}()
			ref, err := NewReference(path, nil)
			require.NoError(t, err)
			require.NoError(t, copyImage(t, ref, m, nil))
			close(stop)
			<-polled
			require.FileExists(t, path)
		}
	}
}

// Law 5: a layer that is not what the config says is not committed, and both
// digests are named, whether it was hashed here or by the caller.
func TestLaw5NothingUnverified(t *testing.T) {
	for _, right := range []layer{gzipLayer(1, 3000), plainLayer(1, 3000)} {
		wrong := gzipLayer(2, 3000)
		if right.mediaType == plainLayer(2, 0).mediaType {
			wrong = plainLayer(2, 3000)
		}
		m := newImage(t, "right", right)
		m.layers[0] = wrong
		m.manifest.Layers[0].Digest, m.manifest.Layers[0].Size = wrong.digest, int64(len(wrong.blob))
		m.encode(t)
		dir := t.TempDir()
		ref, err := NewReference(filepath.Join(dir, "archive.tar"), nil)
		require.NoError(t, err)
		err = copyImage(t, ref, m, nil)
		require.ErrorContains(t, err, digest.FromBytes(right.diff).String())
		require.ErrorContains(t, err, digest.FromBytes(wrong.diff).String())
		assert.Empty(t, leftovers(t, dir))
	}
}

// hole is a file that holds nothing, for archives larger than tests may make.
type hole struct{ onWrite func() }

func (h hole) WriteAt(p []byte, _ int64) (int, error) { h.onWrite(); return len(p), nil }
func (hole) ReadAt(p []byte, _ int64) (int, error)    { clear(p); return len(p), nil }
func (hole) Truncate(int64) error                     { return nil }

// Law 6: memory does not grow with the size of a layer.
func TestLaw6FlatMemory(t *testing.T) {
	const limit = 8 << 20
	size := 1 << 30
	if raceEnabled {
		size = 64 << 20
	}
	blob := bytes.Repeat(gzipped(make([]byte, size/16)), 16)
	heap := func() uint64 {
		var stats runtime.MemStats
		runtime.ReadMemStats(&stats)
		return stats.HeapInuse
	}
	runtime.GC()
	before, most, writes := heap(), uint64(0), 0
	w, _ := newTestWriter(t)
	writeThrough(w, hole{func() {
		if writes++; writes%64 == 0 {
			most = max(most, heap())
		}
	}}, noSpool(t))
	d := openImage(t, newReference(t, w, ""))
	_, err := d.PutBlob(context.Background(), bytes.NewReader(blob), types.BlobInfo{Size: -1}, none.NoCache, false)
	require.NoError(t, err)
	assert.Greater(t, writes, size/(1<<20))
	assert.Less(t, most, before+limit)
}

// Law 8: a source that gives nothing any more does not keep a caller whose
// context is done, though it does not know of the context; nor do those who wait
// for what it has.
func TestLaw8TheContextEndsEverything(t *testing.T) {
	for name, l := range map[string]layer{"plain": plainLayer(1, 300_000), "gzip": gzipLayer(1, 300_000), "zstd": zstdLayer(1, 300_000)} {
		for _, at := range []int{0, 4, 140_000} {
			t.Run(fmt.Sprint(name, " ", at), func(t *testing.T) {
				t.Parallel() // A read that hangs is waited for a moment.
				_, one, two := twoTargets(t)
				ctx, cancel := context.WithCancel(context.Background())
				release := make(chan struct{})
				hanging := io.MultiReader(bytes.NewReader(l.blob[:at]), readerFunc(func([]byte) (int, error) {
					cancel()
					<-release
					return 0, io.ErrUnexpectedEOF
				}))
				done := make(chan error)
				go func() {
					_, err := one.PutBlob(ctx, hanging, types.BlobInfo{Digest: l.digest, Size: -1}, none.NoCache, false)
					done <- err
				}()
				waiting := tryReusing(ctx, two, l)
				require.ErrorIs(t, <-done, context.Canceled)
				if r := <-waiting; r.err != nil {
					require.ErrorIs(t, r.err, context.Canceled)
				}
				close(release)
			})
		}
	}
}
