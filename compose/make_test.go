package compose_test

import (
	"archive/tar"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/compose"
	"github.com/dockerarchive/dockerarchive/errdef"
	"github.com/dockerarchive/dockerarchive/internal/imagetest"
)

// An image of nothing is one all the same.
func TestNothing(t *testing.T) {
	m := mustMake(t, &compose.Image{})
	assert.JSONEq(t, `{"architecture":"amd64","os":"linux","created":"1970-01-01T00:00:00Z","rootfs":{"type":"layers","diff_ids":[]}}`, string(m.Made.Config))
	assert.Equal(t, v1.MediaTypeImageManifest, m.MediaType)
	assert.Contains(t, string(m.Made.Manifest), `"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json"`)
	assert.Contains(t, string(m.Made.Manifest), `"layers":[]`)
	assert.NotContains(t, string(m.Made.Manifest), "annotations")
	assert.Equal(t, m.Digest(), digest.FromBytes(m.Made.Manifest))
}

const dockerBase = `{
	"created": "2019-01-01T00:00:00Z", "docker_version": "20.10", "container": "c0ffee", "parent": "sha256:1", "id": "x", "novel": [1.0],
	"container_config": {"Cmd": ["before"]},
	"config": {"Cmd": ["a"], "Hostname": "h", "Tty": false, "Healthcheck": {"Test": ["NONE"]}, "OnBuild": ["RUN x"], "Shell": ["/bin/bash","-c"], "Novel": 2},
	"history": [{"created": "2018-01-01T00:00:00Z", "created_by": "first", "x": "y"}, {"created": null, "created_by": "second", "empty_layer": true}]
}`

// Both formats are filled from one model, and each has what only it has.
func TestFormats(t *testing.T) {
	layer := imagetest.Gzip(1, 100)
	b := newBase(t, dockerBase, layer).inDocker(t)
	image := func(f compose.Format) *compose.Image {
		return &compose.Image{
			Base: b, BaseName: "example.com/base:1", Format: f, Created: day, Parent: "sha256:parent",
			Change: func(c *compose.Config) error {
				c.SetContainer("cafe")
				c.SetDockerVersion("29")
				c.SetCmd([]string{"b"})
				return nil
			},
			Layers: []compose.Layer{{Content: files("f", "x"), History: v1.History{CreatedBy: "me", Author: "Ada", Comment: "hi"}}},
		}
	}
	m := mustMake(t, image(compose.OCI))
	assert.ElementsMatch(t, []string{"architecture", "os", "created", "docker_version", "rootfs", "history", "config", "novel"}, slices.Collect(maps.Keys(m.config)))
	assert.Equal(t, map[string]any{
		"Cmd": []any{"b"}, "Hostname": "h", "Tty": false, "Healthcheck": map[string]any{"Test": []any{"NONE"}},
		"OnBuild": []any{"RUN x"}, "Shell": []any{"/bin/bash", "-c"}, "Novel": 2.0,
	}, m.config["config"], "Docker reads them in OCI's config too")
	assert.Contains(t, string(m.Made.Config), `"novel":[1.0]`, "unknown fields stay, byte for byte")
	assert.Equal(t, "2020-01-02T03:04:05Z", m.config["created"])
	assert.Equal(t, []string{
		"2018-01-01T00:00:00Z first x=y", "<nil> second empty_layer=true",
		"2020-01-02T03:04:05Z me author=Ada comment=hi FROM example.com/base:1",
	}, m.history())
	assert.Equal(t, v1.MediaTypeImageConfig, m.man.Config.MediaType)
	assert.Equal(t, []string{v1.MediaTypeImageLayerGzip, v1.MediaTypeImageLayerGzip}, []string{m.man.Layers[0].MediaType, m.man.Layers[1].MediaType})
	assert.Equal(t, layer.Digest, m.man.Layers[0].Digest, "layers of the base stay as they are")
	assert.Equal(t, map[string]string{v1.AnnotationBaseImageName: "example.com/base:1", v1.AnnotationBaseImageDigest: b.Digest().String()}, m.man.Annotations)

	m = mustMake(t, image(compose.Docker))
	assert.Equal(t, "application/vnd.docker.distribution.manifest.v2+json", m.MediaType)
	assert.NotContains(t, string(m.Made.Manifest), "annotations")
	assert.ElementsMatch(t, []string{"architecture", "os", "created", "rootfs", "history", "config", "novel", "container", "container_config", "docker_version", "parent"}, slices.Collect(maps.Keys(m.config)))
	assert.Equal(t, []any{"b"}, m.config["config"].(map[string]any)["Cmd"])
	assert.Equal(t, []any{"a"}, m.config["container_config"].(map[string]any)["Cmd"], "it is from before the changes")
	assert.Equal(t, "cafe", m.config["container"])
	assert.Equal(t, "29", m.config["docker_version"])
	assert.Equal(t, "sha256:parent", m.config["parent"])
	assert.Equal(t, "0001-01-01T00:00:00Z second empty_layer=true", m.history()[1], "Docker has no unknown time")
	for _, l := range m.man.Layers {
		assert.Equal(t, "application/vnd.docker.image.rootfs.diff.tar.gzip", l.MediaType)
	}

	// Fields that are about the base only are not passed on to an image built on it.
	img := image(compose.Docker)
	img.Parent, img.Change = "", nil
	m = mustMake(t, img)
	assert.NotContains(t, m.config, "parent")
	assert.NotContains(t, m.config, "container")
	assert.NotContains(t, m.config, "id")
	assert.Equal(t, "20.10", m.config["docker_version"])

	img.Parent, img.OmitHistory = "sha256:parent", true
	m = mustMake(t, img)
	assert.NotContains(t, m.config, "parent")
	assert.NotContains(t, m.config, "history")
}

func TestAnnotations(t *testing.T) {
	b := newBase(t, `{}`)
	b.Image.Manifest.Annotations = map[string]string{"a": "1", "b": "2", v1.AnnotationBaseImageName: "old", v1.AnnotationBaseImageDigest: "old"}
	b.Encode(t)
	annotations := func(change func(*compose.Image)) map[string]string {
		img := &compose.Image{Base: b, BaseName: "name", Annotations: map[string]string{"b": "3", "c": "4"}}
		change(img)
		return mustMake(t, img).man.Annotations
	}
	own := b.Digest().String()
	assert.Equal(t, map[string]string{"a": "1", "b": "3", "c": "4", v1.AnnotationBaseImageName: "name", v1.AnnotationBaseImageDigest: own},
		annotations(func(*compose.Image) {}))
	assert.Equal(t, map[string]string{"b": "3", "c": "4", v1.AnnotationBaseImageName: "name"},
		annotations(func(i *compose.Image) { i.UnsetAnnotations = []string{"a", "c", v1.AnnotationBaseImageDigest} }), "what is set stays")
	assert.Equal(t, map[string]string{"b": "3", "c": "4"}, annotations(func(i *compose.Image) { i.ClearAnnotations = true }))
	assert.Equal(t, map[string]string{"a": "1", "b": "3", "c": "4", v1.AnnotationBaseImageDigest: own}, annotations(func(i *compose.Image) { i.BaseName = "" }))

	m := mustMake(t, &compose.Image{Layers: []compose.Layer{{Content: files("a", "b"), Annotations: map[string]string{"x": "y"}}}})
	assert.Equal(t, map[string]string{"x": "y"}, m.man.Layers[0].Annotations)
}

func TestRefused(t *testing.T) {
	content := []compose.Layer{{Content: files("a", "b")}}
	b := newBase(t, `{}`)
	for want, img := range map[string]*compose.Image{
		"format OCI or Docker schema 2":     {Format: 7},
		"which a squashed image does not":   {Base: b, Squash: true, Layers: []compose.Layer{{}}},
		"nothing to squash":                 {Squash: true},
		"without a time":                    {RewriteTimes: true},
		"rebasing needs":                    {Base: b, On: b},
		"has no annotations":                {Format: compose.Docker, Annotations: map[string]string{"a": "b"}},
		"a Docker schema 2 manifest has no": {Format: compose.Docker, Layers: []compose.Layer{{Annotations: map[string]string{"a": "b"}}}},
		"in zstd in a Docker schema 2":      {Format: compose.Docker, Compression: compose.Compression{Algorithm: compose.Zstd}, Layers: content},
		"no compression 9":                  {Compression: compose.Compression{Algorithm: 9}},
		"gzip has no level 10":              {Compression: compose.Compression{Level: 10}},
		"zstd has no level -1":              {Compression: compose.Compression{Algorithm: compose.Zstd, Level: -1}},
		"years 0 to 9999":                   {Created: time.Unix(1e12, 0)},
		"a time of an image must be":        {Layers: []compose.Layer{{History: v1.History{Created: new(time.Unix(1e12, 0))}}}},
		"changing the config: test":         {Change: func(*compose.Config) error { return errTest }},
	} {
		_, err := tryMake(t, img)
		require.ErrorContains(t, err, want)
	}
	m := &compose.Image{Change: func(*compose.Config) error { return nil }}
	_, err := m.MakeTo(t.Context(), &made{})
	require.ErrorContains(t, err, "does not say which os")
}

// Times come from what goes in, or are given, and never from the clock.
func TestCreated(t *testing.T) {
	b := newBase(t, `{"created": "2020-01-02T04:04:05Z"}`)
	for name, test := range map[string]struct {
		img  compose.Image
		want string
	}{
		"base":    {compose.Image{Base: b, Layers: []compose.Layer{{Content: files("a", "")}}}, "2020-01-02T04:04:05Z"},
		"files":   {compose.Image{Layers: []compose.Layer{{Content: files("a", "")}, {}}}, "2020-01-02T03:04:05Z"},
		"history": {compose.Image{Layers: []compose.Layer{{History: v1.History{Created: &later}}, {Content: files("a", "")}}}, "2020-01-02T04:04:05Z"},
		"given":   {compose.Image{Base: b, Created: day.In(zone), Layers: []compose.Layer{{History: v1.History{Created: &later}}}}, "2020-01-02T03:04:05Z"},
	} {
		m := mustMake(t, &test.img)
		assert.Equal(t, test.want, m.config["created"], name)
	}
	far := tarOf(t, tar.Header{Name: "far", ModTime: time.Unix(1e12, 0), Format: tar.FormatPAX}, tar.Header{Name: "near", ModTime: day})
	m := mustMake(t, &compose.Image{Layers: []compose.Layer{{Content: inMemory(far)}}})
	assert.Equal(t, "2020-01-02T03:04:05Z", m.config["created"], "no document can say the year 33658")
	m = mustMake(t, &compose.Image{Base: b, Layers: []compose.Layer{{History: v1.History{Created: &day}}}, Created: later})
	assert.Equal(t, []string{"2020-01-02T04:04:05Z /bin/sh empty_layer=true"}, m.history(), "what is given is said of every layer")
	m = mustMake(t, &compose.Image{Base: b, Layers: []compose.Layer{{History: v1.History{Created: &day}}}})
	assert.Equal(t, []string{"2020-01-02T03:04:05Z /bin/sh empty_layer=true"}, m.history())
}

func TestRewriteTimes(t *testing.T) {
	layer := compose.Layer{Content: files("a", "b")}
	for _, squash := range []bool{false, true} {
		m := mustMake(t, &compose.Image{Layers: []compose.Layer{layer}, Created: later, RewriteTimes: true, Squash: squash})
		assert.Equal(t, later.Unix(), first(t, m.layer(t, 0)).ModTime.Unix())
	}
	m := mustMake(t, &compose.Image{Layers: []compose.Layer{layer}, Created: later})
	assert.Equal(t, day.Unix(), first(t, m.layer(t, 0)).ModTime.Unix())

	// A layer that is compressed is rewritten, too. Expected describes the layer as it
	// comes in.
	zstd := imagetest.Zstandard(m.layer(t, 0))
	compressed := compose.Layer{Content: inMemory(zstd), Expected: compose.Expected{
		Digest: digest.FromBytes(zstd), Size: int64(len(zstd)), DiffID: digest.FromBytes(m.layer(t, 0)),
	}}
	m = mustMake(t, &compose.Image{Layers: []compose.Layer{compressed}, Created: later, RewriteTimes: true})
	for _, e := range []compose.Expected{{Digest: m.Digest()}, {Size: 1}, {DiffID: m.Digest()}} {
		_, err := tryMake(t, &compose.Image{Layers: []compose.Layer{{Content: inMemory(zstd), Expected: e}}, Created: later, RewriteTimes: true})
		require.ErrorIs(t, err, errdef.ErrDamaged)
	}
	assert.Equal(t, later.Unix(), first(t, m.layer(t, 0)).ModTime.Unix())
	assert.Equal(t, v1.MediaTypeImageLayerGzip, m.man.Layers[0].MediaType)
}

func TestHistory(t *testing.T) {
	layer := imagetest.Gzip(1, 100)
	step := func(by string, c compose.Content) compose.Layer {
		return compose.Layer{Content: c, History: v1.History{CreatedBy: by, EmptyLayer: c != nil}} // EmptyLayer is not heeded.
	}
	all := []compose.Layer{
		step("pre-empty", nil), step("pre-layer", files("a", "")), {Content: files("b", "")},
		step("files", compose.Files(day, compose.File{Path: "c"})), step("post-empty", nil), step("post-layer", files("d", "")),
	}
	shell := func(c *compose.Config) error { c.SetShell([]string{"/bin/bash", "-c"}); return nil }
	m := mustMake(t, &compose.Image{Layers: all, Created: day, Change: shell})
	at := "2020-01-02T03:04:05Z "
	assert.Equal(t, []string{at + "pre-empty empty_layer=true", at + "pre-layer", at + "/bin/bash -c", at + "files", at + "post-empty empty_layer=true", at + "post-layer"}, m.history())
	assert.Len(t, m.man.Layers, 4)

	// A base with layers and no history: nobody can complete it.
	m = mustMake(t, &compose.Image{Base: newBase(t, `{}`, layer), Layers: all})
	assert.Empty(t, m.history())
	m = mustMake(t, &compose.Image{Base: newBase(t, `{}`), BaseName: "x", Layers: all[:1]})
	assert.Equal(t, []string{"1970-01-01T00:00:00Z pre-empty comment=FROM x empty_layer=true"}, m.history())

	// A history of fewer layers than the base has will do; one of more is an error.
	short := newBase(t, `{"history":[{"created_by":"a"}]}`, layer, imagetest.Gzip(2, 100))
	assert.Len(t, mustMake(t, &compose.Image{Base: short, Layers: all[1:2]}).history(), 2)
	wrong := newBase(t, `{"history":[{"created_by":"a"},{"created_by":"b"}]}`, layer)
	_, err := tryMake(t, &compose.Image{Base: wrong, Layers: all[:2]})
	require.ErrorContains(t, err, "tells of 1 layers more than it has; omit the history")
	img := &compose.Image{Base: wrong, Layers: all[1:2], OmitHistory: true}
	assert.NotContains(t, mustMake(t, img).config, "history")
	img = &compose.Image{Base: wrong, BaseName: "x", Layers: all[1:2], Created: day, Squash: true}
	assert.Equal(t, []string{at + "pre-layer comment=FROM x"}, mustMake(t, img).history())
	img.OmitHistory = true
	assert.NotContains(t, mustMake(t, img).config, "history")
	img = &compose.Image{Base: wrong, Created: day, Squash: true}
	assert.Equal(t, []string{at + "/bin/sh"}, mustMake(t, img).history())
	for _, id := range []string{wrong.ConfigDigest().String(), wrong.ConfigDigest().Encoded()} {
		m = mustMake(t, &compose.Image{Base: newBase(t, `{}`), BaseName: newBase(t, `{}`).ConfigDigest().Encoded(), Layers: all[:1]})
		assert.NotContains(t, m.history()[0], "FROM", "an ID is no name: "+id)
	}
}

func TestBaseRefused(t *testing.T) {
	for want, change := range map[string]func(*base){
		"not of one image": func(b *base) { b.Raw, b.MIMEType = []byte(`{"manifests":[]}`), v1.MediaTypeImageIndex },
		"its config lists 0 layers, its": func(b *base) {
			b.Image.Manifest.Layers = append(b.Image.Manifest.Layers, b.Image.Manifest.Config)
			b.Encode(t)
		},
		"its config is damaged": func(b *base) { b.Config = []byte("{}") },
		"parsing its manifest":  func(b *base) { b.Raw = []byte("{") },
	} {
		b := newBase(t, `{}`)
		change(b)
		_, err := tryMake(t, &compose.Image{Base: b, BaseName: "example.com/base"})
		assert.ErrorContains(t, err, want)
		assert.ErrorContains(t, err, "making an image: the base example.com/base: ")
	}
	b := newBase(t, `{}`, imagetest.Plain(1, 1).In(imagetest.XZ, "application/x-xz"))
	_, err := tryMake(t, &compose.Image{Base: b, Format: compose.Docker})
	assert.ErrorContains(t, err, "has no counterpart")
}
