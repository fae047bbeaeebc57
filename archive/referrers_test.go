package archive_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const subjectAnnotation = "io.containerd.manifest.subject"

// about returns a manifest of one file, which has the subject unless that is nil.
func (b *tarball) about(mediaType string, subject *v1.Descriptor) v1.Descriptor {
	content := []byte(mediaType)
	config := []byte(`{}`)
	m := v1.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageManifest, Subject: subject,
		Config: v1.Descriptor{MediaType: v1.MediaTypeImageConfig, Digest: b.blob(config), Size: int64(len(config))},
		Layers: []v1.Descriptor{{MediaType: mediaType, Digest: b.blob(content), Size: int64(len(content))}},
	}
	raw, err := json.Marshal(m)
	require.NoError(b.t, err)
	return v1.Descriptor{MediaType: m.MediaType, Digest: b.blob(raw), Size: int64(len(raw))}
}

func annotated(d v1.Descriptor, annotations ...string) v1.Descriptor {
	d.Annotations = map[string]string{}
	for n := 0; n < len(annotations); n += 2 {
		d.Annotations[annotations[n]] = annotations[n+1]
	}
	return d
}

// A referrer names its subject in its manifest, by a digest tag in any annotation for
// names or, if it is no image, in the annotation that Docker leaves of the tag.
func TestReferrers(t *testing.T) {
	one, b := partsOf(t, "one"), newTarball(t)
	b.blobs(one)
	image := annotated(one.manifest, v1.AnnotationRefName, "one")
	subject := v1.Descriptor{MediaType: one.manifest.MediaType, Digest: one.manifest.Digest, Size: one.manifest.Size}
	tag := strings.Replace(subject.Digest.String(), ":", "-", 1)
	elsewhere := digest.FromString("elsewhere")
	index := v1.Index{Manifests: []v1.Descriptor{
		image,
		b.about("a/subject", &subject),
		annotated(b.about("a/ref-name", nil), v1.AnnotationRefName, tag+".att"),
		annotated(b.about("a/name", nil), "io.containerd.image.name", "example.com/one:"+tag+".sbom"),
		annotated(b.about("a/tag", nil), "io.github.dockerarchive.tag", "example.com/one:"+tag+".sig"),
		annotated(b.about("a/annotation", nil), subjectAnnotation, subject.Digest.String()),
		// None of these.
		annotated(b.about("a/lie", &v1.Descriptor{Digest: elsewhere}), subjectAnnotation, subject.Digest.String()),
		annotated(b.about("a/nonsense", nil), subjectAnnotation, "../../etc/passwd"),
		annotated(b.about("a/named", &subject), v1.AnnotationRefName, "sbom"),
		annotated(b.about("a/other", nil), v1.AnnotationRefName, "sha256-"+strings.Repeat("0", 63)+".sig"),
	}}
	index.SchemaVersion = 2
	a := open(t, b.json("index.json", index).close())
	var types []string
	for _, img := range a.Referrers(subject.Digest) {
		d, err := img.Describe(t.Context())
		require.NoError(t, err)
		assert.Equal(t, subject.Digest, d.Subject)
		types = append(types, d.ArtifactType)
	}
	assert.Equal(t, []string{"a/subject", "a/ref-name", "a/name", "a/tag", "a/annotation"}, types)
	assert.Len(t, a.Referrers(elsewhere), 1)
	report, err := a.Verify(t.Context(), nil)
	require.NoError(t, err)
	assert.Empty(t, report.Problems)
	assert.Contains(t, strings.Join(report.Notes, "\n"), "is about "+elsewhere.String()+", which is not in the archive")
}

// A real image is none of its own referrers, even if index.json says so.
func TestImagesAreNoReferrers(t *testing.T) {
	one, b := partsOf(t, "one"), newTarball(t)
	b.blobs(one)
	lie := annotated(one.manifest, subjectAnnotation, digest.FromString("elsewhere").String())
	index := v1.Index{Manifests: []v1.Descriptor{lie, b.about("a/subject", &one.manifest)}}
	index.SchemaVersion = 2
	a := open(t, b.json("index.json", index).close())
	img, err := a.Find("")
	require.NoError(t, err)
	assert.Zero(t, img.Position)
	assert.Len(t, a.Referrers(one.manifest.Digest), 1)
}

// A referrer is the only image of an archive that has nothing else.
func TestOnlyAReferrer(t *testing.T) {
	b := newTarball(t)
	about := b.about("a/subject", &v1.Descriptor{Digest: digest.FromString("elsewhere")})
	index := v1.Index{Manifests: []v1.Descriptor{about}}
	index.SchemaVersion = 2
	a := open(t, b.json("index.json", index).close())
	img, err := a.Find("")
	require.NoError(t, err)
	assert.Zero(t, img.Position)
}
