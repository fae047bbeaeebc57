package copying_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/directory"
	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/types"

	"github.com/dockerarchive/dockerarchive/errdef"
	"github.com/dockerarchive/dockerarchive/podman/copying"
	"github.com/dockerarchive/dockerarchive/podman/internal/imagetest"
)

// Each image is copied under each of its names, or else by its ID.
func TestLoadInto(t *testing.T) {
	dir := t.TempDir()
	place := func(name reference.NamedTagged, config digest.Digest) (types.ImageReference, error) {
		base := config.Encoded()
		if name != nil {
			base = strings.ReplaceAll(name.String(), "/", "_")
		}
		return directory.NewReference(filepath.Join(dir, base))
	}
	config := func(path string) digest.Digest {
		var id digest.Digest
		entries, err := os.ReadDir(filepath.Join(dir, path))
		require.NoError(t, err)
		for _, e := range entries {
			if data := imagetest.ReadFile(t, filepath.Join(dir, path, e.Name())); strings.Contains(string(data), `"rootfs"`) {
				id = digest.FromBytes(data)
			}
		}
		return id
	}
	app := imagetest.NewImage(t, "app", imagetest.Gzip(1, 100))
	two := named(t, app, "example.com/app:1")
	two.Names = []reference.Named{imagetest.Tagged(t, "example.com/app:2")}
	artifact := named(t, imagetest.NewArtifact(t, "application/spdx+json", "sbom", nil), "example.com/sbom:1")
	images := append([]copying.SaveImage{two, {Source: app}, artifact}, inArchive(t, "../../testdata/archives/ctr24.tar:@0")...)
	options := &copying.LoadIntoOptions{
		Reading:        copying.Reading{SourceCtx: imagetest.Isolated()},
		DestinationCtx: imagetest.Isolated(),
		Platform:       &imgspecv1.Platform{OS: "linux", Architecture: "arm64"},
	}
	loaded, err := copying.LoadInto(t.Context(), imagetest.Trusting(t), images, place, options)
	require.NoError(t, err)
	require.Len(t, loaded.Images, 4)
	for _, path := range []string{"example.com_app:1", "example.com_app:2", app.ConfigDigest().Encoded()} {
		assert.Equal(t, app.ConfigDigest(), config(path))
	}
	assert.Equal(t, app.ConfigDigest(), loaded.Images[0].ID)
	assert.Equal(t, app.ConfigDigest(), loaded.Images[1].ID)
	assert.Contains(t, loaded.Images[2].Skipped, "an artifact")
	assert.Equal(t, config("127.0.0.1:5111_tiny_multi:v1"), loaded.Images[3].ID)
	assert.NotEmpty(t, loaded.Images[3].ID)

	_, err = copying.LoadInto(t.Context(), imagetest.Trusting(t), []copying.SaveImage{artifact}, place, options)
	require.ErrorContains(t, err, "there is nothing to load: ")
	nowhere := errors.New("nowhere")
	_, err = copying.LoadInto(t.Context(), imagetest.Trusting(t), images, func(reference.NamedTagged, digest.Digest) (types.ImageReference, error) { return nil, nowhere }, nil)
	var failed *errdef.ImageError
	require.ErrorAs(t, err, &failed)
	require.ErrorIs(t, err, nowhere)
	_, err = copying.LoadInto(t.Context(), imagetest.Rejecting(t), images, place, options)
	require.ErrorAs(t, err, &failed)
}
