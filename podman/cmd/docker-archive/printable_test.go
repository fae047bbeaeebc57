package main

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	dockerarchive "github.com/dockerarchive/dockerarchive/podman"
	"github.com/dockerarchive/dockerarchive/podman/internal/imagetest"
)

// hostile sets a title, begins a line, uses C1 controls and turns text around.
const hostile = "\x1b]0;owned\a\nfaked\t\r\x7f\u0085\u009b31m\u202e\u2066"

// clean fails for non-printing characters, except line feeds.
func clean(t *testing.T, what, text string) {
	t.Helper()
	for _, line := range strings.Split(text, "\n") {
		assert.NotRegexp(t, `[\x00-\x1f\x7f-\x{9f}\x{202a}-\x{202e}\x{2066}-\x{2069}]`, line, what)
		assert.False(t, strings.HasPrefix(line, "faked"), "%s: a line is faked: %s", what, text)
	}
}

func hostileArchive(t *testing.T, files ...[2]string) string {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range files {
		require.NoError(t, w.WriteHeader(&tar.Header{Name: f[0], Mode: 0o644, Size: int64(len(f[1]))}))
		_, err := w.Write([]byte(f[1]))
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	return imagetest.WriteFile(t, b.Bytes())
}

func inJSON(t *testing.T, v any) string {
	t.Helper()
	data, err := json.Marshal(v)
	require.NoError(t, err)
	return string(data)
}

// hostileArchives returns archives that have hostile strings wherever they take one.
func hostileArchives(t *testing.T) map[string]string {
	layer := imagetest.Plain(1, 100)
	config := inJSON(t, map[string]any{
		"os": "linux" + hostile, "architecture": "amd64" + hostile, "author": hostile,
		"config": map[string]any{"Labels": map[string]string{hostile: hostile}, "Env": []string{"A=" + hostile}},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{layer.DiffID().String()}},
	})
	item := func(config, tag, layer string) [2]string {
		return [2]string{"manifest.json", inJSON(t, []map[string]any{{"Config": config, "RepoTags": []string{tag}, "Layers": []string{layer}}})}
	}
	blob := func(data string) [2]string { return [2]string{"blobs/sha256/" + imagetest.Sum([]byte(data)), data} }
	descriptor := func(mediaType, data string) map[string]any {
		return map[string]any{"mediaType": mediaType, "digest": "sha256:" + imagetest.Sum([]byte(data)), "size": len(data)}
	}
	manifest := inJSON(t, map[string]any{
		"schemaVersion": 2, "mediaType": imgspecv1.MediaTypeImageManifest,
		"config": descriptor(imgspecv1.MediaTypeImageConfig, config),
		"layers": []any{descriptor(imgspecv1.MediaTypeImageLayer, string(layer.Blob))},
	})
	image := descriptor(imgspecv1.MediaTypeImageManifest, manifest)
	image["platform"] = map[string]string{"os": "linux" + hostile, "architecture": "s390x" + hostile}
	list := inJSON(t, map[string]any{"schemaVersion": 2, "mediaType": imgspecv1.MediaTypeImageIndex, "manifests": []any{image}})
	index := descriptor(imgspecv1.MediaTypeImageIndex, list)
	index["annotations"] = map[string]string{imgspecv1.AnnotationRefName: "ref" + hostile}
	bad := descriptor(imgspecv1.MediaTypeImageManifest, manifest)
	bad["digest"] = "sha256:" + hostile
	top := func(d any) [2]string {
		return [2]string{"index.json", inJSON(t, map[string]any{"schemaVersion": 2, "manifests": []any{d}})}
	}
	layout := [2]string{"oci-layout", `{"imageLayoutVersion":"1.0.0"}`}
	name, tarName := "config"+hostile, "layer"+hostile
	return map[string]string{
		"docker":     hostileArchive(t, [2]string{tarName, string(layer.Blob)}, [2]string{name, config}, item(name, "tag"+hostile, tarName)),
		"incomplete": hostileArchive(t, [2]string{name, config}, item(name, "tag"+hostile, tarName)),
		"no config":  hostileArchive(t, [2]string{tarName, string(layer.Blob)}, item(name, "tag"+hostile, tarName)),
		"bad config": hostileArchive(t, [2]string{name, "{" + hostile}, item(name, "tag"+hostile, tarName)),
		"oci":        hostileArchive(t, layout, blob(string(layer.Blob)), blob(config), blob(manifest), blob(list), top(index)),
		"bad digest": hostileArchive(t, layout, blob(manifest), top(bad)),
		"none":       hostileArchive(t, [2]string{hostile, hostile}),
	}
}

// commandsFor returns every command that reads an archive.
func commandsFor(t *testing.T, path string) [][]string {
	dir := t.TempDir()
	source := "docker-archive:" + path
	return [][]string{
		{"list", path}, {"list", "--json", path}, {"verify", path},
		{"inspect", path}, {"inspect", "--config", path}, {"inspect", path + ":no" + hostile}, {"inspect", path + ":@7"},
		{"inspect", "--platform", "linux/none", path},
		{"copy", "--debug", source, "dir:" + filepath.Join(dir, "1")}, {"copy", "--all", source, "dir:" + filepath.Join(dir, "2")},
		{"copy", "--all", source, "image-archive:" + filepath.Join(dir, "3")}, {"copy", source, "docker-archive:" + filepath.Join(dir, "4")},
		{"copy", source + ":" + hostile, "dir:" + filepath.Join(dir, "5")}, {"copy", "--platform", "linux/none", source, "dir:" + filepath.Join(dir, "6")},
		{"save", "-o", filepath.Join(dir, "7"), source}, {"save", "--dry-run", source},
		{"save", "--all-platforms", "-o", filepath.Join(dir, "8"), source}, {"save", "--keep-going", "--layout", "docker", "-o", filepath.Join(dir, "9"), source},
		{"files", path}, {"files", "-l", "--layers", path}, {"files", "--json", path}, {"files", "--layer", "0", path}, {"cat", path, "file" + hostile},
		{"layers", path}, {"layers", "--json", path}, {"export", "-o", filepath.Join(dir, "10"), path}, {"extract", path, filepath.Join(dir, "11")},
		{"diff", path, path}, {"diff", path, dir}, {"diff", "--json", dir, path}, {"files", path + ":no" + hostile}, {"files", path, "no" + hostile},
		{"list", path + hostile}, {"list", "--" + hostile}, {hostile},
	}
}

// Nothing from an archive or the command line reaches a terminal unescaped.
func TestOnlyWhatPrintsIsShown(t *testing.T) {
	for name, path := range hostileArchives(t) {
		for _, args := range commandsFor(t, path) {
			what := fmt.Sprintf("%s: %q", name, args)
			out, errOut, _ := command(t, args...)
			clean(t, what+" stdout", out)
			clean(t, what+" stderr", errOut)
		}
	}
}

func TestOneLineForAnImage(t *testing.T) {
	all := hostileArchives(t)
	out, _ := succeeds(t, "list", all["docker"])
	assert.Equal(t, 2, strings.Count(out, "\n"), out)
	assert.Contains(t, out, `tag\x1b]0;owned\a\nfaked\t\r\x7f\u0085\u009b31m\u202e\u2066`)
	out, _ = succeeds(t, "list", "--json", all["docker"])
	var infos []dockerarchive.ImageInfo
	require.NoError(t, json.Unmarshal([]byte(out), &infos))
	require.Len(t, infos, 1)
	assert.Equal(t, []string{"tag" + hostile}, infos[0].Names, "the same value")
	out, _ = succeeds(t, "inspect", "--format", "{{index .Env 0}}", all["docker"])
	assert.Equal(t, "A="+hostile+"\n", out, "scripts get it as it is")
	_, errOut, status := command(t, "inspect", "--platform", "linux/none", all["oci"])
	assert.Equal(t, exitFailure, status)
	assert.Contains(t, errOut, `there is no image for linux/none, only for linux\x1b]0;owned`)
}
