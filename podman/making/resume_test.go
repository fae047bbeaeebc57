package making_test

import (
	"io"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/compose"
	"github.com/dockerarchive/dockerarchive/podman/internal/imagetest"
	"github.com/dockerarchive/dockerarchive/podman/making"
)

// Reading a base goes on although its registry is overloaded, and breaks off.
func TestBaseIsResumed(t *testing.T) {
	reg := imagetest.NewRegistry(t)
	image := imagetest.NewImage(t, "base", imagetest.Gzip(1, 300_000))
	ref := reg.Push(t, "base:1", image)
	base, err := making.OpenBase(t.Context(), imagetest.RegistryContext(t), imagetest.Trusting(t), ref)
	require.NoError(t, err)
	defer func() { require.NoError(t, base.Close()) }()
	base.SetDelay(time.Nanosecond)

	layer := image.Layers[0]
	var requests atomic.Int32
	reg.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.HasSuffix(r.URL.Path, layer.Digest.String()) {
			return false
		}
		switch requests.Add(1) % 4 {
		case 1, 3: // The third is containers/image's, which reads on once by itself.
			w.WriteHeader(http.StatusServiceUnavailable)
		case 2:
			w.Header().Set("Content-Length", strconv.Itoa(len(layer.Blob)))
			w.Write(layer.Blob[:1000])
			panic(http.ErrAbortHandler)
		default:
			return false
		}
		return true
	})
	for _, squash := range []bool{false, true} {
		img := &compose.Image{Base: base, Layers: []compose.Layer{{Content: compose.Files(day, compose.File{Path: "new"})}}, Squash: squash}
		base.RetryTimes = 1
		path := filepath.Join(t.TempDir(), "made.tar")
		_, err = making.WriteArchive(t.Context(), path, img, nil)
		require.Error(t, err)
		requests.Store(0)
		base.RetryTimes = 2
		_, err = making.WriteArchive(t.Context(), path, img, nil)
		require.NoError(t, err)
		assert.EqualValues(t, 4, requests.Load())
		requests.Store(0)
	}
	body, err := base.Blob(t.Context(), image.Manifest.Layers[0])
	require.NoError(t, err)
	got, err := io.ReadAll(body)
	require.NoError(t, err)
	assert.Equal(t, layer.Blob, got)
	require.NoError(t, body.Close())
}
