//go:build interop

package interop

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	imagespec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// commits are changes of a container with buildah config, and the flags of its commit: by
// buildah commit, and by make.
var commits = []struct {
	name                 string
	config, commit, make []string
}{
	{name: "as it is"},
	{name: "cmd", config: []string{"--cmd", `["a", "b"]`}},
	{name: "cmd in words", config: []string{"--cmd", "a b"}},
	{name: "entrypoint", config: []string{"--entrypoint", `["/x", "y"]`}},
	{name: "entrypoint and cmd", config: []string{"--entrypoint", `["/x"]`, "--cmd", "z"}},
	{name: "env", config: []string{"--env", "A=b", "--env", "PATH=/x"}},
	{name: "label", config: []string{"--label", "a=b c"}},
	{name: "user", config: []string{"--user", "1:2"}},
	{name: "workdir", config: []string{"--workingdir", "/w"}},
	{name: "port", config: []string{"--port", "80", "--port", "53/udp"}},
	{name: "volume", config: []string{"--volume", "/data"}},
	{name: "stop signal", config: []string{"--stop-signal", "SIGINT"}},
	{name: "author", config: []string{"--author", "me"}},
	{name: "created by", config: []string{"--created-by", "hand", "--history-comment", "said"}},
	{name: "annotations", config: []string{"--annotation", "a=b", "--annotation", "org.example.x=y"}},
	{name: "docker with a comment", config: []string{"--comment", "said", "--cmd", "x"}, commit: []string{"--format", "docker"}, make: []string{"--format", "docker"}},
	{name: "platform", config: []string{"--os", "linux", "--arch", "arm64", "--variant", "v8"}},
	{name: "unset", commit: []string{"--unsetenv", "GREETING"}, make: []string{"--unset-env", "GREETING"}},
	{name: "no history", commit: []string{"--omit-history"}, make: []string{"--omit-history"}},
	{name: "docker", commit: []string{"--format", "docker"}, make: []string{"--format", "docker"}},
	{name: "docker with more", config: []string{"--shell", "/bin/bash -c", "--healthcheck", "CMD x", "--onbuild", "RUN y"}, commit: []string{"--format", "docker"}, make: []string{"--format", "docker"}},
	{name: "squashed", commit: []string{"--squash"}, make: []string{"--squash"}},
}

// TestContainers commits containers with buildah and with make. Config and history are the
// same field by field, and the unpacked trees file by file.
func TestContainers(t *testing.T) {
	dir := daemonDir(t)
	conf := filepath.Join(dir, "storage.conf")
	require.NoError(t, os.WriteFile(conf, fmt.Appendf(nil, "[storage]\ndriver = \"vfs\"\ngraphroot = %q\nrunroot = %q\n", filepath.Join(dir, "root"), filepath.Join(dir, "run")), 0o600))
	buildah := buildahIn(t, dir)
	da := dockerArchive(t).withEnv("CONTAINERS_STORAGE_CONF=" + conf)
	base, err := filepath.Abs(testLayout)
	require.NoError(t, err)
	files := filepath.Join(dir, "files")
	require.NoError(t, os.Mkdir(files, 0o755))
	shell(t, `cd "$1" && mkdir d && printf new >d/new && ln d/new d/hard && ln -s new d/link && chmod 4750 d/new && chown 1:2 d/new`, files)
	for n, c := range commits {
		t.Run(c.name, func(t *testing.T) {
			container := fmt.Sprintf("c%d", n)
			buildah.run(t, "from", "--name", container, "oci:"+base+":one")
			buildah.run(t, "copy", container, files, "/opt")
			if len(c.config) > 0 {
				buildah.run(t, append(append([]string{"config"}, c.config...), container)...)
			}
			layout := "oci:" + filepath.Join(t.TempDir(), "layout")
			buildah.run(t, append(append([]string{"commit", "--quiet", "--timestamp", "0", "--identity-label=false"}, c.commit...), container, layout+":theirs")...)
			da.run(t, append(append([]string{"make", "--insecure-policy", "--quiet", "--timestamp", "0", "--rewrite-timestamp", "--container", container}, c.make...), layout+":ours")...)

			theirs, ours := readMade(t, layout, "theirs"), readMade(t, layout, "ours")
			assert.Equal(t, theirs.annotations, ours.annotations)
			assert.Equal(t, theirs.layers, ours.layers)
			assert.Equal(t, theirs.config, ours.config)
			bundles := t.TempDir()
			trees := make([]map[string]string, 2)
			for i, ref := range []string{"theirs", "ours"} {
				bundle := filepath.Join(bundles, ref)
				debian(t, "umoci").run(t, "unpack", "--image", strings.TrimPrefix(layout, "oci:")+":"+ref, bundle)
				trees[i] = readTree(t, filepath.Join(bundle, "rootfs"))
			}
			requireSameTree(t, trees[0], trees[1])
		})
	}
}

// madeConfig is the compared part of an image.
type madeConfig struct {
	annotations map[string]string
	layers      int
	config      map[string]any // without the diff IDs, which say how a tar was written
}

func readMade(t *testing.T, layout, ref string) madeConfig {
	t.Helper()
	dir := strings.TrimPrefix(layout, "oci:")
	i := layoutImage(t, dir, ref)
	var manifest imagespec.Manifest
	readJSON(t, blobPath(dir, i.manifest), &manifest)
	raw, err := os.ReadFile(blobPath(dir, i.config))
	require.NoError(t, err)
	raw = bytes.ReplaceAll(raw, []byte("saidFROM "), []byte("said FROM ")) // buildah puts nothing between the two.
	made := madeConfig{manifest.Annotations, len(manifest.Layers), nil}
	require.NoError(t, json.Unmarshal(raw, &made.config))
	delete(made.config, "rootfs")
	return made
}
