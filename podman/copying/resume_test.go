package copying_test

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/types"

	"github.com/dockerarchive/dockerarchive/errdef"
	dockerarchive "github.com/dockerarchive/dockerarchive/podman"
	"github.com/dockerarchive/dockerarchive/podman/copying"
	"github.com/dockerarchive/dockerarchive/podman/internal/imagetest"
)

// resumedKinds are the kinds of archives that are resumed.
var resumedKinds = map[string]types.ImageTransport{"docker": dockerarchive.Transport, "oci": dockerarchive.ImageTransport}

// resumed is an image that is saved to one path until it is complete.
type resumed struct {
	*rangedRegistry
	kind          types.ImageTransport
	path, partial string
	jobs          int
	want          []byte       // of an undisturbed run
	size          int64        // fetched by an undisturbed run
	cutAt         atomic.Int64 // when so many bytes of blobs have been sent, the process is "killed"; 0 is never
	cancel        atomic.Pointer[context.CancelFunc]
}

func newResumed(t *testing.T, kind types.ImageTransport) *resumed {
	t.Helper()
	r := &resumed{rangedRegistry: newRangedRegistry(t), kind: kind, jobs: 2}
	img := imagetest.NewImage(t, "a", imagetest.Gzip(1, 300_000), imagetest.Gzip(2, 200_000), imagetest.Plain(3, 100_000), imagetest.Gzip(4, 7))
	r.image = r.Push(t, "large:latest", img)
	r.path = filepath.Join(t.TempDir(), "a.tar")
	r.partial = r.path + ".partial"
	var err error
	r.want, err = r.save(t, kind, 20_000, 0)
	require.NoError(t, err)
	r.size = r.sent.Swap(0)
	inner := r.intercept
	r.Intercept(func(w http.ResponseWriter, req *http.Request) bool {
		return inner(&cuttingResponse{w, r}, req)
	})
	return r
}

// cuttingResponse has the client give up at some byte.
type cuttingResponse struct {
	http.ResponseWriter
	r *resumed
}

func (w *cuttingResponse) Write(p []byte) (int, error) {
	if at := w.r.cutAt.Load(); at > 0 && w.r.sent.Load() >= at {
		(*w.r.cancel.Load())()
		return 0, context.Canceled
	}
	return w.ResponseWriter.Write(p)
}

// resume saves the images, until so many bytes have been sent if that is not 0.
func (r *resumed) resume(t *testing.T, cutAt int64, images ...types.ImageReference) error {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r.cancel.Store(&cancel)
	r.cutAt.Store(cutAt)
	options := &copying.SaveOptions{
		Reading:        copying.Reading{SourceCtx: imagetest.RegistryContext(t), Jobs: r.jobs},
		Transport:      r.kind,
		DestinationCtx: imagetest.Isolated(),
		Resume:         true,
		NoSync:         true,
	}
	options.RetryAtOnce()
	options.InRangesOf(20_000)
	var list []copying.SaveImage
	for _, ref := range images {
		list = append(list, copying.SaveImage{Source: ref})
	}
	_, err := copying.Save(ctx, imagetest.Trusting(t), r.path, list, options)
	return err
}

// complete resumes to the end, and checks the archive.
func (r *resumed) complete(t *testing.T) {
	t.Helper()
	require.NoError(t, r.resume(t, 0, r.image))
	assert.Equal(t, imagetest.Sum(r.want), imagetest.Sum(imagetest.ReadFile(t, r.path)))
	assert.Equal(t, []string{"a.tar"}, imagetest.Leftovers(t, filepath.Dir(r.path)))
	require.NoError(t, os.Remove(r.path))
}

// However often a save is interrupted, only blobs that were under way are fetched again.
func TestResume(t *testing.T) {
	r := newResumed(t, dockerarchive.ImageTransport)
	const kills = 24
	for i := range int64(kills) {
		require.ErrorIs(t, r.resume(t, (i+1)*r.size/(kills+2), r.image), context.Canceled)
		require.FileExists(t, r.partial)
		require.NoFileExists(t, r.path)
	}
	r.complete(t)
	// Ranges that were on their way, and the config, which is in memory until its image is complete.
	assert.LessOrEqual(t, r.sent.Load(), r.size*105/100+kills*6*20_000)
	assert.Less(t, r.sent.Load(), 4*r.size)
}

// Resume uses decompressed layers that are complete, and fetches those again that were
// under way.
func TestResumeUnpacked(t *testing.T) {
	r := newResumed(t, dockerarchive.Transport)
	const largest = 310_000 // bytes of a layer
	for _, r.jobs = range []int{1, 4} {
		for i := range int64(20) {
			before := r.sent.Load()
			require.ErrorIs(t, r.resume(t, before+(i+1)*r.size/22, r.image), context.Canceled)
			require.NoFileExists(t, r.path)
			r.complete(t)
			assert.Less(t, r.sent.Load()-before, r.size+int64(r.jobs)*largest, i)
		}
	}
	r.jobs = 1
	before := r.sent.Load()
	require.ErrorIs(t, r.resume(t, before+r.size*9/10, r.image), context.Canceled)
	before = r.sent.Load()
	r.complete(t)
	assert.Less(t, r.sent.Load()-before, r.size/2, "the large ones are there")
}

// If only the end of an archive is missing, no layer before it is fetched.
func TestResumeFetchesWhatIsMissing(t *testing.T) {
	for name, kind := range resumedKinds {
		t.Run(name, func(t *testing.T) {
			r := newResumed(t, kind)
			require.NoError(t, os.WriteFile(r.partial, r.want[:len(r.want)-20_000], 0o600))
			r.complete(t)
			assert.Less(t, r.sent.Load(), map[string]int64{"docker": 120_000, "oci": 60_000}[name])
		})
	}
}

// Nothing in the file is believed.
func TestResumeTrustsNothing(t *testing.T) {
	for name, kind := range resumedKinds {
		t.Run(name, func(t *testing.T) { testTrustsNothing(t, newResumed(t, kind)) })
	}
}

func testTrustsNothing(t *testing.T, r *resumed) {
	r.jobs = 1 // One blob is stored before the next is asked for.
	require.ErrorIs(t, r.resume(t, r.size*9/10, r.image), context.Canceled)
	r.jobs = 2
	r.cutAt.Store(0)
	left := imagetest.ReadFile(t, r.partial)
	end := bytes.LastIndexByte(left[:min(len(left), len(r.want))], left[600]) // Something that was written.
	image := r.image
	r.image = r.Push(t, "other:latest", imagetest.NewImage(t, "other", imagetest.Gzip(8, 400_000)))
	other, err := r.save(t, r.kind, 20_000, 0)
	require.NoError(t, err)
	r.image = image
	// Each is made when it is its turn: a file that was left has a gap, which takes memory here.
	files := map[string]func() []byte{
		"as it was left": func() []byte { return left },
		"cut off":        func() []byte { return left[:min(len(left), len(r.want)/3)] },
		"one byte":       func() []byte { return []byte{1} },
		"garbage":        func() []byte { return bytes.Repeat([]byte("garbage "), len(left)/4) },
		"another tar":    func() []byte { return append(bytes.Clone(r.want[512:]), r.want...) },
		"a lying plan": func() []byte {
			return append(bytes.Clone(left[:len(left)-64]), "docker-archive partial 9223372036854775807\n                     "...)
		},
		"no plan":         func() []byte { return left[:len(left)-64] },
		"complete":        func() []byte { return r.want },
		"another image's": func() []byte { return other },
		"theirs behind":   func() []byte { return append(bytes.Clone(left[:len(left)/1024*512]), other...) },
		"a larger size":   func() []byte { return lying(t, r.want, 512) },
		"a smaller size":  func() []byte { return lying(t, r.want, -512) },
		"no content":      func() []byte { return lying(t, r.want, 0)[:512] },
	}
	for seed := range uint64(10) { // After a power failure, some sectors are missing on a disk.
		files[fmt.Sprint("sectors ", seed)] = func() []byte { return withoutSectors(left, rand.New(rand.NewPCG(seed, 1))) }
	}
	for i := 0; i < len(r.want); i += len(r.want) / 10 {
		files["flipped at "+string(rune('0'+i*10/len(r.want)))] = func() []byte {
			flipped := bytes.Clone(left)
			flipped[min(i, end)] ^= 1
			return flipped
		}
	}
	for name, data := range files {
		t.Run(name, func(t *testing.T) {
			require.NoError(t, os.WriteFile(r.partial, data(), 0o600))
			r.complete(t)
		})
	}
}

// withoutSectors returns a file without some sectors, from hardly any to most, which
// have not got to the disk.
func withoutSectors(file []byte, r *rand.Rand) []byte {
	file = bytes.Clone(file)
	share := math.Pow(r.Float64(), 4)
	for off := 0; off < len(file); off += 512 {
		if r.Float64() < share {
			clear(file[off:min(off+512, len(file))])
		}
	}
	return file
}

// lying returns an archive whose first file claims to be larger by some bytes.
func lying(t *testing.T, archive []byte, more int64) []byte {
	t.Helper()
	r := bytes.NewReader(archive)
	h, err := tar.NewReader(r).Next()
	require.NoError(t, err)
	h.Size = max(h.Size+more, 0)
	var header bytes.Buffer
	require.NoError(t, tar.NewWriter(&header).WriteHeader(h))
	return append(header.Bytes(), archive[512:]...)
}

// When other images are saved, layers that they share are at other places.
func TestResumeOtherPlan(t *testing.T) {
	for name, kind := range resumedKinds {
		t.Run(name, func(t *testing.T) { testOtherPlan(t, newResumed(t, kind)) })
	}
}

func testOtherPlan(t *testing.T, r *resumed) {
	first := r.Push(t, "first:latest", imagetest.NewImage(t, "first", imagetest.Gzip(9, 50_000), imagetest.Gzip(1, 300_000), imagetest.Gzip(2, 200_000)))
	whole := r.sent.Load()
	r.jobs = 1 // One blob is stored before the next is asked for.
	require.ErrorIs(t, r.resume(t, whole+r.size*9/10, first, r.image), context.Canceled)
	before := r.sent.Load()
	r.complete(t)
	assert.Less(t, r.sent.Load()-before, r.size/2, "layers are found although they are at other places now")
}

// Two processes do not write to one file, and an error of the archive leaves it there.
func TestResumeLocked(t *testing.T) {
	r := newResumed(t, dockerarchive.ImageTransport)
	var once sync.Once
	var second error
	r.whole = func(http.ResponseWriter, *http.Request, []byte) bool {
		once.Do(func() { second = r.other(t) })
		return false
	}
	r.complete(t)
	require.ErrorIs(t, second, errdef.ErrBusy)
}

func (r *resumed) other(t *testing.T) error {
	_, err := copying.Save(t.Context(), imagetest.Trusting(t), r.path, []copying.SaveImage{{Source: r.image}},
		&copying.SaveOptions{Reading: copying.Reading{SourceCtx: imagetest.RegistryContext(t)}, Resume: true})
	return err
}

// An archive that could not be resumed is refused, and nothing is left of it.
func TestResumeRefused(t *testing.T) {
	dir := t.TempDir()
	images := []copying.SaveImage{{Source: imagetest.Small(t)}}
	save := func(name string, options copying.SaveOptions) error {
		options.Resume = true
		_, err := copying.Save(t.Context(), imagetest.Trusting(t), filepath.Join(dir, name), images, &options)
		return err
	}
	require.ErrorContains(t, save("a.tar.zst", copying.SaveOptions{}), "compressed with zstd cannot be resumed")
	_, err := copying.SaveTo(t.Context(), imagetest.Trusting(t), &bytes.Buffer{}, images, &copying.SaveOptions{Resume: true})
	require.ErrorContains(t, err, "stream cannot be resumed")
	assert.Empty(t, imagetest.Leftovers(t, dir))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "a.tar"), []byte("theirs"), 0o600))
	require.ErrorIs(t, save("a.tar", copying.SaveOptions{}), errdef.ErrNotEmpty)
	assert.Equal(t, []string{"a.tar"}, imagetest.Leftovers(t, dir))
}
