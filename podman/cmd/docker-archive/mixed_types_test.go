package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/internal/image"
	"github.com/dockerarchive/dockerarchive/podman/internal/imagetest"
)

// Manifests whose types are of two standards, as docker and oras take them: Docker's with OCI's
// layers, and the other way round. They keep their digests wherever manifests are kept.
func TestManifestsOfMixedTypes(t *testing.T) {
	for name, change := range map[string]func(m *imagetest.Image){
		"docker with OCI layers": func(m *imagetest.Image) {
			m.MIMEType, m.Manifest.Config.MediaType = image.DockerManifest, image.DockerConfig
		},
		"docker with OCI config and layers": func(m *imagetest.Image) { m.MIMEType = image.DockerManifest },
		"docker with zstd layers": func(m *imagetest.Image) {
			m.MIMEType, m.Manifest.Config.MediaType = image.DockerManifest, image.DockerConfig
		},
		"OCI with docker layers": func(m *imagetest.Image) {
			for n := range m.Manifest.Layers {
				m.Manifest.Layers[n].MediaType = image.DockerLayerGzip
			}
		},
		"OCI with docker config": func(m *imagetest.Image) { m.Manifest.Config.MediaType = image.DockerConfig },
	} {
		t.Run(name, func(t *testing.T) {
			layers := []imagetest.Layer{imagetest.Gzip(1, 3000), imagetest.Gzip(2, 200)}
			if name == "docker with zstd layers" {
				layers[1] = imagetest.Zstd(2, 200)
			}
			img := imagetest.NewImage(t, "mixed", layers...)
			reg, dir := imagetest.NewRegistry(t), t.TempDir()
			reg.Push(t, "app:oci", img)
			change(img)
			img.Manifest.MediaType = img.MIMEType
			img.Encode(t)
			reg.PutManifest(t, "app", "1", img.MIMEType, img.Raw)
			remote := reg.Address + "/app:1"
			keeps := func(path string) {
				t.Helper()
				succeeds(t, "verify", path)
				out, _ := succeeds(t, "inspect", "--format", "{{.Digest}}", "image-archive:"+path)
				assert.Equal(t, img.Digest().String()+"\n", out)
			}
			path := func(name string) string { return filepath.Join(dir, name) }
			for _, layout := range []string{"image", "oci"} {
				saved := path(layout + ".tar")
				succeeds(t, "save", "-q", "--layout", layout, "-o", saved, remote)
				keeps(saved)
				succeeds(t, "push", "-q", saved, reg.Address+"/again-"+layout)
				out, _ := succeeds(t, "inspect", "--format", "{{.Digest}}", reg.Address+"/again-"+layout+"/app:1")
				assert.Equal(t, img.Digest().String()+"\n", out)
				succeeds(t, "compact", saved)
				keeps(saved)
			}
			succeeds(t, "save", "-q", "--layout", "docker", "-o", path("docker.tar"), remote)
			succeeds(t, "verify", path("docker.tar"))
			for _, format := range []string{"{{.Os}}", "{{json .Layers}}"} {
				want, _ := succeeds(t, "inspect", "--format", format, reg.Address+"/app:oci")
				got, _ := succeeds(t, "inspect", "--format", format, remote)
				assert.Equal(t, want, got)
			}
			out, _ := succeeds(t, "inspect", remote)
			for _, l := range img.Manifest.Layers {
				assert.Contains(t, out, `"MIMEType": "`+l.MediaType+`"`)
			}
			// copy is containers/image's, which takes some.
			for _, to := range []string{"image-archive:" + path("copied.tar"), "docker-archive:" + path("copied.docker.tar"), "docker://" + reg.Address + "/copied:1"} {
				if _, stderr, status := command(t, "copy", "-q", "docker://"+remote, to); status != 0 {
					assert.Contains(t, stderr, "hint: containers/image copies manifests only")
				}
			}
			succeeds(t, "save", "-q", "-o", path("added.tar"), images+"one")
			succeeds(t, "add", "-q", path("added.tar"), remote)
			out, _ = succeeds(t, "list", "--json", path("added.tar"))
			assert.Contains(t, out, img.Digest().String())
			for n, from := range []string{remote, "image-archive:" + path("image.tar")} {
				made := path(string(rune('m'+n)) + ".tar")
				succeeds(t, "make", "-q", "--base", from, "--label", "a=b", "-o", made)
				succeeds(t, "verify", made)
			}
			lay := path("layout")
			unpack(t, path("oci.tar"), lay)
			var index v1.Index
			data, err := os.ReadFile(filepath.Join(lay, v1.ImageIndexFile))
			require.NoError(t, err)
			require.NoError(t, json.Unmarshal(data, &index))
			assert.Equal(t, img.MIMEType, index.Manifests[0].MediaType)
			succeeds(t, "save", "-q", "-o", path("again.tar"), "oci:"+lay)
			keeps(path("again.tar"))
		})
	}
}
