package sources_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/internal/fetching"
	"github.com/dockerarchive/dockerarchive/podman/internal/imagetest"
	"github.com/dockerarchive/dockerarchive/podman/internal/sources"
)

// A layer of a registry whose connection breaks is read on where it broke. One that is longer than its manifest says is
// not written to the disk until that is full.
func TestLayersOfARegistry(t *testing.T) {
	layer := imagetest.Gzip(1, 1<<20)
	reg := imagetest.NewRegistry(t)
	src := reg.Push(t, "app:1", imagetest.NewImage(t, "x", layer))
	var longer atomic.Bool
	var asked atomic.Int64
	reg.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodGet || !strings.HasSuffix(r.URL.Path, layer.Digest.String()) {
			return false
		}
		switch {
		case longer.Load():
			for _, err := w.Write(layer.Blob); err == nil; { // Without an end.
				_, err = w.Write(layer.Blob)
			}
		case asked.Add(1) == 1:
			w.Header().Set("Content-Length", fmt.Sprint(len(layer.Blob)))
			_, _ = w.Write(layer.Blob[:len(layer.Blob)-1000])
			panic(http.ErrAbortHandler)
		default:
			_, _ = w.Write(layer.Blob)
		}
		return true
	})
	sys := imagetest.RegistryContext(t)
	sys.BigFilesTemporaryDir = t.TempDir()
	layers, release, err := sources.Layers(t.Context(), sys, "base", src)
	require.NoError(t, err)
	defer func() { require.NoError(t, release()) }()
	require.Len(t, layers, 1)
	at, size, done, err := layers[0].Open(t.Context())
	require.NoError(t, err)
	data, err := io.ReadAll(io.NewSectionReader(at, 0, size))
	require.NoError(t, err)
	assert.Equal(t, layer.Blob, data)
	done()
	longer.Store(true)
	_, _, _, err = layers[0].Open(t.Context())
	require.ErrorIs(t, err, fetching.ErrMismatch)
}
