package copying_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/copy"
	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/types"

	"github.com/dockerarchive/dockerarchive/internal/stall"
	dockerarchive "github.com/dockerarchive/dockerarchive/podman"
	"github.com/dockerarchive/dockerarchive/podman/copying"
	"github.com/dockerarchive/dockerarchive/podman/internal/imagetest"
	"github.com/dockerarchive/dockerarchive/progress"
)

// impatient limits how long registries are waited for.
func impatient(t *testing.T, silence, patience time.Duration) {
	silenceBefore, patienceBefore := stall.Silence, stall.Patience
	t.Cleanup(func() { stall.Silence, stall.Patience = silenceBefore, patienceBefore })
	stall.Silence, stall.Patience = silence, patience
}

// silent has a registry not answer the first request of a method and a path, after it
// has read so much of it. It returns how often that was asked.
func silent(t *testing.T, reg *imagetest.Registry, method, path string) *atomic.Int64 {
	return stopping(t, reg, method, path, "")
}

// stopping is as silent, for a registry that says something, and no more.
func stopping(t *testing.T, reg *imagetest.Registry, method, path, says string) *atomic.Int64 {
	var asked atomic.Int64
	reg.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != method || !strings.Contains(r.URL.Path, path) || asked.Add(1) > 1 {
			return false
		}
		stop(t, w, r, says)
		return true
	})
	return &asked
}

// stop reads a byte of a request, says something, and no more until the client goes. If it says nothing, it does not
// read either.
func stop(t *testing.T, w http.ResponseWriter, r *http.Request, says string) {
	_, _ = io.CopyN(io.Discard, r.Body, 1)
	if says == "" {
		select {
		case <-r.Context().Done():
		case <-t.Context().Done():
		}
		return
	}
	conn, _, err := http.NewResponseController(w).Hijack()
	if !assert.NoError(t, err) {
		return
	}
	defer conn.Close()
	defer context.AfterFunc(t.Context(), func() { conn.Close() })()
	_, _ = io.WriteString(conn, says)
	_, _ = io.Copy(io.Discard, conn)
}

// inGzip returns data in gzip, not compressed.
func inGzip(data []byte) []byte {
	var b bytes.Buffer
	w, _ := gzip.NewWriterLevel(&b, gzip.NoCompression)
	_, _ = w.Write(data)
	_ = w.Close() // A buffer takes all.
	return b.Bytes()
}

// A registry that does not answer a request, of any kind and in any operation, or begins to
// and stops, is asked again, and Progress gets that.
func TestSilentRegistry(t *testing.T) {
	impatient(t, time.Second, time.Second)
	there := imagetest.NewImage(t, "there", imagetest.Gzip(3, 300_000))
	img := imagetest.NewImage(t, "it", imagetest.Gzip(1, 300_000))
	large := imagetest.NewImage(t, "large", imagetest.Plain(2, 6<<20).In(inGzip, imgspecv1.MediaTypeImageLayerGzip)) // More than sockets hold.
	ask := func(reg *imagetest.Registry, tell func(progress.Event)) error {
		_, err := copying.Save(t.Context(), imagetest.Trusting(t), filepath.Join(t.TempDir(), "x.tar"), inRegistry(t, reg.Address+"/app:1"), &copying.SaveOptions{
			Reading: copying.Reading{SourceCtx: imagetest.RegistryContext(t), RetryTimes: 100, RetryDelay: 1, Progress: tell},
		})
		return err
	}
	push := func(reg *imagetest.Registry, img *imagetest.Image, tell func(progress.Event)) error {
		options := pushing(t)
		options.RetryTimes, options.Progress = 100, tell
		_, err := copying.Push(t.Context(), imagetest.Trusting(t), []copying.PushImage{
			{SaveImage: copying.SaveImage{Source: img}, Targets: []reference.Named{imagetest.Tagged(t, reg.Address+"/new:1")}},
		}, options)
		return err
	}
	copyTo := func(dest, src types.ImageReference, tell func(progress.Event)) error {
		return copying.Retry(t.Context(), 100, 1, nil, func() error {
			options := &copy.Options{SourceCtx: imagetest.RegistryContext(t), DestinationCtx: imagetest.RegistryContext(t)}
			_, err := copying.Copy(t.Context(), imagetest.Trusting(t), dest, src, &copying.CopyOptions{Options: *options, Progress: tell})
			return err
		})
	}
	archive := func(reg *imagetest.Registry, tell func(progress.Event)) error {
		dest, err := dockerarchive.ImageTransport.ParseReference(filepath.Join(t.TempDir(), "x.tar") + ":app:1")
		require.NoError(t, err)
		return copyTo(dest, reg.Ref(t, "app:1"), tell)
	}
	of := func(img *imagetest.Image, f func(*imagetest.Registry, *imagetest.Image, func(progress.Event)) error) func(*imagetest.Registry, func(progress.Event)) error {
		return func(reg *imagetest.Registry, tell func(progress.Event)) error { return f(reg, img, tell) }
	}
	copyIn := func(reg *imagetest.Registry, img *imagetest.Image, tell func(progress.Event)) error {
		return copyTo(reg.Ref(t, "new:1"), img, tell)
	}
	const oneByte, noText = "H", "HTTP/1.1 404 Not Found\r\nContent-Length: 100\r\n\r\n"
	begins := map[string]string{ // How the answer begins, in rows where it does.
		"save, one byte of a blob":      oneByte,
		"save, half a header of a blob": "HTTP/1.1 200 OK\r\nContent-Le",
		"save, no text of a 404":        noText,
		"save, one byte of a manifest":  oneByte,
		"copy, one byte of a blob":      oneByte,
		"copy, no text of a 404":        noText,
		"copy to, one byte":             oneByte,
		"push, one byte":                oneByte,
		"push, one byte of a commit":    oneByte,
		"push, no text of a 404":        noText,
	}
	for name, c := range map[string]struct {
		method, path string
		do           func(*imagetest.Registry, func(progress.Event)) error
	}{
		"save, one byte of a blob":      {http.MethodGet, "/blobs/", ask},
		"save, half a header of a blob": {http.MethodGet, "/blobs/", ask},
		"save, no text of a 404":        {http.MethodGet, "/blobs/", ask},
		"save, one byte of a manifest":  {http.MethodGet, "/manifests/1", ask},
		"copy, one byte of a blob":      {http.MethodGet, "/blobs/", archive},
		"copy, no text of a 404":        {http.MethodGet, "/blobs/", archive},
		"copy to, one byte":             {http.MethodPut, "/uploads/", of(img, copyIn)},
		"push, one byte":                {http.MethodPost, "/uploads/", of(img, push)},
		"push, one byte of a commit":    {http.MethodPut, "/uploads/", of(img, push)},
		"push, no text of a 404":        {http.MethodPost, "/uploads/", of(img, push)},
		"save, hello":                   {http.MethodGet, "/v2/", ask},
		"save, manifest":                {http.MethodGet, "/manifests/1", ask},
		"save, blob":                    {http.MethodGet, "/blobs/", ask},
		"copy, manifest":                {http.MethodGet, "/manifests/1", archive},
		"copy, blob":                    {http.MethodGet, "/blobs/", archive},
		"copy to, upload":               {http.MethodPatch, "/uploads/", of(large, copyIn)},
		"copy to, commit":               {http.MethodPut, "/uploads/", of(img, copyIn)},
		"push, hello":                   {http.MethodGet, "/v2/", of(img, push)},
		"push, blob there":              {http.MethodHead, "/blobs/", of(img, push)},
		"push, start":                   {http.MethodPost, "/uploads/", of(img, push)},
		"push, upload":                  {http.MethodPut, "/uploads/", of(large, push)},
		"push, commit":                  {http.MethodPut, "/uploads/", of(img, push)},
		"push, manifest":                {http.MethodPut, "/manifests/", of(img, push)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // Each waits most of its time.
			reg := imagetest.NewRegistry(t)
			reg.Push(t, "app:1", there)
			told := make(chan string, 1000)
			asked := stopping(t, reg, c.method, c.path, begins[name])
			require.NoError(t, c.do(reg, func(e progress.Event) {
				if e.Kind == progress.Waiting {
					told <- e.Host
				}
			}))
			assert.Greater(t, asked.Load(), int64(1))
			assert.Equal(t, reg.Address, <-told)
		})
	}
}

// A server of tokens that stops in the middle of one is asked again.
func TestSilentTokens(t *testing.T) {
	impatient(t, time.Second, time.Second)
	reg := imagetest.NewRegistry(t)
	src := reg.Push(t, "app:1", imagetest.NewImage(t, "x", imagetest.Gzip(1, 200_000)))
	var tokens atomic.Int64
	reg.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
		const token = `{"token":"it"}`
		switch {
		case r.URL.Path == "/token" && tokens.Add(1) == 1:
			stop(t, w, r, fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(token), token[:5]))
		case r.URL.Path == "/token":
			_, _ = io.WriteString(w, token)
		case r.Header.Get("Authorization") != "Bearer it":
			w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="http://%s/token",service="x"`, reg.Address))
			w.WriteHeader(http.StatusUnauthorized)
		default:
			return false
		}
		return true
	})
	_, err := copying.Save(t.Context(), imagetest.Trusting(t), filepath.Join(t.TempDir(), "x.tar"), []copying.SaveImage{{Source: src}}, &copying.SaveOptions{
		Reading: copying.Reading{SourceCtx: imagetest.RegistryContext(t), RetryTimes: 100, RetryDelay: 1},
	})
	require.NoError(t, err)
	assert.Equal(t, int64(2), tokens.Load())
}

// A registry without ranges answers a request for the rest of a blob with all of it. It may take longer for the first part
// than silence may last, and is asked again if it stops there.
func TestSilentInWholeBlob(t *testing.T) {
	for name, stops := range map[string]bool{"slow": false, "silent": true} {
		t.Run(name, func(t *testing.T) {
			impatient(t, time.Second/2, time.Second/2)
			reg := newRangedRegistry(t)
			want, err := reg.save(t, dockerarchive.ImageTransport, 0, 0)
			require.NoError(t, err)
			var broken, stopped atomic.Int64
			again := func(w http.ResponseWriter, r *http.Request, blob []byte) bool {
				if !strings.HasSuffix(r.URL.Path, reg.layer.String()) {
					return false
				}
				header := fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: %d\r\n\r\n", len(blob))
				switch {
				case broken.Add(1) == 1: // Near the end.
					w.Header().Set("Content-Length", fmt.Sprint(len(blob)))
					_, _ = w.Write(blob[:len(blob)-100])
					panic(http.ErrAbortHandler)
				case stops && stopped.Add(1) <= 2:
					stop(t, w, r, header+string(blob[:100]))
				default:
					w.Header().Set("Content-Length", fmt.Sprint(len(blob)))
					for part := range slices.Chunk(blob, len(blob)/5) { // For longer than an answer may.
						if !stops {
							time.Sleep(time.Second / 4)
						}
						_, _ = w.Write(part)
						_ = http.NewResponseController(w).Flush()
					}
				}
				return true
			}
			reg.answer, reg.whole = again, again
			got, err := reg.save(t, dockerarchive.ImageTransport, 0, 8)
			require.NoError(t, err)
			assert.True(t, bytes.Equal(want, got))
			if stops {
				assert.Greater(t, stopped.Load(), int64(2))
			}
		})
	}
}
