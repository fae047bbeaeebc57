package copying_test

import (
	"bytes"
	"io"
	"net/http"
	"os"
	"path/filepath"
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

// largeImage has layers whose ends it would pay to know.
func largeImage(t *testing.T) *imagetest.Image {
	return imagetest.NewImage(t, "large", imagetest.Gzip(1, 2<<20), imagetest.Gzip(2, 2<<20), imagetest.Gzip(3, 100))
}

// The end of a layer is read from a file. A registry is not asked for it.
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
		"registry": {ref: reg.Push(t, "large:1", img), refused: img.Manifest.Layers},
		"other":    {ref: img, refused: img.Manifest.Layers},
	} {
		src, err := c.ref.NewImageSource(t.Context(), imagetest.RegistryContext(t))
		require.NoError(t, err)
		defer src.Close()
		blobs := sources.New(src, nil)
		if c.serial {
			_, err := blobs.ReadEnd(t.Context(), img.Manifest.Layers[0], 4)
			require.Error(t, err, "only one blob at a time")
			blobs = sources.New(sources.Concurrently(src), nil)
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

// Neither way of copying to the docker layout asks a registry for anything but whole layers:
// some registries read all of a layer for a part of it.
func TestRegistryIsAskedForWholeLayers(t *testing.T) {
	img := largeImage(t)
	want := saveDocker(t, img)
	reg := newRangedRegistry(t)
	ref := reg.Push(t, "large:1", img)
	inner := reg.intercept
	reg.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
		if part := r.Header.Get("Range"); part != "" {
			t.Errorf("%s %s asks for %s", r.Method, r.URL.Path, part)
		}
		return inner(w, r)
	})
	assert.True(t, bytes.Equal(want, saveDocker(t, ref)))

	file := filepath.Join(t.TempDir(), "copy.tar")
	dst, err := dockerarchive.NewReference(file, nil)
	require.NoError(t, err)
	_, err = copying.Copy(t.Context(), imagetest.Trusting(t), dst, ref, &copying.CopyOptions{Options: copy.Options{SourceCtx: imagetest.RegistryContext(t)}})
	require.NoError(t, err)
	copied, err := os.ReadFile(file)
	require.NoError(t, err)
	assert.True(t, bytes.Equal(want, copied))
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
