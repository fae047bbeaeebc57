package compose_test

import (
	"archive/tar"
	"bytes"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/compose"
	"github.com/dockerarchive/dockerarchive/errdef"
	"github.com/dockerarchive/dockerarchive/internal/imagetest"
)

// saying returns an image, and the warnings about it.
func saying(img *compose.Image) *[]string {
	said := &[]string{}
	img.Warn = func(message string) { *said = append(*said, message) }
	return said
}

// Names that lead out of the root land in it, as in every engine, and that is said. So it is
// in a layer on its own, below another, and squashed.
func TestNamesThatLeadOut(t *testing.T) {
	data := tarOf(t,
		tar.Header{Name: "ok", Mode: 0o644, Uid: 5}, tar.Header{Name: "../x", Mode: 0o600}, tar.Header{Name: "/a/../../y", Mode: 0o644},
		tar.Header{Name: "../../d/", Typeflag: tar.TypeDir, Mode: 0o700}, tar.Header{Name: "d/l", Typeflag: tar.TypeLink, Linkname: "../../x", Mode: 0o600},
		tar.Header{Name: "..", Typeflag: tar.TypeDir, Mode: 0o755}, tar.Header{Name: "s", Typeflag: tar.TypeSymlink, Linkname: "../../etc", Mode: 0o777},
		tar.Header{Name: "../.wh.gone"},
	)
	want := []string{
		"ok 0 644 ok", "x 0 600 ../x", "y 0 644 /a/../../y", "d/ 5 700 ", "d/l 1 600 x", "./ 5 755 ", "s 2 777 ../../etc", ".wh.gone 0 0 ../.wh.gone",
	}
	for name, blob := range map[string][]byte{"plain": data, "gzip": imagetest.Gzipped(data), "xz": imagetest.XZ(data)} {
		expected := compose.Expected{Digest: digest.FromBytes(blob), Size: int64(len(blob)), DiffID: digest.FromBytes(data)}
		img := &compose.Image{Layers: []compose.Layer{{Content: inMemory(blob), Expected: expected}, {Content: compose.Whiteouts("d/l")}}}
		said := saying(img)
		m := mustMake(t, img)
		assert.Equal(t, want, list(t, m.layer(t, 0)), name)
		last := (*said)[len(*said)-1]
		assert.Equal(t, `layer memory: 6 names lead out of the image, the first is "../x"; their files are put inside`, last)
		assert.Equal(t, []string{"d/ 5 700 ", "d/.wh.l 0 0 "}, list(t, m.layer(t, 1)), "the layer below is seen as it will be")

		img.Layers[0].Expected.DiffID = digest.FromString("")
		_, err := tryMake(t, img)
		require.ErrorIs(t, err, errdef.ErrDamaged, "what is changed is verified all the same")
	}

	img := &compose.Image{Squash: true, Layers: []compose.Layer{{Content: compose.Stream("stdin", bytes.NewReader(data))}}}
	said := saying(img)
	m := mustMake(t, img)
	assert.ElementsMatch(t, []string{"./ 5 755 ", "ok 0 644 ok", "x 0 600 ../x", "y 0 644 /a/../../y", "d/ 5 700 ", "d/l 1 600 x", "s 2 777 ../../etc"}, list(t, m.layer(t, 0)))
	assert.Equal(t, []string{`layer stdin: 6 names lead out of the image, the first is "../x"; their files are put inside`}, *said)

	img = &compose.Image{Layers: []compose.Layer{{Content: inMemory(tarOf(t, tar.Header{Name: "../x"}))}}, RewriteTimes: true, Created: day}
	said = saying(img)
	m = mustMake(t, img)
	assert.Equal(t, []string{"x 0 0 ../x"}, list(t, m.layer(t, 0)))
	assert.Equal(t, []string{`layer memory: the name "../x" leads out of the image; the file is put inside`}, *said)
}

// A base is what its publisher made: nothing of it is changed, and one with such names is refused where
// its files are asked for.
func TestNamesOfTheBaseThatLeadOut(t *testing.T) {
	b := newBase(t, `{}`, imagetest.NewLayer(imagetestTar(t, tar.Header{Name: "../x"})))
	m := mustMake(t, &compose.Image{Base: b, Layers: []compose.Layer{{Content: files("f", "1")}}})
	assert.Equal(t, b.Layers[0].Digest, m.man.Layers[0].Digest)
	_, err := tryMake(t, &compose.Image{Base: b, Squash: true})
	require.ErrorContains(t, err, `the name "../x" leads out`)
}

// Docker and podman unpack each layer on its own. A hard link to a file below is what they refuse.
func TestHardLinksToLowerLayers(t *testing.T) {
	file, link := tar.Header{Name: "a"}, func(name, target string) tar.Header {
		return tar.Header{Name: name, Typeflag: tar.TypeLink, Linkname: target}
	}
	below := compose.Layer{Content: inMemory(tarOf(t, file))}
	for name, c := range map[string]struct {
		headers []tar.Header
		want    []string
	}{
		"within":        {[]tar.Header{file, link("b", "a"), link("c", "./b"), link("d", "/a")}, nil},
		"through links": {[]tar.Header{{Name: "l", Typeflag: tar.TypeSymlink, Linkname: "d"}, {Name: "l/a"}, link("b", "d/a"), link("c", "l/a"), link("d/e", "l/b/../a")}, nil},
		"across":        {[]tar.Header{link("b", "a")}, []string{`layer memory: "b" is a hard link to "a", which is not in the layer itself: docker and podman refuse that; a squashed image has none`}},
		"two": {[]tar.Header{link("b", "a"), link("c", "a"), link("d", "b")}, []string{
			`layer memory: 2 hard links, the first is "b", have targets such as "a", which is not in the layer itself: docker and podman refuse that; a squashed image has none`}},
		"before": {[]tar.Header{link("b", "a"), file}, []string{`layer memory: "b" is a hard link to "a", which is not in the layer itself: docker and podman refuse that; a squashed image has none`}},
	} {
		img := &compose.Image{Layers: []compose.Layer{below, {Content: inMemory(tarOf(t, c.headers...))}}}
		said := saying(img)
		mustMake(t, img)
		assert.ElementsMatch(t, c.want, *said, name)
		img.Squash = true
		*said = nil
		mustMake(t, img)
		assert.Empty(t, *said, name)
	}
}
