package copying_test

import (
	"bytes"
	"maps"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/types"

	"github.com/dockerarchive/dockerarchive/errdef"
	dockerarchive "github.com/dockerarchive/dockerarchive/podman"
	"github.com/dockerarchive/dockerarchive/podman/internal/imagetest"
)

// Tables without images are no archive.
func TestNoImages(t *testing.T) {
	for what, files := range map[string]map[string]string{
		"an empty manifest.json":      {"manifest.json": "[]"},
		"null, and layers":            {"manifest.json": "null", "layer.tar": ""},
		"an empty index.json":         {"index.json": `{"schemaVersion":2,"manifests":[]}`, "oci-layout": `{"imageLayoutVersion":"1.0.0"}`},
		"null for manifests":          {"index.json": `{"schemaVersion":2,"manifests":null}`},
		"both empty":                  {"index.json": `{"manifests":[]}`, "manifest.json": "[]"},
		"null for an index.json":      {"index.json": "null"},
		"repositories without layers": {"repositories": "{}"},
	} {
		m := &making{Rand: rand.New(rand.NewPCG(1, 2)), files: map[string][]byte{}}
		for _, name := range slices.Sorted(maps.Keys(files)) {
			m.put(name, []byte(files[name]))
		}
		_, err := dockerarchive.NewReader(nil, imagetest.WriteFile(t, m.pack(t)))
		require.ErrorIs(t, err, errdef.ErrNoImageArchive, what)
	}
}

// One of several platforms that each have the same name is chosen, in every form of
// archive.
func TestPlatformsOfOneName(t *testing.T) {
	quiet(t)
	for what, spoil := range map[string]func(*making){
		"and manifest.json has one of them": func(*making) {},
		"and there is no manifest.json":     func(m *making) { m.docker, m.form.docker = nil, false },
		"arm64 comes first":                 func(m *making) { slices.Reverse(m.oci) },
		"without a name": func(m *making) {
			m.docker, m.form.docker = nil, false
			for _, x := range m.oci {
				x.names = nil
			}
		},
	} {
		m := madeOf(t, "containerd", 1)
		m.flat = true
		spoil(m)
		m.write(t)
		c := newTrial(t, m, m.pack(t))
		assert.Empty(t, c.problems(), what)
		name := ":" + m.authors[0].name
		if len(m.oci[0].names) == 0 {
			name = ""
		}
		ref, err := dockerarchive.ParseReference(c.path + name)
		require.NoError(t, err)
		for _, a := range m.authors {
			sys := *c.options.SourceCtx
			sys.ArchitectureChoice = a.arch
			data, err := c.copied(dockerarchive.ImageTransport, ref, &sys)
			require.NoError(t, err, "%s: %s", what, a.arch)
			assert.Equal(t, a.image(), c.require(data, what)[0].image(), "%s: %s", what, a.arch)
		}
	}
}

// If an archive has one platform of an index, a caller that asks for none gets it.
func TestOnePlatformIsThere(t *testing.T) {
	if runtime.GOARCH != "amd64" {
		t.Skip("another platform is this machine's")
	}
	quiet(t)
	for _, c := range []struct {
		what                    string
		named, manifest, config bool // whether manifest.json, amd64's manifest and its config are there
		refused                 string
	}{
		{what: "manifest.json names it", named: true, config: true},
		{what: "there is no manifest.json"},
		{what: "all but a config is there of this machine's", manifest: true, refused: "is not in the archive"},
	} {
		m := madeOf(t, "containerd", 1)
		amd64, arm64 := m.authors[0], m.authors[1]
		m.docker = []*telling{m.oci[1]}
		if !c.named {
			m.docker, m.form.docker = nil, false
		}
		m.write(t)
		for name, data := range m.files {
			if !c.manifest && bytes.Contains(data, []byte(`"config":{`)) && bytes.Contains(data, []byte(digest.FromBytes(amd64.config).String())) ||
				!c.config && bytes.Equal(data, amd64.config) {
				m.remove(name)
			}
		}
		trial := newTrial(t, m, m.pack(t))
		ref, err := dockerarchive.ParseReference(trial.path)
		require.NoError(t, err)
		data, err := trial.copied(dockerarchive.Transport, ref, &types.SystemContext{})
		if c.refused != "" {
			require.ErrorContains(t, err, c.refused, c.what)
			continue
		}
		require.NoError(t, err, c.what)
		assert.Equal(t, arm64.image(), trial.require(data, c.what)[0].image(), c.what)
	}
}

// remove takes a file away.
func (m *making) remove(name string) {
	delete(m.files, name)
	m.names = slices.DeleteFunc(m.names, func(n string) bool { return n == name })
}

// Layers that have URLs are taken from the archive if they are there, and stay where
// they are if not.
func TestLayersWithURLs(t *testing.T) {
	for what, mediaType := range map[string]string{
		"OCI, compressed": "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
		"OCI, plain":      "application/vnd.oci.image.layer.nondistributable.v1.tar",
	} {
		for _, present := range []bool{true, false} {
			m := madeOf(t, "OCI", 1)
			if strings.HasSuffix(mediaType, ".tar") {
				uncompress(m)
			}
			foreign := &m.oci[0].layers[1]
			foreign.MediaType, foreign.URLs = mediaType, []string{"http://127.0.0.1:1/none"}
			m.write(t)
			if !present {
				m.remove(blobPath(foreign.Digest))
			}
			c := newTrial(t, m, m.pack(t))
			ref, err := dockerarchive.ParseReference(c.path + ":" + m.authors[0].name)
			require.NoError(t, err)
			data, err := c.copied(dockerarchive.Transport, ref, c.options.SourceCtx)
			if present {
				require.NoError(t, err, what)
				assert.Equal(t, m.authors[0].image(), c.require(data, what)[0].image(), what)
			} else {
				require.ErrorContains(t, err, foreign.URLs[0], what)
			}
			data, err = c.copied(dockerarchive.ImageTransport, ref, c.options.SourceCtx)
			require.NoError(t, err, what)
			files, _ := imagetest.Files(t, data)
			assert.Equal(t, present, files[blobPath(foreign.Digest)] != nil, what)
			if present {
				assert.Equal(t, m.authors[0].image(), c.require(data, what)[0].image(), what)
			}
		}
	}
}
