package compose_test

import (
	"archive/tar"
	"bytes"
	"io"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/dockerarchive/dockerarchive/compose"
	"github.com/dockerarchive/dockerarchive/errdef"
	"github.com/dockerarchive/dockerarchive/internal/imagetest"
	"github.com/dockerarchive/dockerarchive/internal/leaktest"
)

func TestSquash(t *testing.T) {
	b := newBase(t, `{"config":{"Cmd":["a"]},"history":[{"created_by":"x"},{"created_by":"y"}],"parent":"sha256:x"}`,
		imagetest.NewLayer(imagetestTar(t, tar.Header{Name: "a", Mode: 0o4755, ModTime: day}, tar.Header{Name: "b", Mode: 0o644}, tar.Header{Name: "d/x", Mode: 0o600})),
		imagetest.NewLayer(imagetestTar(t, tar.Header{Name: ".wh.b"}, tar.Header{Name: "c", Typeflag: tar.TypeLink, Linkname: "a"})))
	stream := compose.Stream("stream", bytes.NewReader(imagetest.Gzipped(tarOf(t, tar.Header{Name: "d/.wh..wh..opq"}, tar.Header{Name: "s", Mode: 0o644}))))
	dir := t.TempDir()
	img := &compose.Image{
		Base: b, BaseName: "base", Format: compose.Docker, Squash: true, Parent: "sha256:x", TempDir: dir,
		Layers:          []compose.Layer{{Content: files("f", "1")}, {Content: stream}},
		SquashRewriting: compose.Rewriting{StripSetID: true},
	}
	m := mustMake(t, img)
	assert.Len(t, m.man.Layers, 1)
	assert.Empty(t, m.Base)
	assert.ElementsMatch(t, []string{"a 0 755 a", "c 1 755 a", "d/ 5 755 ", "f 0 644 1", "s 0 644 s"}, list(t, m.layer(t, 0)))
	assert.Len(t, m.config["history"], 1)
	assert.NotContains(t, m.config, "parent")
	assert.Equal(t, []any{"a"}, m.config["config"].(map[string]any)["Cmd"])
	assert.Equal(t, 1, b.gets[b.Layers[0].Digest])
	assert.Empty(t, imagetest.Leftovers(t, dir))
	assert.Equal(t, "2020-01-02T03:04:05Z", m.config["created"])
}

func TestSquashRefused(t *testing.T) {
	defer leaktest.None(t, goleak.IgnoreCurrent())
	layer := imagetest.Gzip(1, 100_000)
	b := newBase(t, `{}`, layer)
	lying := newBase(t, `{}`, imagetest.NewLayer(tarOf(t), layer.Blob, layer.MediaType))
	other := imagetest.Gzip(2, 100_000)
	swap := newBase(t, `{}`, layer)
	swap.disturb = func(d digest.Digest, r io.ReadCloser) io.ReadCloser {
		if d == layer.Digest {
			return io.NopCloser(bytes.NewReader(other.Blob))
		}
		return r
	}
	for want, img := range map[string]*compose.Image{
		"layer of all files: layer memory: ":                                 {Layers: []compose.Layer{{Content: inMemory(layer.Diff[:2000])}}},
		layer.Digest.String() + " of the base: its content is damaged":       {Base: lying},
		layer.Digest.String() + " of the base: it":                           {Base: swap},
		"layer memory: its content is damaged":                               {Base: b, Layers: []compose.Layer{{Content: inMemory(layer.Diff), Expected: compose.Expected{Digest: other.Digest}}}},
		"layer memory: its content is damaged: its digest should be sha256:": {Base: b, Layers: []compose.Layer{{Content: inMemory(layer.Diff), Expected: compose.Expected{DiffID: other.Digest}}}},
	} {
		img.Squash, img.TempDir = true, t.TempDir()
		_, err := tryMake(t, img)
		require.ErrorContains(t, err, want)
		require.ErrorIs(t, err, errdef.ErrDamaged)
		assert.Empty(t, imagetest.Leftovers(t, img.TempDir))
	}
	_, err := tryMake(t, &compose.Image{Base: b, Squash: true, TempDir: "/dev/null/none"})
	require.ErrorContains(t, err, "creating a temporary file in /dev/null/none")
}

// A squashed image does not depend on how its layers are compressed.
func TestSquashDeterministic(t *testing.T) {
	found := map[digest.Digest]bool{}
	for _, l := range []imagetest.Layer{imagetest.Gzip(1, 1000), imagetest.Plain(1, 1000), imagetest.Zstd(1, 1000)} {
		img := &compose.Image{Layers: []compose.Layer{{Content: inMemory(l.Blob)}, {Content: files("a", "b")}}, Squash: true}
		found[mustMake(t, img).Digest()] = true
	}
	assert.Len(t, found, 1)
}
