//go:build unix

package main

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/podman/internal/imagetest"
)

// A tar whose names lead out of the image lands inside, as in docker and podman, for every
// destination, and a message says so.
func TestMakePutsFilesInside(t *testing.T) {
	dir := t.TempDir()
	layer := filepath.Join(dir, "layer.tar")
	data := layerTar(t, regularFile("../../x", "1"), regularFile("a/../../b/y", "2"), tarEntry{tar.Header{Name: "z", Typeflag: tar.TypeLink, Linkname: "../b/y"}, ""})
	const said = `docker-archive: layer %s: 3 names lead out of the image, the first is "../../x"; their files are put inside`
	for name, blob := range map[string][]byte{"plain": data, "gzip": imagetest.Gzipped(data)} {
		require.NoError(t, os.WriteFile(layer, blob, 0o600))
		for _, args := range [][]string{{}, {"--layout", "docker"}, {"--squash"}, {"--chown", "5:6"}} {
			path := filepath.Join(t.TempDir(), "made.tar")
			_, stderr, status := runMake(t, nil, append(args, "--layer", layer, "-o", path)...)
			require.Zero(t, status, stderr)
			assert.Contains(t, stderr, fmt.Sprintf(said, layer), "%s %q", name, args)
			succeeds(t, "verify", path)
			for file, want := range map[string]string{"/x": "1", "/b/y": "2", "/z": "2"} {
				got, _ := succeeds(t, "cat", path, file)
				assert.Equal(t, want, got, "%s %s %q", file, name, args)
			}
		}
		layout := "oci:" + filepath.Join(t.TempDir(), "layout") + ":x"
		_, stderr, status := runMake(t, nil, "--layer", layer, layout)
		require.Zero(t, status, stderr)
		assert.Contains(t, stderr, fmt.Sprintf(said, layer))
		_, stderr, status = runMake(t, bytes.NewReader(blob), "--layer", "-", "-o", filepath.Join(dir, name+"-stdin.tar"))
		require.Zero(t, status, stderr)
		assert.Contains(t, stderr, fmt.Sprintf(said, "standard input"))
		got, _ := succeeds(t, "cat", filepath.Join(dir, name+"-stdin.tar"), "/z")
		assert.Equal(t, "2", got)
	}
	plain := filepath.Join(dir, "plain.tar")
	require.NoError(t, os.WriteFile(plain, layerTar(t, regularFile("x", "1")), 0o600))
	_, stderr, _ := runMake(t, nil, "--layer", plain, "-o", filepath.Join(dir, "quiet.tar"))
	assert.NotContains(t, stderr, "put inside")
}

// Docker and podman refuse a hard link to a file of a lower layer, so a message says so.
func TestMakeWarnsOfHardLinksToTheBase(t *testing.T) {
	dir := t.TempDir()
	layer := filepath.Join(dir, "layer.tar")
	require.NoError(t, os.WriteFile(layer, layerTar(t, tarEntry{tar.Header{Name: "again", Typeflag: tar.TypeLink, Linkname: "usr/lib/x"}, ""}), 0o600))
	base := filepath.Join(dir, "base.tar")
	_, stderr, status := runMake(t, nil, "--add", filepath.Join(sourceFiles(t), "single")+":/usr/lib/x", "-o", base)
	require.Zero(t, status, stderr)
	_, stderr, status = runMake(t, nil, "--base", "image-archive:"+base, "--layer", layer, "-o", filepath.Join(dir, "made.tar"))
	require.Zero(t, status, stderr)
	assert.Contains(t, stderr, `"again" is a hard link to "usr/lib/x", which is not in the layer itself: docker and podman refuse that`)
	_, stderr, status = runMake(t, nil, "--base", "image-archive:"+base, "--layer", layer, "--squash", "-o", filepath.Join(dir, "squashed.tar"))
	require.Zero(t, status, stderr)
	assert.NotContains(t, stderr, "hard link")
}

// A base of Docker's schema 1 is converted, as copy does.
func TestMakeOnSchema1(t *testing.T) {
	dir := t.TempDir()
	lower := imagetest.Gzipped(layerTar(t, regularFile("a", "1"), regularFile("b", "2")))
	upper := imagetest.Gzipped(layerTar(t, regularFile("b", "3")))
	one := strings.Repeat("1", 64)
	two := strings.Repeat("2", 64)
	three := strings.Repeat("3", 64)
	history := []map[string]string{
		{"v1Compatibility": `{"id":"` + three + `","parent":"` + two + `","created":"2015-11-25T00:00:02Z","os":"linux","architecture":"amd64","config":{"Cmd":["/a"],"Env":["A=1"],"Healthcheck":{"Test":["CMD","x"]}},"container_config":{"Cmd":["add","b"]}}`},
		{"v1Compatibility": `{"id":"` + two + `","parent":"` + one + `","created":"2015-11-25T00:00:01Z","throwaway":true,"container_config":{"Cmd":["cmd"]}}`},
		{"v1Compatibility": `{"id":"` + one + `","created":"2015-11-25T00:00:00Z","container_config":{"Cmd":["add","a"]}}`},
	}
	sum := func(blob []byte) map[string]string {
		return map[string]string{"blobSum": "sha256:" + imagetest.Sum(blob)}
	}
	manifest := map[string]any{
		"schemaVersion": 1, "name": "library/old", "tag": "1", "architecture": "amd64", "history": history,
		"fsLayers": []map[string]string{sum(upper), sum(lower), sum(lower)},
	}
	require.NoError(t, os.WriteFile(filepath.Join(dir, "manifest.json"), []byte(inJSON(t, manifest)), 0o600))
	for _, blob := range [][]byte{lower, upper} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, imagetest.Sum(blob)), blob, 0o600))
	}

	got := makes(t, "--base", "dir:"+dir, "--label", "a=b")
	require.Len(t, got.Layers, 2)
	assert.Equal(t, "sha256:"+imagetest.Sum(lower), got.Layers[0].Digest.String(), "layers stay as they are")
	assert.Equal(t, "sha256:"+imagetest.Sum(upper), got.Layers[1].Digest.String())
	assert.Equal(t, map[string]any{"a": "b"}, got.run["Labels"])
	assert.Equal(t, []any{"/a"}, got.run["Cmd"])
	assert.Contains(t, got.run, "Healthcheck")
	assert.Len(t, got.config["history"], 4)
	assert.NotContains(t, got.Annotations, "org.opencontainers.image.base.digest", "nobody else has that manifest")

	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch _, name, _ := strings.Cut(r.URL.Path, "/v2/library/old/"); {
		case name == "manifests/1":
			w.Header().Set("Content-Type", "application/vnd.docker.distribution.manifest.v1+json")
			http.ServeFile(w, r, filepath.Join(dir, "manifest.json"))
		case strings.HasPrefix(name, "blobs/sha256:"):
			http.ServeFile(w, r, filepath.Join(dir, strings.TrimPrefix(name, "blobs/sha256:")))
		case name != "":
			http.NotFound(w, r)
		}
	}))
	defer server.Close()
	fetched := makes(t, "--base", "docker://"+strings.TrimPrefix(server.URL, "http://")+"/library/old:1", "--label", "a=b")
	assert.Equal(t, got.Layers, fetched.Layers, "from a registry")
	assert.Equal(t, got.run, fetched.run)

	_, contents := makes(t, "--base", "dir:"+dir, "--remove", "/a", "--squash").layer(t, 0)
	assert.Equal(t, map[string]string{"b": "3"}, contents)

	require.NoError(t, os.WriteFile(filepath.Join(dir, imagetest.Sum(upper)), lower, 0o600))
	_, stderr, status := runMake(t, nil, "--base", "dir:"+dir, "-o", filepath.Join(t.TempDir(), "made.tar"))
	assert.Equal(t, exitFailure, status)
	assert.Contains(t, stderr, "converting Docker's schema 1: layer sha256:"+imagetest.Sum(upper)+": its content is damaged")
}

// inspect --config shows the config as it is, with fields that only Docker knows.
func TestInspectShowsTheWholeConfig(t *testing.T) {
	path := cases + "healthcheck-oci.tar"
	raw, _ := succeeds(t, "inspect", "--raw", "--config", path)
	shown, _ := succeeds(t, "inspect", "--config", path)
	var want bytes.Buffer
	require.NoError(t, json.Indent(&want, []byte(raw), "", "    "))
	assert.Equal(t, want.String()+"\n", shown)
	for _, field := range []string{"Healthcheck", "Shell", "OnBuild", "StopTimeout"} {
		assert.Contains(t, shown, field)
	}
}
