//go:build interop

package interop

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/opencontainers/go-digest"
	imagespec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/require"
)

// testLayout is the OCI layout that every image under test comes from.
const testLayout = "../testdata/oci"

// An image identifies one platform's image, independent of its format.
type image struct {
	manifest digest.Digest
	config   digest.Digest
	diffIDs  []digest.Digest
	platform string // as os/architecture[/variant]
}

// layoutImage reads the image that is called ref in an OCI layout. It fails if ref is an index.
func layoutImage(t *testing.T, layout, ref string) image {
	t.Helper()
	images := layoutImages(t, layout, ref)
	require.Len(t, images, 1, "%s in %s: want one image, not an index", ref, layout)
	return images[0]
}

// layoutImages reads the images of every platform behind ref in an OCI layout, in the order of
// the index, without attestations.
func layoutImages(t *testing.T, layout, ref string) []image {
	t.Helper()
	var index imagespec.Index
	readJSON(t, filepath.Join(layout, imagespec.ImageIndexFile), &index)
	for _, descriptor := range index.Manifests {
		if descriptor.Annotations[imagespec.AnnotationRefName] == ref {
			return descriptorImages(t, layout, descriptor)
		}
	}
	t.Fatalf("%s holds no image called %s", layout, ref)
	return nil
}

func descriptorImages(t *testing.T, layout string, descriptor imagespec.Descriptor) []image {
	t.Helper()
	if descriptor.MediaType != imagespec.MediaTypeImageIndex {
		return []image{readImage(t, layout, descriptor.Digest)}
	}
	var index imagespec.Index
	readJSON(t, blobPath(layout, descriptor.Digest), &index)
	var images []image
	for _, platform := range index.Manifests {
		if platform.Platform == nil || platform.Platform.OS != "unknown" {
			images = append(images, readImage(t, layout, platform.Digest))
		}
	}
	return images
}

func readImage(t *testing.T, layout string, manifestDigest digest.Digest) image {
	t.Helper()
	var manifest imagespec.Manifest
	readJSON(t, blobPath(layout, manifestDigest), &manifest)
	require.NoError(t, manifest.Config.Digest.Validate(), "config of manifest %s in %s", manifestDigest, layout)
	config, err := os.ReadFile(blobPath(layout, manifest.Config.Digest))
	require.NoError(t, err)
	return imageOfConfig(t, manifestDigest, config)
}

// imageOfConfig is the image with these bytes as its config.
func imageOfConfig(t *testing.T, manifest digest.Digest, config []byte) image {
	t.Helper()
	var parsed imagespec.Image
	require.NoError(t, json.Unmarshal(config, &parsed), "config of %s", manifest)
	platform := parsed.OS + "/" + parsed.Architecture
	if parsed.Variant != "" {
		platform += "/" + parsed.Variant
	}
	return image{
		manifest: manifest,
		config:   digest.FromBytes(config),
		diffIDs:  parsed.RootFS.DiffIDs,
		platform: platform,
	}
}

func blobPath(layout string, blob digest.Digest) string {
	return filepath.Join(layout, imagespec.ImageBlobsDir, blob.Algorithm().String(), blob.Encoded())
}

func readJSON(t *testing.T, path string, into any) {
	t.Helper()
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(content, into), path)
}
