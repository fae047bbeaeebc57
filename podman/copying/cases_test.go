package copying_test

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	dockerarchive "github.com/dockerarchive/dockerarchive/podman"
	"github.com/dockerarchive/dockerarchive/podman/copying"
	"github.com/dockerarchive/dockerarchive/podman/internal/imagetest"
)

// chart returns an artifact.
func chart(t testing.TB) *imagetest.Image {
	t.Helper()
	m := imagetest.NewImageOfConfig(t, map[string]string{"name": "chart"}, imagetest.Gzip(1, 2000))
	m.Manifest.Config.MediaType = "application/vnd.cncf.helm.config.v1+json"
	m.Encode(t)
	return m
}

// An artifact that is no image is saved with a warning, or refused before its layers
// are read.
func TestArtifacts(t *testing.T) {
	m := chart(t)
	data, results := save(t, saving(t), copying.SaveImage{Source: m})
	require.Len(t, results[0].Warnings, 1)
	assert.Contains(t, results[0].Warnings[0], "manifest.json")
	files, _ := imagetest.Files(t, data)
	assert.NotContains(t, files, "manifest.json")

	m.Forget()
	o := saving(t)
	o.Transport = dockerarchive.Transport
	_, err := copying.Save(t.Context(), imagetest.Trusting(t), filepath.Join(t.TempDir(), "x"), []copying.SaveImage{{Source: m}}, o)
	require.ErrorContains(t, err, "artifact")
	assert.Zero(t, m.Gets[m.Layers[0].Digest])

	image := imagetest.NewImage(t, "image", imagetest.Gzip(1, 2000))
	image.Manifest.Config.MediaType = "text/html"
	image.Encode(t)
	for _, transport := range []string{"docker", "oci"} {
		o := saving(t)
		if transport == "docker" {
			o.Transport = dockerarchive.Transport
		}
		data, results := save(t, o, copying.SaveImage{Source: image})
		assert.Empty(t, results[0].Warnings)
		assert.Len(t, imagetest.Items(t, data), 1)
	}
}
