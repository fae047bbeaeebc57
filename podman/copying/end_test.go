package copying_test

import (
	"bytes"
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

	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/copy"
	"go.podman.io/image/v5/manifest"
	"go.podman.io/image/v5/oci/layout"
	"go.podman.io/image/v5/pkg/blobinfocache/none"
	"go.podman.io/image/v5/types"

	dockerarchive "github.com/dockerarchive/dockerarchive/podman"
	"github.com/dockerarchive/dockerarchive/podman/copying"
	"github.com/dockerarchive/dockerarchive/podman/internal/imagetest"
	"github.com/dockerarchive/dockerarchive/podman/internal/sources"
)

// largeImage has layers that a registry is asked about.
func largeImage(t *testing.T) *imagetest.Image {
	return imagetest.NewImage(t, "large", imagetest.Gzip(1, 2<<20), imagetest.Gzip(2, 2<<20), imagetest.Gzip(3, 100))
}

// The end of a layer is read from a file, and by a request for a range from a
// registry; small layers are not worth one.
func TestReadEnd(t *testing.T) {
	img := largeImage(t)
	dir, err := layout.NewReference(t.TempDir(), "a")
	require.NoError(t, err)
	_, err = copying.Copy(t.Context(), imagetest.Trusting(t), dir, img, nil)
	require.NoError(t, err)
	reg := newRangedRegistry(t)
	for name, c := range map[string]struct {
		ref     types.ImageReference
		serial  bool
		refused []v1.Descriptor
	}{
		"oci":      {ref: dir, serial: true},
		"registry": {ref: reg.Push(t, "large:1", img), refused: img.Manifest.Layers[2:]},
		"other":    {ref: img, refused: img.Manifest.Layers},
	} {
		src, err := c.ref.NewImageSource(t.Context(), imagetest.RegistryContext(t))
		require.NoError(t, err)
		defer src.Close()
		blobs := sources.New(src)
		if c.serial {
			_, err := blobs.ReadEnd(t.Context(), img.Manifest.Layers[0], 4)
			require.Error(t, err, "only one blob at a time")
			blobs = sources.New(sources.Concurrently(src))
		}
		for _, l := range img.Manifest.Layers[:len(img.Manifest.Layers)-len(c.refused)] {
			end, err := blobs.ReadEnd(t.Context(), l, 4)
			require.NoError(t, err, name)
			blob := readBlob(t, src, l)
			assert.Equal(t, blob[len(blob)-4:], end, name)
		}
		for _, l := range c.refused {
			_, err := blobs.ReadEnd(t.Context(), l, 4)
			require.Error(t, err, name)
		}
	}
}

// A registry is asked how large layers end, by each way of copying. Its answer makes no
// difference to the archive.
func TestRegistryIsAskedForEnds(t *testing.T) {
	img := largeImage(t)
	want := saveDocker(t, img)
	for name, answer := range map[string]func(w http.ResponseWriter) bool{
		"truth":   func(http.ResponseWriter) bool { return false },
		"refusal": func(w http.ResponseWriter) bool { w.WriteHeader(http.StatusBadRequest); return true },
		"lie": func(w http.ResponseWriter) bool {
			w.Header().Set("Content-Type", "application/octet-stream")
			w.WriteHeader(http.StatusPartialContent)
			_, _ = w.Write([]byte{0, 0, 0x60, 0x01})
			return true
		},
	} {
		t.Run(name, func(t *testing.T) {
			reg := newRangedRegistry(t)
			ref := reg.Push(t, "large:1", img)
			var asked atomic.Int64
			ends := newGates()
			reg.answer = func(w http.ResponseWriter, r *http.Request, blob []byte) bool {
				if r.Header.Get("Range") == fmt.Sprintf("bytes=%d-%d", len(blob)-4, len(blob)-1) {
					asked.Add(1)
					ends.open(path.Base(r.URL.Path))
					return answer(w)
				}
				return false
			}
			inner := reg.intercept
			reg.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
				blob, part := reg.blobOf(r), r.Header.Get("Range")
				gated := &gatedResponse{ResponseWriter: w, gate: ends.gate(path.Base(r.URL.Path)), gone: r.Context().Done()}
				switch {
				case len(blob) < 1<<20 || strings.HasPrefix(part, "bytes=0-") || part == fmt.Sprintf("bytes=%d-%d", len(blob)-4, len(blob)-1):
				case part == "":
					gated.free = 256 << 10 // The start says how it is compressed.
					w = gated
				default:
					w = gated
				}
				return inner(w, r)
			})
			assert.True(t, bytes.Equal(want, saveDocker(t, ref)))
			assert.EqualValues(t, 2, asked.Swap(0))

			ends.close()
			file := filepath.Join(t.TempDir(), "copy.tar")
			dst, err := dockerarchive.NewReference(file, nil)
			require.NoError(t, err)
			_, err = copying.Copy(t.Context(), imagetest.Trusting(t), dst, ref, &copying.CopyOptions{Options: copy.Options{SourceCtx: imagetest.RegistryContext(t)}})
			require.NoError(t, err)
			copied, err := os.ReadFile(file)
			require.NoError(t, err)
			assert.True(t, bytes.Equal(want, copied))
			assert.EqualValues(t, 2, asked.Load())
		})
	}
}

// gates hold blobs back, by digest, until the client has asked how they end: a client that
// has all of a blob does not ask any more.
type gates struct {
	mu sync.Mutex
	of map[string]chan struct{}
}

func newGates() *gates { return &gates{of: map[string]chan struct{}{}} }

func (g *gates) gate(blob string) chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.of[blob] == nil {
		g.of[blob] = make(chan struct{})
	}
	return g.of[blob]
}

func (g *gates) open(blob string) { close(g.gate(blob)) }

// close closes all again.
func (g *gates) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	clear(g.of)
}

// gatedResponse sends the start of a blob, and the rest once the gate is open.
type gatedResponse struct {
	http.ResponseWriter
	gate chan struct{}
	gone <-chan struct{}
	free int // bytes that need no gate
	sent int
}

func (w *gatedResponse) Write(p []byte) (int, error) {
	if w.sent >= w.free {
		_ = http.NewResponseController(w.ResponseWriter).Flush() // A client without it would wait in vain.
		select {
		case <-w.gate:
		case <-w.gone:
		}
	}
	n, err := w.ResponseWriter.Write(p)
	w.sent += n
	return n, err
}

// saveDocker returns the archive of an image in the docker layout.
func saveDocker(t *testing.T, ref types.ImageReference) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "a.tar")
	options := &copying.SaveOptions{Reading: copying.Reading{SourceCtx: imagetest.RegistryContext(t)}, Transport: dockerarchive.Transport, DestinationCtx: imagetest.Isolated()}
	_, err := copying.Save(t.Context(), imagetest.Trusting(t), path, []copying.SaveImage{{Source: ref}}, options)
	require.NoError(t, err)
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	return data
}

func readBlob(t *testing.T, src types.ImageSource, l v1.Descriptor) []byte {
	t.Helper()
	body, _, err := src.GetBlob(t.Context(), manifest.BlobInfoFromOCI1Descriptor(l), none.NoCache)
	require.NoError(t, err)
	defer body.Close()
	data, err := io.ReadAll(body)
	require.NoError(t, err)
	return data
}
