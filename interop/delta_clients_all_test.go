//go:build interop && interopall

package interop

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/delta"
)

// TestDeltasOfClients has real clients compress and push two versions of a layer. The delta leads to the
// layer that was pushed. A model predicts it, but for umoci.
func TestDeltasOfClients(t *testing.T) {
	dir, registry := t.TempDir(), startRegistry(t)
	var archives, layers [2]string
	for n := range archives {
		archives[n], layers[n] = deltaVersion(t, dir, n)
	}
	skopeo := debian(t, "skopeo").with("--insecure-policy")
	for client, push := range map[string]func(t *testing.T) func(n int, to string){
		"docker 20.10": func(t *testing.T) func(int, string) { return dockerPush(t, newDebianDocker(t), archives) },
		"docker 29":    func(t *testing.T) func(int, string) { return dockerPush(t, newBuiltDocker(false)(t), archives) },
		"skopeo": func(t *testing.T) func(int, string) {
			return func(n int, to string) {
				skopeo.run(t, "copy", "--dest-tls-verify=false", "docker-archive:"+archives[n], "docker://"+to)
			}
		},
		"buildah": func(t *testing.T) func(int, string) {
			buildah := buildahIn(t, daemonDir(t))
			return func(n int, to string) {
				buildah.run(t, "pull", "--quiet", "docker-archive:"+archives[n])
				buildah.run(t, "push", "--quiet", "--tls-verify=false", deltaName(n), "docker://"+to)
			}
		},
		"podman": func(t *testing.T) func(int, string) {
			podman := debian(t, "podman").with(storageOptions(daemonDir(t))...)
			return func(n int, to string) {
				podman.run(t, "load", "--quiet", "--input", archives[n])
				podman.run(t, "push", "--quiet", "--tls-verify=false", deltaName(n), "docker://"+to)
			}
		},
		"crane": func(t *testing.T) func(int, string) {
			return func(n int, to string) {
				built(t, "crane").withEnv("HOME="+dir).run(t, "append", "--insecure", "--oci-empty-base", "--new_tag", to, "--new_layer", layers[n])
			}
		},
		"umoci": func(t *testing.T) func(int, string) {
			return func(n int, to string) {
				layout := filepath.Join(dir, fmt.Sprint("umoci", n))
				umoci := debian(t, "umoci")
				umoci.run(t, "init", "--layout", layout)
				umoci.run(t, "new", "--image", layout+":x")
				umoci.run(t, "raw", "add-layer", "--image", layout+":x", layers[n])
				skopeo.run(t, "copy", "--dest-tls-verify=false", "oci:"+layout+":x", "docker://"+to)
			}
		},
	} {
		t.Run(client, func(t *testing.T) {
			version := push(t)
			var blobs [2][]byte
			for n := range blobs {
				to := fmt.Sprintf("%s/%x:%d", registry, client, n)
				version(n, to)
				blobs[n] = pushedLayer(t, to)
			}
			var file, got bytes.Buffer
			header, err := delta.Make(t.Context(), &file, bytes.NewReader(blobs[1]), []delta.Source{bytes.NewReader(blobs[0])}, nil)
			require.NoError(t, err)
			t.Logf("%d bytes instead of %d, predicted as of %s", file.Len(), len(blobs[1]), header.Predictor)
			assert.Equal(t, delta.Gzip, header.Target.Form)
			assert.Equal(t, client == "umoci", header.NeedsCompressedBases(), "umoci's encoder alone has no model")
			assert.Less(t, file.Len(), len(blobs[1])/10)
			d, err := delta.Open(bytes.NewReader(file.Bytes()), int64(file.Len()))
			require.NoError(t, err)
			require.NoError(t, d.Apply(t.Context(), &got, []delta.Source{bytes.NewReader(blobs[0])}, nil))
			assert.True(t, bytes.Equal(blobs[1], got.Bytes()))
		})
	}
}

func deltaName(version int) string { return fmt.Sprintf("example.com/delta:%d", version) }

// deltaVersion makes a version of an image, and returns its archive, with uncompressed layers, and
// its layer.
func deltaVersion(t *testing.T, dir string, version int) (archive, layer string) {
	t.Helper()
	files := filepath.Join(dir, fmt.Sprint("files", version))
	require.NoError(t, os.Mkdir(files, 0o755))
	for n := range 200 {
		seed := uint64(n)
		if n%50 == 3 {
			seed += uint64(1000 * version)
		}
		require.NoError(t, os.WriteFile(filepath.Join(files, fmt.Sprint(n)), words(seed), 0o600))
	}
	made := filepath.Join(dir, fmt.Sprint("made", version))
	archive = made + ".tar"
	da := dockerArchive(t)
	da.run(t, "make", "-q", "--timestamp", "0", "--add", files+":/data", "--set-platform", "linux/amd64", "-t", deltaName(version), "-o", made)
	da.run(t, "save", "--insecure-policy", "-q", "--layout", "docker", "-o", archive, "image-archive:"+made)
	image, err := tarball.ImageFromPath(archive, nil)
	require.NoError(t, err)
	text, err := lastLayer(t, image).Uncompressed()
	require.NoError(t, err)
	defer text.Close()
	layer = made + ".layer.tar"
	f, err := os.Create(layer)
	require.NoError(t, err)
	_, err = io.Copy(f, text)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	return archive, layer
}

// dockerPush returns how a docker pushes a version.
func dockerPush(t *testing.T, c client, archives [2]string) func(n int, to string) {
	t.Helper()
	docker := c.(dockerd).docker
	return func(n int, to string) {
		docker.run(t, "load", "--quiet", "--input", archives[n])
		docker.run(t, "tag", deltaName(n), to)
		docker.run(t, "push", "--quiet", to)
	}
}

// pushedLayer returns the last layer of an image in a registry, as it was pushed.
func pushedLayer(t *testing.T, reference string) []byte {
	t.Helper()
	ref, err := name.ParseReference(reference, name.Insecure)
	require.NoError(t, err)
	image, err := remote.Image(ref)
	require.NoError(t, err)
	blob, err := lastLayer(t, image).Compressed()
	require.NoError(t, err)
	defer blob.Close()
	data, err := io.ReadAll(blob)
	require.NoError(t, err)
	return data
}

func lastLayer(t *testing.T, image v1.Image) v1.Layer {
	t.Helper()
	layers, err := image.Layers()
	require.NoError(t, err)
	require.NotEmpty(t, layers)
	return layers[len(layers)-1]
}
