package copying_test

import (
	"encoding/json"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sirupsen/logrus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/types"

	dockerarchive "github.com/dockerarchive/dockerarchive/podman"
	"github.com/dockerarchive/dockerarchive/podman/internal/imagetest"
)

// kinds are archives of the same kinds as those in testdata/cases, with differences
// that matter.
var kinds = []struct {
	kind, what string
	form       string // of forms
	images     int
	spoil      func(t testing.TB, m *making)
	// name is the name of the image to read, "" for the first author's.
	name string
	// problem is a part of a problem that verify reports; "" for none.
	problem string
	// refused is a part of the error of copying the image; "" if the copy is the
	// author's image.
	refused string
}{
	{kind: "swapped", what: "first and last of three", form: "docker since 25", images: 1,
		spoil:   func(_ testing.TB, m *making) { swap(m.oci[0], 0, 2) },
		problem: "the manifest lists the layers in another order than the config"},
	{kind: "swapped", what: "in manifest.json", form: "docker since 25", images: 2,
		spoil:   func(_ testing.TB, m *making) { swap(m.docker[0], 0, 1) },
		problem: "its layers are listed in another order than in the config"},
	{kind: "swapped", what: "compressed", form: "OCI with manifest.json", images: 1,
		spoil:   func(_ testing.TB, m *making) { swap(m.oci[0], 0, 1) },
		problem: "its layers are listed in another order than in the config"},
	{kind: "swapped", what: "and no manifest.json", form: "OCI", images: 1,
		spoil: func(_ testing.TB, m *making) {
			uncompress(m)
			swap(m.oci[0], 0, 1)
		},
		problem: "the manifest lists the layers in another order than the config", refused: "in another order than the config"},
	{kind: "lost layers", what: "all", form: "docker since 25", images: 1,
		spoil:   func(_ testing.TB, m *making) { m.oci[0].layers = nil },
		problem: "the manifest lists 0 layers, but its config has 3 diff IDs"},
	{kind: "lost layers", what: "the first, without manifest.json", form: "OCI", images: 2,
		spoil:   func(_ testing.TB, m *making) { m.oci[0].layers = m.oci[0].layers[1:] },
		problem: "the manifest lists 2 layers, but its config has 3 diff IDs", refused: "the manifest lists 2 layers"},
	{kind: "lost layers", what: "in manifest.json alone", form: "containers/image", images: 1,
		spoil:   func(_ testing.TB, m *making) { m.docker[0].layers = m.docker[0].layers[:1] },
		problem: "manifest.json lists 1 layers, but its config has 3 diff IDs", refused: "has 3 diff IDs, but manifest.json has 1 layers"},
	{kind: "shifted layers", what: "by one", form: "docker since 25", images: 1,
		spoil:   func(_ testing.TB, m *making) { m.oci[0].layers = append(m.oci[0].layers[1:], m.oci[0].layers[0]) },
		problem: "the manifest lists the layers in another order than the config"},
	{kind: "shifted layers", what: "into the next image", form: "docker since 25", images: 2,
		spoil: func(_ testing.TB, m *making) {
			m.oci[0].layers, m.oci[1].layers = m.oci[1].layers, m.oci[0].layers
		},
		problem: "the manifest"},
	{kind: "wrong sizes", what: "of a layer", form: "docker since 25", images: 1,
		spoil:   func(_ testing.TB, m *making) { m.oci[0].layers[1].more = -1 },
		problem: "the manifest says that blob"},
	{kind: "wrong sizes", what: "of the config", form: "OCI with manifest.json", images: 1,
		spoil:   func(_ testing.TB, m *making) { m.oci[0].moreConfig = 7 },
		problem: "the manifest says that blob"},
	{kind: "wrong sizes", what: "of the manifest", form: "OCI", images: 1,
		spoil:   func(_ testing.TB, m *making) { m.oci[0].more = 1 },
		problem: "the descriptor of"},
	{kind: "gzip diff IDs", what: "all, without manifest.json", form: "OCI", images: 1,
		spoil:   func(t testing.TB, m *making) { digestsForDiffIDs(t, m, 0, 1, 2) },
		problem: "is compressed", refused: "is compressed"},
	{kind: "gzip diff IDs", what: "one of three", form: "OCI with manifest.json", images: 2,
		spoil:   func(t testing.TB, m *making) { digestsForDiffIDs(t, m, 2) },
		problem: "is compressed", refused: "is compressed"},
	{kind: "gzip diff IDs", what: "without manifests", form: "crane", images: 1,
		spoil:   func(t testing.TB, m *making) { digestsForDiffIDs(t, m, 0) },
		problem: "as it is compressed", refused: "digest"},
	{kind: "config type", what: "JSON", form: "OCI", images: 1,
		spoil: func(_ testing.TB, m *making) { m.oci[0].configType = "application/json" }},
	{kind: "config type", what: "HTML", form: "docker since 25", images: 2,
		spoil: func(_ testing.TB, m *making) { m.oci[0].configType = "text/html" }},
	{kind: "config type", what: "none", form: "OCI with manifest.json", images: 1,
		spoil: func(_ testing.TB, m *making) { m.oci[0].configType = "" }},
	{kind: "odd config", what: "created is empty", form: "OCI", images: 1,
		spoil: func(t testing.TB, m *making) { setConfig(t, m, "created", "") }},
	{kind: "odd config", what: "created has two zones", form: "containers/image", images: 1,
		spoil: func(t testing.TB, m *making) { setConfig(t, m, "created", "2024-01-02T03:04:05+00:00Z") }},
	{kind: "odd config", what: "Entrypoint is a string", form: "docker since 25", images: 1,
		spoil: func(t testing.TB, m *making) {
			setConfig(t, m, "config", map[string]any{"Entrypoint": "/bin/sh", "ExposedPorts": []int{80}})
		}},
	{kind: "sha512", what: "with manifest.json", form: "OCI with manifest.json", images: 1,
		spoil: func(_ testing.TB, m *making) { longDigests(m, 0) }},
	{kind: "sha512", what: "one of two images", form: "OCI", images: 2,
		spoil: func(_ testing.TB, m *making) { longDigests(m, 1) }},
	{kind: "digest names", what: "with another name", form: "OCI", images: 1,
		spoil: func(_ testing.TB, m *making) { m.oci[0].names = append(m.oci[0].names, byDigest) }},
	{kind: "digest names", what: "of an index", form: "containerd", images: 1,
		spoil: func(_ testing.TB, m *making) {
			for _, x := range m.oci {
				x.names = []string{byDigest}
			}
		}},
	{kind: "free names", what: "a branch", form: "OCI", images: 1, name: "feature/branch",
		spoil: func(_ testing.TB, m *making) { m.oci[0].names = []string{"feature/branch"} }},
	{kind: "free names", what: "a version", form: "OCI", images: 2, name: "v1.0+build.5",
		spoil: func(_ testing.TB, m *making) { m.oci[0].names = []string{"v1.0+build.5"} }},
	{kind: "tag only", what: "latest", form: "OCI", images: 1, name: "latest",
		spoil: func(_ testing.TB, m *making) { m.oci[0].names = []string{"latest"} }},
	{kind: "tag only", what: "that manifest.json has the whole of", form: "OCI with manifest.json", images: 2,
		spoil: func(_ testing.TB, m *making) { m.oci[0].names = []string{"v1"} }},
	{kind: "one name", what: "of two images in index.json", form: "OCI", images: 2,
		spoil:   func(_ testing.TB, m *making) { m.oci[1].names = m.oci[0].names },
		problem: "2 images have this name", refused: "2 images are named"},
	{kind: "one name", what: "of two images in manifest.json", form: "docker before 25", images: 2,
		spoil:   func(_ testing.TB, m *making) { m.docker[1].names = m.docker[0].names },
		problem: "2 images have this name", refused: "2 images are named"},
	{kind: "one name", what: "that is free", form: "OCI", images: 2, name: "V1",
		spoil:   func(_ testing.TB, m *making) { m.oci[0].names, m.oci[1].names = []string{"V1"}, []string{"V1"} },
		problem: "2 images have this name", refused: "2 images are named"},
	{kind: "stale manifest.json", what: "names changed places", form: "docker since 25", images: 2,
		spoil: func(_ testing.TB, m *making) {
			m.docker[0].names, m.docker[1].names = m.docker[1].names, m.docker[0].names
		},
		problem: "manifest.json has the name"},
	{kind: "stale manifest.json", what: "of an image that index.json has not", form: "OCI with manifest.json", images: 2,
		spoil: func(_ testing.TB, m *making) {
			m.oci, m.docker = m.oci[:1], m.docker[1:]
			m.docker[0].names = m.oci[0].names
		},
		problem: "manifest.json has the name"},
	{kind: "one of two broken", what: "lacks its config", form: "OCI", images: 2,
		spoil:   func(_ testing.TB, m *making) { m.oci[1].configDigest = digest.FromString("nowhere") },
		problem: "is not in the archive"},
	{kind: "one of two broken", what: "has no JSON for its config", form: "containers/image", images: 2,
		spoil:   func(_ testing.TB, m *making) { m.docker[1].config = []byte("{") },
		problem: "decoding config"},
	{kind: "one of two broken", what: "is asked for", form: "OCI", images: 2,
		spoil: func(_ testing.TB, m *making) {
			m.oci[0].layers[1].Digest, m.oci[0].layers[1].Blob = digest.FromString("nowhere"), nil
		},
		problem: "is not in the archive", refused: "is not in the archive"},
	{kind: "damaged", what: "a diff ID that is none", form: "docker since 25", images: 1,
		spoil: func(t testing.TB, m *making) {
			setDiffIDs(t, m, func(_ int, _ string) string { return "sha256:../x" })
		},
		problem: "invalid checksum digest", refused: "invalid checksum digest"},
	{kind: "damaged", what: "another image's config in the manifest", form: "docker since 25", images: 2,
		spoil:   func(_ testing.TB, m *making) { m.oci[0].config = m.authors[1].config },
		problem: "the manifest"},
	{kind: "damaged", what: "a layer that only manifest.json has", form: "OCI with manifest.json", images: 1,
		spoil: func(_ testing.TB, m *making) {
			m.oci[0].layers[0].Digest, m.oci[0].layers[0].Blob = digest.FromString("nowhere"), nil
		},
		problem: "is not in the archive"},
}

// From every kind of odd archive its author's image comes out, or an error says what is
// wrong, and verify knows.
func TestKinds(t *testing.T) {
	quiet(t)
	for _, k := range kinds {
		t.Run(k.kind+"/"+k.what, func(t *testing.T) {
			t.Parallel()
			m := madeOf(t, k.form, k.images)
			k.spoil(t, m)
			if k.problem != "" {
				m.faults = []string{k.problem}
			}
			m.write(t)
			c := newTrial(t, m, m.pack(t))
			c.run()

			problems := c.problems()
			if k.problem == "" {
				assert.Empty(t, problems)
			}
			assert.True(t, k.problem == "" || slices.ContainsFunc(problems, func(err error) bool { return strings.Contains(err.Error(), k.problem) }), "%v", problems)
			name := k.name
			if name == "" {
				name = m.authors[0].name
			}
			for _, data := range c.written(name, k.refused) {
				for _, got := range c.require(data, "copied") {
					assert.Equal(t, m.authors[0].image(), got.image())
				}
			}
		})
	}
}

// newMaking starts an archive of a form.
func newMaking(name string) *making {
	n := slices.IndexFunc(forms, func(f form) bool { return f.name == name })
	return &making{Rand: rand.New(rand.NewPCG(1, 2)), form: forms[n], files: map[string][]byte{}}
}

// madeOf makes images of three layers each, and tellings that tell the truth.
func madeOf(t testing.TB, name string, images int) *making {
	t.Helper()
	m := newMaking(name)
	next := 0
	m.choose = func() []imagetest.Layer {
		kind := 0
		if m.form.compressed {
			kind = 1
		}
		next++
		return []imagetest.Layer{someLayers()[1][kind], someLayers()[1+next][kind], someLayers()[0][kind]}
	}
	m.imagineAll(t, images)
	return m
}

func swap(x *telling, i, j int) { x.layers[i], x.layers[j] = x.layers[j], x.layers[i] }

// uncompress takes the layers of all images as they are without compression.
func uncompress(m *making) {
	plain := func(l imagetest.Layer) imagetest.Layer {
		return imagetest.NewLayer(l.Diff, l.Diff, v1.MediaTypeImageLayer)
	}
	for _, x := range slices.Concat(m.oci, m.docker) {
		for n := range x.layers {
			x.layers[n].Layer = plain(x.layers[n].Layer)
		}
	}
	for _, a := range m.authors {
		for n := range a.layers {
			a.layers[n] = plain(a.layers[n])
		}
	}
}

// change changes the config of the first image, and the documents that list it.
func change(t testing.TB, m *making, edit func(config map[string]any)) {
	t.Helper()
	var config map[string]any
	require.NoError(t, json.Unmarshal(m.authors[0].config, &config))
	edit(config)
	raw, err := json.Marshal(config)
	require.NoError(t, err)
	for _, x := range slices.Concat(m.oci, m.docker) {
		if x.of == m.authors[0] {
			x.config = raw
		}
	}
}

// setConfig sets a field of the config of the first image, as its author does.
func setConfig(t testing.TB, m *making, field string, value any) {
	t.Helper()
	change(t, m, func(config map[string]any) { config[field] = value })
	m.authors[0].config = slices.Concat(m.oci, m.docker)[0].config
}

func setDiffIDs(t testing.TB, m *making, id func(n int, old string) string) {
	t.Helper()
	change(t, m, func(config map[string]any) {
		ids := config["rootfs"].(map[string]any)["diff_ids"].([]any)
		for n, old := range ids {
			ids[n] = id(n, old.(string))
		}
	})
}

// digestsForDiffIDs puts the digests of compressed layers into the config of the first
// image.
func digestsForDiffIDs(t testing.TB, m *making, layers ...int) {
	t.Helper()
	setDiffIDs(t, m, func(n int, old string) string {
		if slices.Contains(layers, n) {
			return m.authors[0].layers[n].Digest.String()
		}
		return old
	})
}

// longDigests has an image refer to its layers by other digests.
func longDigests(m *making, image int) {
	for _, x := range slices.Concat(m.oci, m.docker) {
		if x.of != m.authors[image] {
			continue
		}
		for n := range x.layers {
			x.layers[n].Digest = digest.SHA512.FromBytes(x.layers[n].Blob)
		}
	}
	for n := range m.authors[image].layers {
		m.authors[image].layers[n].Digest = digest.SHA512.FromBytes(m.authors[image].layers[n].Blob)
	}
}

// problems returns the problems that verify reports.
func (c *trial) problems() []error {
	c.Helper()
	r, err := dockerarchive.NewReader(nil, c.path)
	require.NoError(c, err)
	defer r.Close()
	report, err := r.Verify(c.Context(), nil)
	require.NoError(c, err)
	return report.Problems
}

// written returns the copies of an image in both layouts, or fails if not both fail
// with the error.
func (c *trial) written(name, refused string) [][]byte {
	c.Helper()
	ref, err := dockerarchive.ParseReference(c.path + ":" + name)
	require.NoError(c, err)
	var all [][]byte
	for _, transport := range []types.ImageTransport{dockerarchive.Transport, dockerarchive.ImageTransport} {
		data, err := c.copied(transport, ref, c.options.SourceCtx)
		if refused != "" {
			require.ErrorContains(c, err, refused, transport.Name())
			continue
		}
		require.NoError(c, err, transport.Name())
		all = append(all, data)
	}
	return all
}

// quiet suppresses warnings about archives until the end of the test.
func quiet(t *testing.T) {
	t.Helper()
	level := logrus.GetLevel()
	logrus.SetLevel(logrus.ErrorLevel)
	t.Cleanup(func() { logrus.SetLevel(level) })
}
