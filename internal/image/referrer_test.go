package image_test

import (
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/internal/image"
)

func TestDigestTags(t *testing.T) {
	const d = digest.Digest(aDigest)
	hex := d.Encoded()
	for _, kind := range []string{image.TagReferrers, image.TagSignature, image.TagAttestation, image.TagSBOM} {
		tag := image.DigestTag(d, kind)
		assert.Equal(t, "sha256-"+hex+kind, tag)
		for _, name := range []string{tag, "example.com:5000/app:" + tag} {
			subject, gotKind, ok := image.ParseDigestTag(name)
			assert.True(t, ok)
			assert.Equal(t, d, subject)
			assert.Equal(t, kind, gotKind)
		}
	}
	assert.Equal(t, "sha512-"+strings.Repeat("c", 64), image.DigestTag(digest.Digest("sha512:"+strings.Repeat("c", 128)), image.TagReferrers))
	for _, name := range []string{
		"", "app:1", "app@" + aDigest, "app:sha256-" + hex[1:], "app:sha256-" + hex + ".", "app:sha256-" + hex + ".sig.sig",
		"app:sha256-" + hex + "-sig", "app:md5-" + hex, "app:sha256-" + strings.ToUpper(hex), "sha256-" + hex + "/app:1",
	} {
		_, _, ok := image.ParseDigestTag(name)
		assert.False(t, ok, name)
	}
}

// The subject and the type of a manifest.
func TestParseReferrers(t *testing.T) {
	const subject = `,"subject":{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"` + bDigest + `","size":3}`
	d, err := image.ParseDocument([]byte(`{`+typed(v1.MediaTypeImageManifest)+config+`,"artifactType":"application/spdx+json"`+subject+`}`), "")
	require.NoError(t, err)
	require.NotNil(t, d.Subject)
	assert.Equal(t, digest.Digest(bDigest), d.Subject.Digest)
	assert.Equal(t, "application/spdx+json", d.ArtifactType)

	d, err = image.ParseDocument([]byte(`{`+typed(v1.MediaTypeImageIndex)+list+subject+`}`), "")
	require.NoError(t, err)
	assert.NotNil(t, d.Subject)
	d, err = image.ParseDocument([]byte(`{`+typed(v1.MediaTypeImageManifest)+config+`}`), "")
	require.NoError(t, err)
	assert.Nil(t, d.Subject)
	assert.Equal(t, v1.MediaTypeImageConfig, d.ArtifactType)
	_, err = image.ParseDocument([]byte(`{`+typed(v1.MediaTypeImageManifest)+config+`,"subject":{"digest":"sha256:../x"}}`), "")
	require.ErrorContains(t, err, "invalid checksum")
}

func TestContentOfArtifacts(t *testing.T) {
	layersOf := func(mediaTypes ...string) (all []v1.Descriptor) {
		for _, m := range mediaTypes {
			all = append(all, v1.Descriptor{MediaType: m})
		}
		return all
	}
	const signature, chart = "application/vnd.dev.cosign.simplesigning.v1+json", "application/vnd.cncf.helm.config.v1+json"
	for _, c := range []struct {
		fields image.Fields
		other  bool
		want   string
	}{
		{image.Fields{Config: &v1.Descriptor{MediaType: v1.MediaTypeImageConfig}, Layers: layersOf(v1.MediaTypeImageLayerZstd)}, false, v1.MediaTypeImageConfig},
		{image.Fields{Config: &v1.Descriptor{MediaType: image.DockerConfig}, Layers: layersOf(image.DockerLayerGzip, "x/y")}, false, image.DockerConfig},
		{image.Fields{Config: &v1.Descriptor{MediaType: v1.MediaTypeImageConfig}, Layers: layersOf(signature)}, true, signature},
		{image.Fields{Config: &v1.Descriptor{MediaType: v1.MediaTypeImageConfig}, Layers: layersOf("")}, false, v1.MediaTypeImageConfig},
		{image.Fields{Config: &v1.Descriptor{MediaType: chart}, Layers: layersOf("application/vnd.cncf.helm.chart.content.v1.tar+gzip")}, true, chart},
		{image.Fields{Config: &v1.Descriptor{MediaType: v1.MediaTypeEmptyJSON}, ArtifactType: "a/b", Layers: layersOf("x/y")}, true, "a/b"},
		{image.Fields{ArtifactType: "a/b"}, false, "a/b"},
	} {
		assert.Equal(t, c.want, c.fields.Content())
		assert.Equal(t, c.other, image.HasOtherLayers(c.fields.Layers), c.want)
	}
}
