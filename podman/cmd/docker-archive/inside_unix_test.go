//go:build unix

package main

import (
	"archive/tar"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/podman/internal/imagetest"
)

// tarEntry is an entry of a layer, and its content.
type tarEntry struct {
	tar.Header
	content string
}

func regularFile(name, content string) tarEntry {
	return tarEntry{tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644}, content}
}

func linkTo(name, target string) tarEntry {
	return tarEntry{tar.Header{Name: name, Typeflag: tar.TypeSymlink, Linkname: target, Mode: 0o777}, ""}
}

// layerTar returns the tar of a layer.
func layerTar(t *testing.T, entries ...tarEntry) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		e.Size = int64(len(e.content))
		if e.ModTime.IsZero() {
			e.ModTime = time.Unix(1e9, 0)
		}
		require.NoError(t, w.WriteHeader(&e.Header))
		_, err := io.WriteString(w, e.content)
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	return b.Bytes()
}

// savedImage returns an archive with an image of layers, as docker save wrote it.
func savedImage(t *testing.T, config map[string]any, layers ...[]byte) string {
	t.Helper()
	var ids, names []string
	var entries []tarEntry
	for i, l := range layers {
		ids, names = append(ids, "sha256:"+imagetest.Sum(l)), append(names, fmt.Sprintf("%d/layer.tar", i))
		entries = append(entries, regularFile(names[i], string(l)))
	}
	all := map[string]any{"os": "linux", "architecture": "amd64", "rootfs": map[string]any{"type": "layers", "diff_ids": ids}}
	for k, v := range config {
		all[k] = v
	}
	data := inJSON(t, all)
	name := imagetest.Sum([]byte(data)) + ".json"
	entries = append(entries, regularFile(name, data), regularFile("manifest.json", inJSON(t, []map[string]any{{"Config": name, "RepoTags": []string{"app:1"}, "Layers": names}})))
	return imagetest.WriteFile(t, layerTar(t, entries...))
}

// twoLayers is an image whose upper layer hides a part of the lower.
func twoLayers(t *testing.T) string {
	lower := layerTar(t,
		tarEntry{tar.Header{Name: "etc/", Typeflag: tar.TypeDir, Mode: 0o755}, ""}, regularFile("etc/os-release", "ID=old\n"), regularFile("etc/gone", strings.Repeat("x", 100)),
		tarEntry{tar.Header{Name: "bin/su", Typeflag: tar.TypeReg, Mode: 0o4755, Uid: 0, Gid: 3}, "su"}, linkTo("etc/link", "/bin/su"), linkTo("out", "../../../../../../etc/passwd"),
		tarEntry{tar.Header{Name: "null", Typeflag: tar.TypeChar, Mode: 0o666, Devmajor: 1, Devminor: 3}, ""})
	upper := layerTar(t, regularFile("etc/.wh.gone", ""), regularFile("etc/os-release", "ID=new\n"), regularFile("bad\xff\x1bname", "1"))
	return savedImage(t, map[string]any{"history": []map[string]any{{"created_by": "ADD rootfs /"}, {"created_by": "ENV x", "empty_layer": true}, {"created_by": "RUN rm gone"}}}, lower, upper)
}

func TestFiles(t *testing.T) {
	path := twoLayers(t)
	out, _ := succeeds(t, "files", path)
	assert.Equal(t, "/bad\\xff\\x1bname\n/bin/\n/bin/su\n/etc/\n/etc/link\n/etc/os-release\n/null\n/out\n", out)
	out, _ = succeeds(t, "files", "-l", "--layers", path, "/etc")
	assert.Equal(t, "  0 lrwxrwxrwx     0     0          0 2001-09-09 01:46 /etc/link -> /bin/su\n  1 -rw-r--r--     0     0          7 2001-09-09 01:46 /etc/os-release\n", out)
	out, _ = succeeds(t, "files", "-l", "docker-archive:"+path, "null")
	assert.Equal(t, "crw-rw-rw-     0     0       1, 3 2001-09-09 01:46 /null\n", out)
	out, _ = succeeds(t, "files", "-l", path, "/etc/link")
	assert.Equal(t, "-rwsr-xr-x     0     3          2 2001-09-09 01:46 /bin/su\n", out)
	out, _ = succeeds(t, "files", "--depth", "1", "--sort", "size", path)
	assert.Equal(t, "/bad\\xff\\x1bname\n/bin/\n/etc/\n/null\n/out\n", out)
	out, _ = succeeds(t, "files", "--layer", "1", path)
	assert.Equal(t, "/etc/.wh.gone\n/etc/os-release\n/bad\\xff\\x1bname\n", out)
	out, _ = succeeds(t, "files", "--json", path)
	var all []fileJSON
	require.NoError(t, json.Unmarshal([]byte(out), &all))
	require.Len(t, all, 8)
	name, err := base64.StdEncoding.DecodeString(all[0].PathBytes)
	require.NoError(t, err)
	assert.Equal(t, "/bad\xff\x1bname", string(name))
	assert.Equal(t, "/bad\ufffd\x1bname", all[0].Path)
	assert.Equal(t, []int64{1, 3}, all[6].Device)
	assert.NotEmpty(t, all[0].LayerDigest)
	for _, args := range [][]string{{path, "/none"}, {"--layer", "7", path}, {"--layer", "sha256:0", path}, {path + ":none"}, {"--platform", "linux/s390x", path}} {
		_, errOut, status := command(t, append([]string{"files"}, args...)...)
		assert.Equal(t, exitFailure, status, errOut)
	}
	for _, args := range [][]string{{}, {path, "a", "b"}, {"--sort", "time", path}, {"--depth", "-1", path}} {
		_, errOut, status := command(t, append([]string{"files"}, args...)...)
		assert.Equal(t, exitUsage, status, errOut)
	}
}

func TestCat(t *testing.T) {
	path := twoLayers(t)
	out, _ := succeeds(t, "cat", path, "/etc/os-release", "etc/link", "bad\xff\x1bname")
	assert.Equal(t, "ID=new\nsu1", out)
	out, _ = succeeds(t, "cat", "--json", path, "/etc/os-release")
	var all []fileJSON
	require.NoError(t, json.Unmarshal([]byte(out), &all))
	assert.Equal(t, base64.StdEncoding.EncodeToString([]byte("ID=new\n")), *all[0].ContentBytes)
	for _, name := range []string{"/etc", "/null", "/out", "/etc/gone", "/etc/os-release/x"} {
		out, errOut, status := command(t, "cat", path, "/etc/os-release", name)
		assert.Equal(t, exitFailure, status, name)
		assert.Empty(t, out)
		assert.NotEmpty(t, errOut)
	}
}

func TestExport(t *testing.T) {
	path := twoLayers(t)
	dir := t.TempDir()
	again := filepath.Join(dir, "oci.tar")
	succeeds(t, "copy", "-q", "docker-archive:"+path, "oci-archive:"+again)
	first, _ := succeeds(t, "export", "-o", "-", path)
	second, _ := succeeds(t, "export", "-o", "-", "oci-archive:"+again)
	assert.Equal(t, first, second)
	file := filepath.Join(dir, "etc.tar")
	out, _ := succeeds(t, "export", "--json", "--path", "etc", "-o", file, path)
	var result exportJSON
	require.NoError(t, json.Unmarshal([]byte(out), &result))
	data := imagetest.ReadFile(t, file)
	assert.EqualValues(t, len(data), result.Size)
	assert.Equal(t, imagetest.Sum(data), result.SHA256)
	var names []string
	for r := tar.NewReader(bytes.NewReader(data)); ; {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		require.NoError(t, err)
		names = append(names, h.Name)
	}
	assert.Equal(t, []string{"etc/os-release", "etc/", "etc/link"}, names)
	_, errOut, status := command(t, "export", "-o", file, path)
	assert.Equal(t, exitFailure, status, "it is there")
	assert.Contains(t, errOut, "--force")
	assert.Equal(t, data, imagetest.ReadFile(t, file))
	succeeds(t, "export", "--force", "-o", file, path)
	assert.Equal(t, first, string(imagetest.ReadFile(t, file)))
	toStdout, _ := succeeds(t, "export", path)
	assert.Equal(t, first, toStdout, "as docker export has it")

	damaged := bytes.Replace(imagetest.ReadFile(t, path), []byte("ID=new"), []byte("ID=bad"), 1)
	for _, name := range []string{filepath.Join(dir, "bad.tar"), file} {
		_, errOut, status = command(t, "export", "--force", "-o", name, imagetest.WriteFile(t, damaged))
		assert.Equal(t, exitFailure, status)
		assert.Contains(t, errOut, "damaged")
	}
	assert.NoFileExists(t, filepath.Join(dir, "bad.tar"))
	assert.Equal(t, first, string(imagetest.ReadFile(t, file)), "the old one")
}

// Only compressed layers are verified before cat prints a file of them.
func TestCatOfADamagedLayer(t *testing.T) {
	layer := layerTar(t, regularFile("etc/os-release", "ID=new\n"))
	damaged := bytes.Replace(layer, []byte("ID=new"), []byte("ID=bad"), 1)
	config := map[string]any{"rootfs": map[string]any{"type": "layers", "diff_ids": []string{"sha256:" + imagetest.Sum(layer)}}}
	out, _ := succeeds(t, "cat", savedImage(t, config, damaged), "/etc/os-release")
	assert.Equal(t, "ID=bad\n", out)
	out, errOut, status := command(t, "cat", savedImage(t, config, imagetest.Gzipped(damaged)), "/etc/os-release")
	assert.Empty(t, out)
	assert.Contains(t, errOut, "its content is damaged")
	assert.Equal(t, exitFailure, status)
}

// A layer that has a path twice makes export take back what it has written.
func TestExportTakesBack(t *testing.T) {
	path := savedImage(t, nil, layerTar(t, regularFile("a", strings.Repeat("old", 100_000)), regularFile("b", "b"), regularFile("a", "new")), layerTar(t, regularFile("c", "c")))
	want, _ := succeeds(t, "export", "-o", "-", path)
	file := filepath.Join(t.TempDir(), "out.tar")
	out, _ := succeeds(t, "export", "--json", "-o", file, path)
	var result exportJSON
	require.NoError(t, json.Unmarshal([]byte(out), &result))
	assert.Equal(t, want, string(imagetest.ReadFile(t, file)))
	assert.Equal(t, imagetest.Sum([]byte(want)), result.SHA256)
	assert.EqualValues(t, len(want), result.Size)
	assert.NotContains(t, want, "old")
}

func TestLayers(t *testing.T) {
	path := twoLayers(t)
	out, _ := succeeds(t, "layers", path)
	assert.Contains(t, out, "RUN rm gone")
	assert.Contains(t, out, "visible: 10B of 117B (8.5 %)\n")
	out, _ = succeeds(t, "layers", "--json", path)
	var result layersJSON
	require.NoError(t, json.Unmarshal([]byte(out), &result))
	assert.Equal(t, [][4]int64{{8, 0, 0, 107}, {1, 1, 1, 0}}, [][4]int64{
		{int64(result.Layers[0].Added), int64(result.Layers[0].Changed), int64(result.Layers[0].Removed), result.Layers[0].Hidden},
		{int64(result.Layers[1].Added), int64(result.Layers[1].Changed), int64(result.Layers[1].Removed), result.Layers[1].Hidden},
	})
	succeeds(t, "layers", "--min-efficiency", "8%", path)
	_, errOut, status := command(t, "layers", "--min-efficiency", "0.9", path)
	assert.Equal(t, exitFailure, status)
	assert.Contains(t, errOut, "less than 0.9")
	_, _, status = command(t, "layers", "--min-efficiency", "90", path)
	assert.Equal(t, exitUsage, status)
}

// A config that claims the layers of another image hides no content that differs.
func TestDiffBelievesNoDiffID(t *testing.T) {
	for name, pack := range map[string]func([]byte) []byte{"plain": func(b []byte) []byte { return b }, "gzip": imagetest.Gzipped} {
		t.Run(name, func(t *testing.T) {
			was, is := layerTar(t, regularFile("a", "old")), layerTar(t, regularFile("a", "new"))
			claim := map[string]any{"rootfs": map[string]any{"type": "layers", "diff_ids": []string{"sha256:" + imagetest.Sum(was)}}}
			out, errOut, status := command(t, "diff", savedImage(t, claim, pack(was)), savedImage(t, claim, pack(is)))
			assert.NotEqual(t, 0, status, errOut)
			if errOut == "" { // Else the layer is found to be another one.
				assert.Contains(t, out, "C /a (content)\n")
			}
		})
	}
}

func TestDiff(t *testing.T) {
	path := twoLayers(t)
	dir := t.TempDir()
	again := filepath.Join(dir, "again.tar")
	succeeds(t, "copy", "-q", "docker-archive:"+path, "image-archive:"+again)
	out, _ := succeeds(t, "diff", path, again)
	assert.Empty(t, out)

	late := regularFile("a", "1")
	late.ModTime = time.Unix(2e9, 0)
	one := savedImage(t, map[string]any{"created": "2020-01-01T00:00:00Z"}, layerTar(t, regularFile("a", "1")))
	two := savedImage(t, map[string]any{"created": "2024-01-01T00:00:00Z"}, layerTar(t, late))
	out, _ = succeeds(t, "diff", one, two)
	assert.Equal(t, "layers: 0 in both, 1 only in A, 1 only in B: times or order only\n", out)
	out, errOut, status := command(t, "diff", "--times", one, two)
	assert.Equal(t, 1, status, errOut)
	assert.Contains(t, out, "C /a (time)\n")
	assert.Contains(t, out, "config created: ")

	three := savedImage(t, map[string]any{"config": map[string]any{"Env": []string{"A=\x1b[31m"}}},
		layerTar(t, regularFile("a", "2"), regularFile("new", "22"), tarEntry{tar.Header{Name: "m", Typeflag: tar.TypeReg, Mode: 0o600, Uid: 5}, ""}))
	four := savedImage(t, nil, layerTar(t, regularFile("a", "1"), regularFile("old", ""), regularFile("m", "")))
	out, _, status = command(t, "diff", four, three)
	assert.Equal(t, 1, status)
	assert.Equal(t, "config config.Env: none → [\"A=\\u001b[31m\"]\nlayers: 0 in both, 1 only in A, 1 only in B\nC /a (content)\nC /m (mode, owner)\nA /new\nD /old\n", out)
	out, _, status = command(t, "diff", "--stat", four, three)
	assert.Equal(t, 1, status)
	assert.Contains(t, out, "files: 1 added (2 bytes), 1 removed (0 bytes), 2 changed (1 bytes)\n")
	out, _, status = command(t, "diff", "--json", four, three)
	assert.Equal(t, 1, status)
	var result diffJSON
	require.NoError(t, json.Unmarshal([]byte(out), &result))
	require.Len(t, result.Files, 4)
	assert.Equal(t, []string{"content"}, result.Files[0].Of)
	assert.False(t, result.Same)
	out, _, status = command(t, "diff", "-q", four, three)
	assert.Equal(t, 1, status)
	assert.Empty(t, out)

	for _, args := range [][]string{{path, filepath.Join(dir, "none.tar")}, {path}, {path + ":none", path}} {
		_, errOut, status := command(t, append([]string{"diff"}, args...)...)
		assert.Equal(t, 2, status)
		assert.NotEmpty(t, errOut)
	}
}

// Every command names all the layers that an archive was saved without.
func TestInsideOfDelta(t *testing.T) {
	dir := t.TempDir()
	old, delta := filepath.Join(dir, "old.tar"), filepath.Join(dir, "delta.tar")
	succeeds(t, "save", "-q", "-o", old, "oci:"+testdata(t, "oci")+":one")
	succeeds(t, "save", "-q", "--without", old, "-o", delta, "--name", "x", "oci:"+testdata(t, "oci")+":one")
	for command_, args := range map[string][]string{
		"files": {delta}, "cat": {delta, "/bin/tool"}, "export": {"-o", filepath.Join(dir, "x.tar"), delta}, "extract": {delta, filepath.Join(dir, "x")},
		"layers": {delta}, "diff": {delta, old},
	} {
		_, errOut, status := command(t, append([]string{command_}, args...)...)
		assert.NotZero(t, status, command_)
		assert.Contains(t, errOut, "is in old.tar", command_)
		assert.Equal(t, 3, strings.Count(errOut, "sha256:"), "%s: %s", command_, errOut)
	}
	assert.NoFileExists(t, filepath.Join(dir, "x.tar"))
	assert.NoDirExists(t, filepath.Join(dir, "x"))
}

// An image of any transport is the same as in an archive.
func TestInsideOfOtherTransports(t *testing.T) {
	reg := imagetest.NewRegistry(t)
	img := imagetest.NewImage(t, "app", imagetest.Gzip(1, 3000), imagetest.Zstd(2, 3000))
	reg.Push(t, "app:1", img)
	dir := t.TempDir()
	name := reg.Address + "/app:1"
	path := filepath.Join(dir, "app.tar")
	succeeds(t, "save", "-q", "--tls-verify=false", "-o", path, name)
	want, _ := succeeds(t, "files", "-l", "--layers", path)
	for _, other := range []string{name, "docker://" + name} {
		got, _ := succeeds(t, "files", "--tls-verify=false", "-l", "--layers", other)
		assert.Equal(t, want, got)
	}
	succeeds(t, "copy", "-q", "docker-archive:"+path, "dir:"+filepath.Join(dir, "dir"))
	got, _ := succeeds(t, "files", "-l", "--layers", "dir:"+filepath.Join(dir, "dir"))
	assert.Equal(t, want, got)
	out, _ := succeeds(t, "diff", "--tls-verify=false", name, path)
	assert.Empty(t, out)
	_, err := os.Stat(path)
	require.NoError(t, err)
}
