package compose_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/archive"
	"github.com/dockerarchive/dockerarchive/compose"
	"github.com/dockerarchive/dockerarchive/internal/imagetest"
)

func TestRebase(t *testing.T) {
	one, two, three, app := imagetest.Gzip(1, 10), imagetest.Gzip(2, 10), imagetest.Gzip(3, 10), imagetest.Gzip(4, 10)
	old := newBase(t, `{"history":[{"created_by":"one"},{"created_by":"two"},{"created_by":"cmd","empty_layer":true}]}`, one, two)
	on := newBase(t, `{"created":"2021-01-01T00:00:00Z","history":[{"created_by":"three"}],"config":{"Env":["NEW=1"]}}`, three)
	img := newBase(t, `{"created":"2020-01-01T00:00:00Z","config":{"Env":["APP=1"]},"history":[{"created_by":"one"},{"created_by":"two"},{"created_by":"cmd","empty_layer":true},{"created_by":"app"}]}`, one, two, app)
	img.Image.Manifest.Annotations = map[string]string{"a": "b", v1.AnnotationBaseImageName: "old"}
	img.Encode(t)

	rebase := &compose.Image{Base: img, Replace: old, On: on, BaseName: "new", Layers: []compose.Layer{{Content: files("f", "")}}}
	m := mustMake(t, rebase)
	require.Len(t, m.man.Layers, 3)
	assert.Equal(t, three.Digest, m.man.Layers[0].Digest)
	assert.Equal(t, app.Digest, m.man.Layers[1].Digest)
	assert.Equal(t, []string{"<nil> three", "<nil> app", "2021-01-01T00:00:00Z /bin/sh comment=FROM new"}, m.history())
	assert.Equal(t, map[string]any{"Env": []any{"APP=1"}}, m.config["config"], "the config stays that of the image")
	assert.Equal(t, map[string]string{"a": "b", v1.AnnotationBaseImageName: "new", v1.AnnotationBaseImageDigest: on.Digest().String()}, m.man.Annotations)
	assert.Equal(t, "2021-01-01T00:00:00Z", m.config["created"])

	// Without the history of the old base, its steps are those up to its last layer.
	rebase.Replace = newBase(t, `{}`, one, two)
	assert.Equal(t, []string{"<nil> three", "<nil> cmd empty_layer=true", "<nil> app", "2021-01-01T00:00:00Z /bin/sh comment=FROM new"}, mustMake(t, rebase).history())
	short := *rebase
	short.Base = newBase(t, `{"history":[{"created_by":"one"}]}`, one, two, app)
	assert.Empty(t, mustMake(t, &short).history(), "it does not tell of the layers of the old base")

	rebase.Squash = true
	assert.Len(t, mustMake(t, rebase).man.Layers, 1)
	rebase.Squash = false
	rebase.Replace = newBase(t, `{}`, two)
	_, err := tryMake(t, rebase)
	require.ErrorIs(t, err, compose.ErrNotBelow)
	require.ErrorContains(t, err, "layer 0 of the image is "+one.DiffID().String())
	rebase.Replace = newBase(t, `{}`, one, two, app, three)
	_, err = tryMake(t, rebase)
	require.ErrorIs(t, err, compose.ErrNotBelow)
	rebase.Replace, rebase.On = old, newBase(t, `{"architecture":"arm64"}`)
	_, err = tryMake(t, rebase)
	require.ErrorContains(t, err, "the image is for linux/amd64, the new base for linux/arm64")
	rebase.On = newBase(t, `{}`, three) // without a history
	assert.Empty(t, mustMake(t, rebase).history())
}

// Layers that the base has twice, or that are put upon it again, are no problem.
func TestSameLayerTwice(t *testing.T) {
	l := imagetest.Gzip(1, 10)
	m := mustMake(t, &compose.Image{Base: newBase(t, `{"history":[{},{}]}`, l, l), Layers: []compose.Layer{{Content: inMemory(l.Blob)}}})
	assert.Len(t, m.man.Layers, 3)
	assert.Len(t, m.history(), 3)
}

// stored is a base whose layers are stored uncompressed.
type stored struct{ *base }

func (s stored) Layers(context.Context) ([]v1.Descriptor, error) {
	var all []v1.Descriptor
	for _, l := range s.base.Layers {
		all = append(all, v1.Descriptor{MediaType: v1.MediaTypeImageLayerGzip, Digest: l.Digest, Size: int64(len(l.Blob))})
	}
	return all, nil
}

// Media types say what the bytes are, and not what they were when the manifest of the
// base was made.
func TestStoredBase(t *testing.T) {
	l := imagetest.Gzip(1, 10)
	b := newBase(t, `{}`, l)
	b.Layers[0] = imagetest.Plain(1, 10)
	b.Image.Manifest.Layers[0].Size = int64(len(l.Blob))
	m := mustMake(t, &compose.Image{Base: stored{b}})
	assert.Equal(t, v1.MediaTypeImageLayer, m.man.Layers[0].MediaType)
	assert.Equal(t, l.DiffID(), m.man.Layers[0].Digest)
	m = mustMake(t, &compose.Image{Base: stored{b}, Format: compose.Docker})
	assert.Equal(t, "application/vnd.docker.image.rootfs.diff.tar", m.man.Layers[0].MediaType)
}

func TestArchiveBase(t *testing.T) {
	path := filepath.Join(t.TempDir(), "base.tar")
	require.NoError(t, os.WriteFile(path, imagetest.Theirs(t, imagetest.Named{Source: imagetest.NewImage(t, "x", imagetest.Plain(1, 100)), Name: "example.com/x:1"}), 0o600))
	a, err := archive.Open(t.Context(), path)
	require.NoError(t, err)
	defer a.Close()
	manifest, err := a.Images()[0].Manifest(t.Context())
	require.NoError(t, err)
	m := mustMake(t, &compose.Image{Base: compose.ArchiveBase(manifest), Layers: []compose.Layer{{Content: files("a", "b")}}})
	assert.Len(t, m.man.Layers, 2)
	assert.Empty(t, m.man.Annotations, "nobody knows the manifest that was made up for the base")
	assert.True(t, bytes.Equal(imagetest.Plain(1, 100).Diff, m.layer(t, 0)))
	assert.Equal(t, map[string]any{"Labels": map[string]any{"test": "x"}}, m.config["config"])
	m = mustMake(t, &compose.Image{Base: compose.ArchiveBase(manifest), Squash: true})
	assert.Len(t, m.man.Layers, 1)
	_, err = compose.ArchiveBase(manifest).Blob(t.Context(), v1.Descriptor{Digest: "sha256:none"})
	require.ErrorContains(t, err, "has no blob sha256:none")
}
