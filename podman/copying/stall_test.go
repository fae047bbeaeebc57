package copying_test

import (
	"bytes"
	"compress/gzip"
	"io"
	"net/http"
	"path/filepath"
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
	var asked atomic.Int64
	done := make(chan struct{})
	t.Cleanup(func() { close(done) })
	reg.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != method || !strings.Contains(r.URL.Path, path) || asked.Add(1) > 1 {
			return false
		}
		_, _ = io.CopyN(io.Discard, r.Body, 1)
		select {
		case <-r.Context().Done():
		case <-done:
		}
		return true
	})
	return &asked
}

// inGzip returns data in gzip, not compressed.
func inGzip(data []byte) []byte {
	var b bytes.Buffer
	w, _ := gzip.NewWriterLevel(&b, gzip.NoCompression)
	_, _ = w.Write(data)
	_ = w.Close() // A buffer takes all.
	return b.Bytes()
}

// A registry that does not answer a request, of any kind and in any operation, is asked
// again, and Progress gets that.
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
	for name, c := range map[string]struct {
		method, path string
		do           func(*imagetest.Registry, func(progress.Event)) error
	}{
		"save, hello":      {http.MethodGet, "/v2/", ask},
		"save, manifest":   {http.MethodGet, "/manifests/1", ask},
		"save, blob":       {http.MethodGet, "/blobs/", ask},
		"copy, manifest":   {http.MethodGet, "/manifests/1", archive},
		"copy, blob":       {http.MethodGet, "/blobs/", archive},
		"copy to, upload":  {http.MethodPatch, "/uploads/", of(large, copyIn)},
		"copy to, commit":  {http.MethodPut, "/uploads/", of(img, copyIn)},
		"push, hello":      {http.MethodGet, "/v2/", of(img, push)},
		"push, blob there": {http.MethodHead, "/blobs/", of(img, push)},
		"push, start":      {http.MethodPost, "/uploads/", of(img, push)},
		"push, upload":     {http.MethodPatch, "/uploads/", of(large, push)},
		"push, commit":     {http.MethodPut, "/uploads/", of(img, push)},
		"push, manifest":   {http.MethodPut, "/manifests/", of(img, push)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // Each waits most of its time.
			reg := imagetest.NewRegistry(t)
			reg.Push(t, "app:1", there)
			told := make(chan string, 1000)
			asked := silent(t, reg, c.method, c.path)
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
