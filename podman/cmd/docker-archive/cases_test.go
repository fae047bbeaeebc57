package main

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/archive"
	dockerarchive "github.com/dockerarchive/dockerarchive/podman"
	"github.com/dockerarchive/dockerarchive/podman/internal/imagetest"
)

const cases = "../../../testdata/cases/"

// command runs the command and returns its standard output, standard error and exit
// status.
func command(t *testing.T, args ...string) (stdout, stderr string, status int) {
	t.Helper()
	var out, errOut buffer
	root := newRootCommand()
	args = translate(root, append(args, "--insecure-policy"))
	root.SetArgs(args)
	root.SetOut(&out)
	root.SetErr(&errOut)
	if err := explain(root, args, root.ExecuteContext(t.Context())); err != nil {
		status = report(t.Context(), &errOut, err)
	}
	return out.String(), errOut.String(), status
}

// succeeds is command for commands that must not fail.
func succeeds(t *testing.T, args ...string) (stdout, stderr string) {
	t.Helper()
	stdout, stderr, status := command(t, args...)
	require.Zero(t, status, stdout+stderr)
	return stdout, stderr
}

// layers returns the media types and diff IDs of the layers of the only image of
// an archive.
func layers(t *testing.T, path string) (types, diffIDs []string) {
	t.Helper()
	a, err := archive.Open(t.Context(), path)
	require.NoError(t, err)
	defer a.Close()
	require.Len(t, a.Images(), 1)
	m, err := a.Images()[0].Manifest(t.Context())
	require.NoError(t, err)
	all, err := m.Layers(t.Context())
	require.NoError(t, err)
	for _, l := range all {
		types, diffIDs = append(types, l.MediaType), append(diffIDs, l.DiffID.String())
	}
	return types, diffIDs
}

// Docker 25.0.0 wrote manifests with their layers in another order than the config.
func TestContradictionIsSaid(t *testing.T) {
	source := "docker-archive:" + cases + "moby25.0.0-two-versions.tar"
	for _, layout := range []string{"image", "docker"} {
		path := filepath.Join(t.TempDir(), "saved.tar")
		_, errOut := succeeds(t, "save", "--layout", layout, "-o", path, source)
		assert.Equal(t, 1, strings.Count(errOut, "in another order than the config"), errOut)
		succeeds(t, "verify", path)
		_, want := layers(t, cases+"moby25.0.0-two-versions.tar")
		_, got := layers(t, path)
		assert.Equal(t, want, got)

		copied := filepath.Join(t.TempDir(), "copied.tar")
		transport := map[string]string{"image": "image-archive:", "docker": "docker-archive:"}[layout]
		_, errOut = succeeds(t, "copy", source, transport+copied)
		assert.Equal(t, 1, strings.Count(errOut, "in another order than the config"), errOut)
		succeeds(t, "verify", copied)
		_, got = layers(t, copied)
		assert.Equal(t, want, got)
	}
}

func TestOneBrokenImageHidesNoOther(t *testing.T) {
	path := cases + "one-of-two-broken.tar"
	out, _ := succeeds(t, "list", path)
	rows := strings.Split(out, "\n")
	assert.Contains(t, rows[1], "docker.io/library/one:v1")
	assert.Contains(t, rows[1], "broken: ")
	assert.Contains(t, rows[2], "docker.io/library/two:v1")
	assert.NotContains(t, rows[2], "broken")

	out, _ = succeeds(t, "list", "--json", path)
	var images []dockerarchive.ImageInfo
	require.NoError(t, json.Unmarshal([]byte(out), &images))
	require.Len(t, images, 2)
	assert.Contains(t, images[0].Error, "without the manifest")
	assert.NotEmpty(t, images[0].Digest)
	assert.Empty(t, images[1].Error)

	succeeds(t, "copy", "docker-archive:"+path+":two:v1", "docker-archive:"+filepath.Join(t.TempDir(), "two.tar"))
	_, _, status := command(t, "copy", "docker-archive:"+path+":one:v1", "docker-archive:"+filepath.Join(t.TempDir(), "one.tar"))
	assert.Equal(t, exitFailure, status)
}

// An archive made from one without manifests states the type of each layer.
func TestTypesSayWhatLayersAre(t *testing.T) {
	for _, name := range []string{"skopeo.tar", "docker20.tar", "crane.tar"} {
		path := filepath.Join(t.TempDir(), "saved.tar")
		succeeds(t, "save", "-o", path, "docker-archive:"+archives+name+":@0")
		succeeds(t, "verify", path)
		types, _ := layers(t, path)
		for _, mediaType := range types {
			assert.Equal(t, "application/vnd.docker.image.rootfs.diff.tar", mediaType)
		}
		copied := filepath.Join(t.TempDir(), "copied.tar")
		succeeds(t, "copy", "docker-archive:"+archives+name+":@0", "image-archive:"+copied)
		succeeds(t, "verify", copied)
	}
}

// An image is recognized by its config, not by the config's media type.
func TestConfigsAsTheyAre(t *testing.T) {
	for _, name := range []string{"config-octet-stream.tar", "created-u002b.tar"} {
		for _, layout := range []string{"image", "docker"} {
			path := filepath.Join(t.TempDir(), "saved.tar")
			_, errOut := succeeds(t, "save", "--layout", layout, "-o", path, "docker-archive:"+cases+name)
			assert.NotContains(t, errOut, "manifest.json")
			succeeds(t, "verify", path)
			assert.Len(t, imagetest.Items(t, imagetest.ReadFile(t, path)), 1, layout)
		}
		for _, transport := range []string{"image-archive:", "docker-archive:"} {
			path := filepath.Join(t.TempDir(), "copied.tar")
			_, errOut := succeeds(t, "copy", "docker-archive:"+cases+name, transport+path)
			assert.NotContains(t, errOut, "manifest.json")
			succeeds(t, "verify", path)
			assert.Len(t, imagetest.Items(t, imagetest.ReadFile(t, path)), 1, transport)
		}
	}
}

const partialIndex = "sha256:45d2602b344571424277f0ae5515e160520a245712357743d45b1e1e3095c07e"

// If only some platforms of an index are there, a command without --platform takes one
// that is there.
func TestPartialArchive(t *testing.T) {
	if runtime.GOARCH == "arm64" {
		t.Skip("its platform is this machine's")
	}
	path := cases + "partial-arm64.tar"
	source := "docker-archive:" + path
	const said = "that for linux/arm64/v8 is taken"
	const arm64 = "sha256:6806ab9992a461cf7d8fb63dc4fc304c4aa749337f0c07f1b8a05260fc679503"

	dir := t.TempDir()
	_, errOut := succeeds(t, "copy", source, "dir:"+filepath.Join(dir, "dir"), "--digestfile", filepath.Join(dir, "digest"))
	assert.Equal(t, 1, strings.Count(errOut, said), errOut)
	assert.Equal(t, arm64, string(imagetest.ReadFile(t, filepath.Join(dir, "digest"))))
	for layout, args := range map[string][]string{"image": {"--layout", "image", source + ":m:v1"}, "docker": {"--layout", "docker", source}} {
		_, errOut = succeeds(t, append([]string{"save", "-o", filepath.Join(dir, layout)}, args...)...)
		assert.Equal(t, 1, strings.Count(errOut, said), errOut)
		succeeds(t, "verify", filepath.Join(dir, layout))
	}
	out, errOut := succeeds(t, "save", "-o", filepath.Join(dir, "all"), source)
	assert.Equal(t, "docker.io/library/m:v1 "+partialIndex+"\n", out, "all that the archive has")
	assert.Contains(t, errOut, "has not got all")
	out, errOut = succeeds(t, "inspect", "--config", path)
	assert.Contains(t, out, `"architecture": "arm64"`)
	assert.Contains(t, errOut, said)
	out, errOut = succeeds(t, "inspect", "--raw", path)
	assert.Equal(t, partialIndex, "sha256:"+imagetest.Sum([]byte(out)))
	assert.Empty(t, errOut)

	for _, args := range [][]string{
		{"copy", "--platform", "linux/amd64", source, "dir:" + filepath.Join(dir, "none")},
		{"save", "--platform", "linux/amd64", "-o", filepath.Join(dir, "none.tar"), source},
		{"inspect", "--platform", "linux/amd64", path},
	} {
		_, errOut, status := command(t, args...)
		assert.Equal(t, exitFailure, status)
		assert.Contains(t, errOut, "there is no image for linux/amd64, only for linux/arm64/v8")
	}
	succeeds(t, "copy", "--platform", "linux/arm64", source, "dir:"+filepath.Join(dir, "chosen"))
}

func TestAllOfPartialArchive(t *testing.T) {
	path := filepath.Join(t.TempDir(), "saved.tar")
	args := []string{"save", "--all-platforms", "-o", path, "docker-archive:" + cases + "partial-arm64.tar"}
	_, errOut, status := command(t, args...)
	assert.Equal(t, exitFailure, status)
	assert.Contains(t, errOut, "sha256:291aaf079eabf94ccf906994a72b695dc8292a50fe717ea75d07a67c0e534c81")
	assert.Contains(t, errOut, "--skip-missing")
	_, errOut = succeeds(t, append(args, "--skip-missing")...)
	assert.Contains(t, errOut, "has not got all")
	succeeds(t, "verify", path)
	out, _ := succeeds(t, "inspect", "--raw", path)
	assert.Equal(t, partialIndex, "sha256:"+imagetest.Sum([]byte(out)))
	_, _, status = command(t, "copy", "--all", "docker-archive:"+path, "image-archive:"+path+".2")
	assert.Equal(t, exitFailure, status)
}

// Flags do what their help says.
func TestPromises(t *testing.T) {
	dir := t.TempDir()
	_, errOut, status := command(t, "copy", "--preserve-digests", images+"one", "docker-archive:"+filepath.Join(dir, "preserved"))
	assert.Equal(t, exitFailure, status)
	assert.Contains(t, errOut, "digests cannot be preserved")
	succeeds(t, "copy", "--preserve-digests", "--digestfile", filepath.Join(dir, "digest"), images+"one", "image-archive:"+filepath.Join(dir, "copied"))
	assert.Equal(t, oneDigest, string(imagetest.ReadFile(t, filepath.Join(dir, "digest"))))

	_, errOut, status = command(t, "save", "--platform", "linux/arm64", "-o", filepath.Join(dir, "saved"), images+"one")
	assert.Equal(t, exitFailure, status)
	assert.Contains(t, errOut, "it is linux/amd64")
	succeeds(t, "save", "--platform", "linux/arm64", "--any-platform", "-o", filepath.Join(dir, "saved"), images+"one")
	succeeds(t, "save", "--platform", "linux/amd64", "-o", filepath.Join(dir, "amd64"), images+"one")

	succeeds(t, "save", "--all-platforms", "-o", filepath.Join(dir, "all"), images+"multi")
	succeeds(t, "save", "--platform", "linux/amd64,linux/arm64", "-o", filepath.Join(dir, "each"), images+"multi")
	all, _ := succeeds(t, "inspect", "--raw", filepath.Join(dir, "all"))
	each, _ := succeeds(t, "inspect", "--raw", filepath.Join(dir, "each"))
	assert.Equal(t, all, each, "an index that is wanted whole is the original")
}

// without returns a copy of an archive without one entry.
func without(t *testing.T, path, entry string) string {
	t.Helper()
	files, names := imagetest.Files(t, imagetest.ReadFile(t, path))
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, name := range names {
		if data, ok := files[name]; ok && !strings.HasSuffix(name, entry) {
			require.NoError(t, w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(data))}))
			_, err := w.Write(data)
			require.NoError(t, err)
		}
	}
	require.NoError(t, w.Close())
	return imagetest.WriteFile(t, b.Bytes())
}

// A layer that has URLs is taken from the image's source. If the source lacks it, it
// stays at its URLs.
func TestLayersElsewhere(t *testing.T) {
	const layer = "80c4c44272206a37adb650c85ff891483dff4b9ad7ca56d548f5503324b0b2c8"
	present := cases + "nondistributable-present.tar"
	absent := without(t, present, layer)
	saved := func(layout, source string) (string, []string) {
		path := filepath.Join(t.TempDir(), "saved.tar")
		return path, []string{"save", "--platform", "windows/amd64", "--layout", layout, "-o", path, "docker-archive:" + source}
	}
	copied := func(layout, source string) (string, []string) {
		path := filepath.Join(t.TempDir(), "copied.tar")
		return path, []string{"copy", "--override-os", "windows", "docker-archive:" + source, map[string]string{"image": "image-archive:", "docker": "docker-archive:"}[layout] + path}
	}
	for _, make := range []func(layout, source string) (string, []string){saved, copied} {
		for _, layout := range []string{"image", "docker"} {
			path, args := make(layout, present)
			succeeds(t, args...)
			succeeds(t, "verify", path)
			_, ids := layers(t, path)
			assert.Len(t, ids, 2)
		}
		path, args := make("image", absent)
		succeeds(t, args...)
		out, _ := succeeds(t, "verify", path)
		assert.Contains(t, out, "kept elsewhere")
		files, _ := imagetest.Files(t, imagetest.ReadFile(t, path))
		assert.NotContains(t, files, "blobs/sha256/"+layer)
		assert.Contains(t, string(files["manifest.json"]), `"LayerSources":{"sha256:43eb5631e70627864954ef8dbf375519b6bc6e57025c1ca004b14b4a4bd6f1b6":`)
		raw, _ := succeeds(t, "inspect", "--raw", path)
		assert.Contains(t, raw, "http://127.0.0.1:1/none")
		_, args = make("docker", absent)
		_, errOut, status := command(t, args...)
		assert.Equal(t, exitFailure, status)
		assert.Contains(t, errOut, "http://127.0.0.1:1/none")
	}

	// For a directory, containers/image would ask the URL first.
	dir := t.TempDir()
	succeeds(t, "copy", "--override-os", "windows", "docker-archive:"+present, "oci:"+dir+":x")
	archived, _ := imagetest.Files(t, imagetest.ReadFile(t, present))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "blobs", "sha256", layer), archived["./blobs/sha256/"+layer], 0o600)) // It leaves that out.
	for _, args := range [][]string{
		{"copy", "--override-os", "windows", "oci:" + dir + ":x", "image-archive:" + filepath.Join(dir, "copied.tar")},
		{"save", "-o", filepath.Join(dir, "saved.tar"), "oci:" + dir + ":x"},
	} {
		succeeds(t, args...)
	}
	for _, path := range []string{"copied.tar", "saved.tar"} {
		_, names := imagetest.Files(t, imagetest.ReadFile(t, filepath.Join(dir, path)))
		assert.Contains(t, names, "blobs/sha256/"+layer)
	}
}
