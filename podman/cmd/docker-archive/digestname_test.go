package main

import (
	"archive/tar"
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/podman/internal/imagetest"
)

// An archive can be saved even if the digest in a name cannot be the image's, as podman and
// hauler write them. The name keeps its tag, if any, and a message says what is left out.
func TestNamesWithOtherDigests(t *testing.T) {
	other := "@sha256:" + strings.Repeat("a", 64)
	for names, want := range map[string]string{
		`"r.example/a:1","r.example/a` + other + `"`: "r.example/a:1\n",
		`"r.example/a:1` + other + `"`:               "r.example/a:1\n",
		`"r.example/a` + other + `"`:                 "@0\n",
	} {
		dir := t.TempDir()
		path, saved := filepath.Join(dir, "podman.tar"), filepath.Join(dir, "saved.tar")
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		r := tar.NewReader(bytes.NewReader(imagetest.ReadFile(t, archives+"skopeo.tar")))
		for h, err := r.Next(); err != io.EOF; h, err = r.Next() {
			require.NoError(t, err)
			data, err := io.ReadAll(r)
			require.NoError(t, err)
			if h.Name == "manifest.json" {
				at := bytes.Index(data, []byte(`"RepoTags":[`)) + len(`"RepoTags":[`)
				data = append(append(append([]byte{}, data[:at]...), names...), data[at+bytes.IndexByte(data[at:], ']'):]...)
				h.Size = int64(len(data))
			}
			if h.Name != "repositories" {
				require.NoError(t, w.WriteHeader(h))
				_, err = w.Write(data)
				require.NoError(t, err)
			}
		}
		require.NoError(t, w.Close())
		require.NoError(t, os.WriteFile(path, b.Bytes(), 0o600))
		for _, layout := range []string{"image", "docker"} {
			_, errOut := succeeds(t, "save", "--force", "--layout", layout, "-o", saved, "docker-archive:"+path)
			assert.Contains(t, errOut, other+" is left out: the image has the digest sha256:", names)
			out, _ := succeeds(t, "list", "-q", saved)
			assert.Equal(t, want, out, names)
			succeeds(t, "verify", saved)
		}
		reg := imagetest.NewRegistry(t)
		// An archive that has such a name can grow and be compacted, and so can one that gets it.
		grown := imagetest.WriteFile(t, imagetest.ReadFile(t, path))
		succeeds(t, "add", "-q", grown, "docker-archive:"+archives+"docker29.tar")
		succeeds(t, "compact", grown)
		out, _ := succeeds(t, "list", "-q", grown)
		assert.NotContains(t, out, other)
		assert.Contains(t, out, "tiny/one:v1\n")
		succeeds(t, "verify", grown)
		for _, layout := range []string{"image", "docker"} {
			succeeds(t, "save", "-q", "--force", "--layout", layout, "-o", grown, "docker-archive:"+archives+"docker29.tar")
			_, errOut := succeeds(t, "add", grown, "docker-archive:"+path)
			assert.Contains(t, errOut, other+" is left out: the image has the digest sha256:")
			succeeds(t, "compact", grown)
			out, _ := succeeds(t, "list", "-q", grown)
			assert.NotContains(t, out, other)
			assert.Equal(t, strings.Contains(names, ":1"), strings.Contains(out, "r.example/a:1\n"))
			succeeds(t, "verify", grown)
		}

		// push prints the digest that the registry has, and goes on with the other images.
		out, errOut := succeeds(t, "push", "--tls-verify=false", path, archives+"docker29.tar", reg.Address)
		assert.Contains(t, errOut, other)
		assert.Contains(t, errOut, "its archive keeps no manifest, and it gets another")
		assert.Contains(t, out, reg.Address+"/tiny/one:v1 sha256:")
		pushedAs := strings.Fields(out)[0]
		assert.Equal(t, strings.Contains(names, ":1"), pushedAs == reg.Address+"/a:1", pushedAs)
		assert.True(t, !strings.Contains(pushedAs, "@") || strings.HasSuffix(pushedAs, "@"+strings.Fields(out)[1]), out)
		succeeds(t, "save", "-q", "--force", "--tls-verify=false", "-o", saved, pushedAs)
		assert.NotContains(t, out, other)
		out, _ = succeeds(t, "push", "--tls-verify=false", "--map", "r.example/a=b", path, reg.Address+"/mapped")
		assert.NotContains(t, out, ":latest")
		_, errOut, status := command(t, "save", "--force", "-o", saved, "--name", "r.example/b"+other, "docker-archive:"+path+":@0")
		assert.Equal(t, exitFailure, status)
		assert.Contains(t, errOut, "does not fit")
	}
}
