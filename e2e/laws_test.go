package e2e_test

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

	"github.com/containers/image/v5/copy"
	"github.com/containers/image/v5/pkg/blobinfocache/none"
	"github.com/containers/image/v5/types"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive"
	"github.com/dockerarchive/dockerarchive/internal/fronttest"
	"github.com/dockerarchive/dockerarchive/internal/imagetest"
)

// The laws of docs/design.md, as far as writing goes.

// Law 1: the bytes depend on the images, their names and their order only. Not on
// the order in which blobs arrive, the number of processors, a plan, or whether
// the images are copied one after the other.
func TestLaw1SameInSameOut(t *testing.T) {
	shared, big := imagetest.Gzip(1, 40_000), imagetest.Gzip(2, 250_000)
	one := imagetest.NewImage(t, "one", imagetest.Gzip(3, 10), shared, imagetest.Plain(4, 140_000), imagetest.Gzip(5, 5000), big, imagetest.Plain(6, 0), imagetest.Gzip(7, 600))
	two := imagetest.NewImage(t, "two", shared, imagetest.Gzip(8, 30_000), big, imagetest.Plain(9, 1500), imagetest.Gzip(3, 10))
	images := []*imagetest.Image{one, two}
	want := imagetest.Sum(imagetest.Theirs(t, imagetest.Named{Source: one, Name: "one:1"}, imagetest.Named{Source: two, Name: "two:2"}))
	for _, m := range images {
		m.Disturb = imagetest.Jitter
	}
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	sums := map[string]int{}
	rounds := imagetest.Rounds(t, 24, 200)
	for i := range rounds {
		runtime.GOMAXPROCS([]int{1, 2, 8}[i%3])
		one.HideSizes, two.HideSizes = i%4 < 2, i%4 < 2
		var options *dockerarchive.WriterOptions
		if i%2 == 0 {
			options = fronttest.Plan(t, images...)
		}
		w, path := fronttest.New(t, options)
		refs := []types.ImageReference{fronttest.Reference(t, w, "one:1"), fronttest.Reference(t, w, "two:2")}
		var wg sync.WaitGroup
		for _, k := range rand.Perm(2) {
			wg.Go(func() {
				assert.NoError(t, imagetest.Copy(t, refs[k], images[k], &copy.Options{MaxParallelDownloads: 6}))
			})
			if i%5 == 0 {
				wg.Wait()
			}
		}
		wg.Wait()
		require.NoError(t, w.Close())
		sums[imagetest.Sum(imagetest.ReadFile(t, path))]++
	}
	assert.Equal(t, map[string]int{want: rounds}, sums)
}

// Law 3: a blob that images share is asked for and read once, at whatever time
// they are copied.
func TestLaw3EachBlobOnce(t *testing.T) {
	shared := []imagetest.Layer{imagetest.Gzip(1, 200_000), imagetest.Plain(2, 30_000), imagetest.Zstd(3, 3000)}
	for _, concurrently := range []bool{false, true} {
		var images []*imagetest.Image
		for _, l := range []imagetest.Layer{imagetest.Gzip(4, 100), imagetest.Gzip(5, 200), imagetest.Gzip(6, 300)} {
			m := imagetest.NewImage(t, l.Digest.String(), append([]imagetest.Layer{l}, shared...)...)
			m.Disturb = imagetest.Jitter
			images = append(images, m)
		}
		w, _ := fronttest.New(t, nil)
		var wg sync.WaitGroup
		for _, m := range images {
			ref := fronttest.Reference(t, w, "")
			wg.Go(func() { assert.NoError(t, imagetest.Copy(t, ref, m, nil)) })
			if !concurrently {
				wg.Wait()
			}
		}
		wg.Wait()
		require.NoError(t, w.Close())
		for _, l := range shared {
			gets, read := 0, int64(0)
			for _, m := range images {
				gets += m.Gets[l.Digest]
				read += m.Read[l.Digest]
			}
			assert.Equal(t, 1, gets)
			assert.EqualValues(t, len(l.Blob), read)
		}
	}
}

// Law 4: a reader of the path sees the old file, or the whole archive.
func TestLaw4OldOrNew(t *testing.T) {
	m := imagetest.NewImage(t, "poll", imagetest.Gzip(1, 200_000), imagetest.Plain(2, 100_000))
	whole := imagetest.Sum(imagetest.Theirs(t, imagetest.Named{Source: m}))
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
							assert.Equal(t, whole, imagetest.Sum(data))
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
			ref, err := dockerarchive.NewReference(path, nil)
			require.NoError(t, err)
			require.NoError(t, imagetest.Copy(t, ref, m, nil))
			close(stop)
			<-polled
			require.FileExists(t, path)
		}
	}
}

// Law 5: a layer that differs from the config is not committed, and the error
// names both digests, whether it was hashed here or by the caller.
func TestLaw5NothingUnverified(t *testing.T) {
	for _, right := range []imagetest.Layer{imagetest.Gzip(1, 3000), imagetest.Plain(1, 3000)} {
		wrong := imagetest.Gzip(2, 3000)
		if right.MediaType == imagetest.Plain(2, 0).MediaType {
			wrong = imagetest.Plain(2, 3000)
		}
		m := imagetest.NewImage(t, "right", right)
		m.Layers[0] = wrong
		m.Manifest.Layers[0].Digest, m.Manifest.Layers[0].Size = wrong.Digest, int64(len(wrong.Blob))
		m.Encode(t)
		dir := t.TempDir()
		ref, err := dockerarchive.NewReference(filepath.Join(dir, "archive.tar"), nil)
		require.NoError(t, err)
		err = imagetest.Copy(t, ref, m, nil)
		require.ErrorContains(t, err, right.DiffID().String())
		require.ErrorContains(t, err, wrong.DiffID().String())
		assert.Empty(t, imagetest.Leftovers(t, dir))
	}
}

// Law 8: a source that stalls does not hold up a caller whose context is done,
// even if the source ignores the context; nor does it hold up callers who wait
// for its blobs.
func TestLaw8TheContextEndsEverything(t *testing.T) {
	for name, l := range map[string]imagetest.Layer{"plain": imagetest.Plain(1, 300_000), "gzip": imagetest.Gzip(1, 300_000), "zstd": imagetest.Zstd(1, 300_000)} {
		for _, at := range []int{0, 4, 140_000} {
			t.Run(fmt.Sprint(name, " ", at), func(t *testing.T) {
				t.Parallel() // A read that hangs is waited for a moment.
				w, _ := fronttest.New(t, nil)
				one, two := fronttest.Open(t, fronttest.Reference(t, w, "")), fronttest.Open(t, fronttest.Reference(t, w, ""))
				ctx, cancel := context.WithCancel(context.Background())
				release := make(chan struct{})
				hanging := io.MultiReader(bytes.NewReader(l.Blob[:at]), imagetest.ReaderFunc(func([]byte) (int, error) {
					cancel()
					<-release
					return 0, io.ErrUnexpectedEOF
				}))
				done := make(chan error)
				go func() {
					_, err := one.PutBlob(ctx, hanging, types.BlobInfo{Digest: l.Digest, Size: -1}, none.NoCache, false)
					done <- err
				}()
				waiting := make(chan error)
				go func() {
					_, _, err := two.TryReusingBlob(ctx, types.BlobInfo{Digest: l.Digest, Size: -1}, none.NoCache, false)
					waiting <- err
				}()
				require.ErrorIs(t, <-done, context.Canceled)
				if err := <-waiting; err != nil {
					require.ErrorIs(t, err, context.Canceled)
				}
				close(release)
			})
		}
	}
}
