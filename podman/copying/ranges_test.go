package copying_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/copy"
	"go.podman.io/image/v5/types"

	dockerarchive "github.com/dockerarchive/dockerarchive/podman"
	"github.com/dockerarchive/dockerarchive/podman/copying"
	"github.com/dockerarchive/dockerarchive/podman/internal/imagetest"
)

// rangedRegistry has an image with large layers, and answers for the test registry,
// which knows of no ranges.
type rangedRegistry struct {
	*imagetest.Registry
	image types.ImageReference
	layer digest.Digest // the largest one
	blobs sync.Map      // digest → []byte
	// answer, if not nil, may answer a request for a range instead.
	answer func(w http.ResponseWriter, r *http.Request, blob []byte) bool
	// whole likewise, of a whole blob.
	whole func(w http.ResponseWriter, r *http.Request, blob []byte) bool
	// slow has it send whole blobs so slowly that ranges help.
	slow bool

	ranges atomic.Int64 // that were asked for
	sent   atomic.Int64 // bytes of blobs
}

func newRangedRegistry(t *testing.T) *rangedRegistry {
	t.Helper()
	reg := &rangedRegistry{Registry: imagetest.NewRegistry(t)}
	img := imagetest.NewImage(t, "a", imagetest.Gzip(1, 5000), imagetest.Gzip(2, 3000), imagetest.Gzip(3, 7))
	reg.image, reg.layer = reg.Push(t, "a:latest", img), img.Manifest.Layers[0].Digest
	reg.Intercept(reg.intercept)
	return reg
}

func (reg *rangedRegistry) intercept(w http.ResponseWriter, r *http.Request) bool {
	if r.Method != http.MethodGet || !strings.Contains(r.URL.Path, "/blobs/") || r.Header.Get("Test-Direct") != "" {
		return false
	}
	blob := reg.blob(r)
	if r.Header.Get("Range") != "" {
		reg.ranges.Add(1)
		if reg.answer != nil && reg.answer(w, r, blob) {
			return true
		}
	}
	if r.Header.Get("Range") == "" && reg.whole != nil && reg.whole(w, r, blob) {
		return true
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	if reg.slow && r.Header.Get("Range") == "" {
		reg.trickle(w, blob)
		return true
	}
	http.ServeContent(&countingResponse{w, &reg.sent}, r, "", time.Time{}, bytes.NewReader(blob))
	return true
}

// untilRanged reads until ranges have been asked for: a machine that is busy with other things
// may not see that a line is slow. It returns how often it did, for the last request of one may be
// seen by the registry during the next one.
func (reg *rangedRegistry) untilRanged(t *testing.T, read func()) (reads int64) {
	t.Helper()
	for reads < 50 {
		reads++
		if read(); reg.ranges.Load() > 0 {
			return reads
		}
	}
	t.Error("no ranges")
	return reads
}

// trickle sends ten bytes a millisecond, until the client stops.
func (reg *rangedRegistry) trickle(w http.ResponseWriter, blob []byte) {
	w.Header().Set("Content-Length", fmt.Sprint(len(blob)))
	for len(blob) > 0 {
		n, err := (&countingResponse{w, &reg.sent}).Write(blob[:min(len(blob), 10)])
		if err != nil || http.NewResponseController(w).Flush() != nil {
			return
		}
		blob = blob[n:]
		time.Sleep(time.Millisecond)
	}
}

// blobOf returns the blob that a client asks for, nil if it asks for something else.
func (reg *rangedRegistry) blobOf(r *http.Request) []byte {
	if r.Method != http.MethodGet || !strings.Contains(r.URL.Path, "/blobs/") || r.Header.Get("Test-Direct") != "" {
		return nil
	}
	return reg.blob(r)
}

func (reg *rangedRegistry) blob(r *http.Request) []byte {
	if data, ok := reg.blobs.Load(path.Base(r.URL.Path)); ok {
		return data.([]byte)
	}
	request, _ := http.NewRequest(http.MethodGet, "http://"+reg.Address+r.URL.Path, nil)
	request.Header.Set("Test-Direct", "yes")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil
	}
	defer response.Body.Close()
	data, _ := io.ReadAll(response.Body)
	reg.blobs.Store(path.Base(r.URL.Path), data)
	return data
}

type countingResponse struct {
	http.ResponseWriter
	n *atomic.Int64
}

func (w *countingResponse) Write(p []byte) (int, error) {
	n, err := w.ResponseWriter.Write(p)
	w.n.Add(int64(n))
	return n, err
}

// save saves the image in ranges of a size, and returns the archive.
func (reg *rangedRegistry) save(t *testing.T, transport types.ImageTransport, rangeSize, retries int) ([]byte, error) {
	t.Helper()
	return reg.saveContext(t.Context(), t, transport, rangeSize, retries)
}

func (reg *rangedRegistry) saveContext(ctx context.Context, t *testing.T, transport types.ImageTransport, rangeSize, retries int) ([]byte, error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "a.tar")
	options := &copying.SaveOptions{
		Reading:        copying.Reading{SourceCtx: imagetest.RegistryContext(t), RetryTimes: retries},
		Transport:      transport,
		DestinationCtx: imagetest.Isolated(),
	}
	options.RetryAtOnce()
	options.InRangesOf(rangeSize)
	_, err := copying.Save(ctx, imagetest.Trusting(t), file, []copying.SaveImage{{Source: reg.image}}, options)
	if err != nil {
		return nil, err
	}
	data, readErr := os.ReadFile(file)
	require.NoError(t, readErr)
	return data, nil
}

// rangeAnswers are the ways in which registries answer a request for a range.
var rangeAnswers = map[string]func(w http.ResponseWriter, r *http.Request, blob []byte) bool{
	"given": nil,
	"ignored": func(w http.ResponseWriter, r *http.Request, blob []byte) bool {
		r.Header.Del("Range")
		return false
	},
	"refused":         status(http.StatusBadRequest),
	"forbidden":       status(http.StatusForbidden),
	"not allowed":     status(http.StatusMethodNotAllowed),
	"not satisfiable": status(http.StatusRequestedRangeNotSatisfiable),
	"not implemented": status(http.StatusNotImplemented),
	"busy":            status(http.StatusTooManyRequests),
	"unavailable":     status(http.StatusServiceUnavailable),
	"of another blob": wrongBlob,
	"of a wrong length": func(w http.ResponseWriter, r *http.Request, blob []byte) bool {
		w.Header().Set("Content-Type", "application/octet-stream")
		w.WriteHeader(http.StatusPartialContent)
		_, _ = w.Write(blob)
		return true
	},
}

func status(code int) func(w http.ResponseWriter, r *http.Request, blob []byte) bool {
	return func(w http.ResponseWriter, _ *http.Request, _ []byte) bool {
		w.Header().Set("Retry-After", "3600") // Nobody waits for help.
		w.WriteHeader(code)
		return true
	}
}

// mostRanges are how many ranges are asked for at most, for both blobs of an image, of a registry
// that has none: one, or another one if the first blob ends before the answer. One that is busy is
// asked again, on half as many lines each time.
func mostRanges(answer string) int64 {
	switch answer {
	case "given", "of another blob":
		return 1 << 30
	case "busy", "unavailable":
		return 3
	}
	return 2
}

// Law 1: an archive has the same bytes whether its blobs come in ranges or whole, for
// every way that a registry answers a request for ranges.
func TestSaveInRanges(t *testing.T) {
	for _, transport := range []types.ImageTransport{dockerarchive.Transport, dockerarchive.ImageTransport} {
		for name, answer := range rangeAnswers {
			t.Run(fmt.Sprintf("%s/%s", transport.Name(), name), func(t *testing.T) {
				t.Parallel()
				reg := newRangedRegistry(t)
				want, err := reg.save(t, transport, 1<<30, 0)
				require.NoError(t, err)
				assert.Zero(t, reg.ranges.Load())
				reg.answer, reg.slow = answer, true
				reads := reg.untilRanged(t, func() {
					got, err := reg.save(t, transport, 100, 0)
					require.NoError(t, err)
					assert.True(t, bytes.Equal(want, got))
				})
				assert.LessOrEqual(t, reg.ranges.Load(), reads*mostRanges(name))
			})
		}
	}
}

// A line that breaks goes on where it was.
func TestSaveOverALineThatBreaks(t *testing.T) {
	reg := newRangedRegistry(t)
	want, err := reg.save(t, nil, 1<<30, 0)
	require.NoError(t, err)
	distinct := reg.sent.Swap(0)
	reg.whole, reg.answer = reg.breakAfter(1000), reg.breakAfter(64)
	got, err := reg.save(t, nil, 100, 1000)
	require.NoError(t, err)
	assert.True(t, bytes.Equal(want, got))
	assert.NotZero(t, reg.ranges.Load())
	assert.LessOrEqual(t, reg.sent.Load(), distinct+tried)
}

// tried is how many bytes of two blobs containers/image asks for after a break, before our
// code goes on.
const tried = 2 * 64

// breakAfter answers with no more than so many bytes of a blob or a range.
func (reg *rangedRegistry) breakAfter(n int) func(w http.ResponseWriter, r *http.Request, blob []byte) bool {
	return func(w http.ResponseWriter, r *http.Request, blob []byte) bool {
		first, last, status := 0, len(blob)-1, http.StatusOK
		if asked := r.Header.Get("Range"); asked != "" {
			_, _ = fmt.Sscanf(asked, "bytes=%d-%d", &first, &last)
			status = http.StatusPartialContent
		}
		if last-first < n {
			return false
		}
		w.Header().Set("Content-Type", "application/octet-stream")
		w.Header().Set("Content-Length", fmt.Sprint(last+1-first))
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", first, last, len(blob)))
		w.WriteHeader(status)
		_, _ = (&countingResponse{w, &reg.sent}).Write(blob[first : first+n])
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
}

// With a context that remembers registries, later operations do not ask again for ranges that one
// refuses.
func TestRemembering(t *testing.T) {
	copying.ReadInRangesOf(t, 100)
	reg := newRangedRegistry(t)
	reg.answer, reg.slow = status(http.StatusBadRequest), true
	copies := func(ctx context.Context) {
		dest, err := dockerarchive.ImageTransport.ParseReference(filepath.Join(t.TempDir(), "a.tar"))
		require.NoError(t, err)
		options := copy.Options{SourceCtx: imagetest.RegistryContext(t), DestinationCtx: imagetest.Isolated()}
		_, err = copying.Copy(ctx, imagetest.Trusting(t), dest, reg.image, &copying.CopyOptions{Options: options})
		require.NoError(t, err)
	}
	saves := func(ctx context.Context) {
		_, err := reg.saveContext(ctx, t, nil, 100, 0)
		require.NoError(t, err)
	}
	for _, ops := range [][]func(context.Context){{copies, copies, saves}, {saves, copies}} {
		ctx := copying.Remembering(t.Context())
		quiet := false
		for tries := 0; !quiet && tries < 10; tries++ { // A refusal may come after all of the blob.
			ops[0](ctx)
			before := reg.ranges.Load()
			for _, op := range ops[1:] {
				op(ctx)
			}
			quiet = reg.ranges.Load() == before
		}
		assert.True(t, quiet, "it is asked again")
		for _, op := range ops[1:] { // By itself, each does ask.
			reg.ranges.Store(0)
			reg.untilRanged(t, func() { op(t.Context()) })
		}
	}
}
