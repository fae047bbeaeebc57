//go:build interop

package interop

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// referrersArchive saves an image of the test layout with a signature at cosign's tag, an SBOM
// about it, and a proof about the SBOM.
func referrersArchive(t *testing.T, dir string) string {
	t.Helper()
	app := startRegistry(t) + "/app"
	dockerArchive(t).run(t, "copy", "--insecure-policy", "--dest-tls-verify=false", "oci:"+testLayout+":one", "docker://"+app+":v1")
	tag, err := name.NewTag(app + ":v1")
	require.NoError(t, err)
	image, err := remote.Get(tag)
	require.NoError(t, err)
	sbom := pushArtifact(t, tag.Repository, "application/spdx+json", &image.Descriptor)
	pushArtifact(t, tag.Repository, "application/vnd.example.proof", &sbom)

	signature := artifact(t, "application/vnd.dev.cosign.simplesigning.v1+json")
	require.NoError(t, remote.Write(tag.Repository.Tag("sha256-"+image.Digest.Hex+".sig"), signature))

	path := filepath.Join(dir, "referrers.tar")
	dockerArchive(t).run(t, "save", "--insecure-policy", "--tls-verify=false", "--referrers", "--name", oneName, "-o", path, app+":v1")
	return path
}

// artifact returns an image of one file, which is no layer.
func artifact(t *testing.T, mediaType types.MediaType) v1.Image {
	t.Helper()
	img, err := mutate.Append(empty.Image, mutate.Addendum{Layer: static.NewLayer([]byte("{}"), mediaType)})
	require.NoError(t, err)
	return mutate.MediaType(mutate.ConfigMediaType(img, types.OCIConfigJSON), types.OCIManifestSchema1)
}

// pushArtifact pushes something that is about something else.
func pushArtifact(t *testing.T, repository name.Repository, mediaType types.MediaType, subject *v1.Descriptor) v1.Descriptor {
	t.Helper()
	img := mutate.ConfigMediaType(artifact(t, mediaType), mediaType)
	about, ok := mutate.Subject(img, *subject).(v1.Image)
	require.True(t, ok)
	digest, err := about.Digest()
	require.NoError(t, err)
	require.NoError(t, remote.Write(repository.Digest(digest.String()), about))
	size, err := about.Size()
	require.NoError(t, err)
	return v1.Descriptor{MediaType: types.OCIManifestSchema1, Digest: digest, Size: size}
}

// TestReferrersAreFound has regctl and oras find the referrers of an image in an unpacked archive.
// Without the flag regctl only looks for the tag that containerd would take for an image.
func TestReferrersAreFound(t *testing.T) {
	dir := t.TempDir()
	layout := filepath.Join(dir, "layout")
	extract(t, referrersArchive(t, dir), layout)
	regctl := built(t, "regctl").withEnv("HOME=" + dir)
	_, tag, _ := strings.Cut(oneName, ":")
	found := regctl.run(t, "artifact", "list", "--slow-referrers", "--format", "{{range .Descriptors}}{{.ArtifactType}} {{end}}", "ocidir://"+layout+":"+tag)
	assert.Equal(t, "application/spdx+json", strings.TrimSpace(found))

	tree := built(t, "oras").run(t, "discover", "--oci-layout", "--format", "go-template={{range .referrers}}{{.artifactType}}: {{range .referrers}}{{.artifactType}}{{end}}{{end}}", layout+":"+tag)
	assert.Equal(t, "application/spdx+json: application/vnd.example.proof", strings.TrimSpace(tree))
}

// TestDockerKeepsReferrers has Docker save a loaded image again: its referrers come along, the
// signature without its tag.
func TestDockerKeepsReferrers(t *testing.T) {
	dir := t.TempDir()
	d, ok := newBuiltDocker(true)(t).(dockerd)
	require.True(t, ok)
	path := referrersArchive(t, dir)
	_, err := d.load(t, archive{path: path})
	require.NoError(t, err)
	saved := filepath.Join(dir, "saved.tar")
	d.docker.run(t, "save", "--output", saved, oneName)
	var listed []struct {
		ArtifactType string
		Subjects     []string
	}
	output := dockerArchive(t).run(t, "list", "--json", saved)
	require.NoError(t, json.Unmarshal([]byte(output), &listed))
	var types []string
	for _, image := range listed[1:] {
		assert.Len(t, image.Subjects, 1)
		types = append(types, image.ArtifactType)
	}
	assert.ElementsMatch(t, []string{"application/spdx+json", "application/vnd.example.proof", "application/vnd.dev.cosign.simplesigning.v1+json"}, types)
}
