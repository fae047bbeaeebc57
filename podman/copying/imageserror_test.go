package copying_test

import (
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/docker"
	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/transports"
	"go.podman.io/image/v5/types"

	"github.com/dockerarchive/dockerarchive/errdef"
	"github.com/dockerarchive/dockerarchive/podman/copying"
	"github.com/dockerarchive/dockerarchive/podman/internal/imagetest"
)

func inRegistry(t *testing.T, names ...string) []copying.SaveImage {
	t.Helper()
	var images []copying.SaveImage
	for _, name := range names {
		named, err := reference.ParseNormalizedNamed(name)
		require.NoError(t, err)
		ref, err := docker.NewReference(named)
		require.NoError(t, err)
		images = append(images, copying.SaveImage{Source: ref, Name: named})
	}
	return images
}

// The error lists all images that are not there, in their order.
func TestAllMissingImagesAreTold(t *testing.T) {
	reg := imagetest.NewRegistry(t)
	reg.Push(t, "app:1", imagetest.NewImage(t, "1", imagetest.Gzip(1, 100)))
	images := inRegistry(t, reg.Address+"/app:2", reg.Address+"/app:1", reg.Address+"/app:3")
	path := filepath.Join(t.TempDir(), "x.tar")
	options := &copying.SaveOptions{Reading: copying.Reading{SourceCtx: &types.SystemContext{DockerInsecureSkipTLSVerify: types.OptionalBoolTrue}}}
	results, err := copying.Save(t.Context(), imagetest.Trusting(t), path, images, options)
	var several *errdef.ImagesError
	require.ErrorAs(t, err, &several)
	require.Len(t, several.Images, 2)
	assert.Equal(t, transports.ImageName(images[0].Source), several.Images[0].Image)
	assert.Equal(t, transports.ImageName(images[2].Source), several.Images[1].Image)
	assert.Contains(t, err.Error(), "2 of 3 images cannot be saved; saving docker://"+reg.Address+"/app:2: ")
	require.Error(t, results[0].Err)
	require.NoError(t, results[1].Err)
	assert.NoFileExists(t, path)

	for len(images) < 20 {
		images = append(images, images[0])
	}
	_, err = copying.PlanSave(t.Context(), imagetest.Trusting(t), images, options)
	require.ErrorAs(t, err, &several)
	assert.Equal(t, 10, strings.Count(err.Error(), "saving docker://"))
	assert.Contains(t, err.Error(), "; and 9 more")
}

// If a registry does not answer, Save does not ask it for every image.
func TestSilentRegistryEndsAll(t *testing.T) {
	var asked atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.Path, "manifests") {
			asked.Add(1)
			w.WriteHeader(http.StatusBadGateway)
		}
	}))
	defer server.Close()
	address := strings.TrimPrefix(server.URL, "http://")
	var names []string
	for range 50 {
		names = append(names, address+"/app:1")
	}
	_, err := copying.Save(t.Context(), imagetest.Trusting(t), filepath.Join(t.TempDir(), "x.tar"), inRegistry(t, names...), &copying.SaveOptions{
		Reading: copying.Reading{SourceCtx: &types.SystemContext{DockerInsecureSkipTLSVerify: types.OptionalBoolTrue}, Jobs: 1},
	})
	var one *errdef.ImageError
	require.ErrorAs(t, err, &one)
	assert.EqualValues(t, 1, asked.Load())
}
