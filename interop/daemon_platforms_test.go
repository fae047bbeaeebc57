//go:build interop

package interop

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestSaveFromDockerWithContainerd saves an image of which Docker has several platforms: its own
// manifests, under the digest of the registry, with the layers as the registry has them.
func TestSaveFromDockerWithContainerd(t *testing.T) {
	dir, registry := t.TempDir(), startRegistry(t)
	da, image := dockerArchive(t), registry+"/multi:1"
	da.run(t, "copy", "--insecure-policy", "--all", "--preserve-digests", "--dest-tls-verify=false", "oci:"+testLayout+":multi", "docker://"+image)
	docker := startDockerd(t, built(t, "dockerd"), startBuiltContainerd(t), true).docker
	docker.run(t, "pull", "--quiet", "--platform", "linux/arm64", image)
	host := docker.argv[len(docker.argv)-1]
	type manifest struct {
		Digest, Platform string
		Missing          bool
	}
	save := func(args ...string) (digest string, there map[string]bool, err error) {
		path := filepath.Join(dir, strings.ReplaceAll(strings.Join(args, ""), "/", "-")+".tar")
		args = append([]string{"save", "--insecure-policy", "-q", "--daemon-host", host, "-o", path, "docker-daemon:" + image}, args...)
		if _, err := da.try(t, args...); err != nil {
			return "", nil, err
		}
		da.run(t, "verify", path)
		var listed []struct {
			manifest
			Names     []string
			Manifests []manifest
		}
		require.NoError(t, json.Unmarshal([]byte(da.run(t, "list", "--json", path)), &listed))
		require.Len(t, listed, 1)
		assert.Equal(t, []string{image}, listed[0].Names)
		there = map[string]bool{}
		for _, m := range append(listed[0].Manifests, listed[0].manifest) {
			if m.Platform != "" {
				there[m.Platform] = !m.Missing
			}
		}
		return listed[0].Digest, there, nil
	}
	top := strings.TrimSpace(built(t, "crane").run(t, "digest", "--insecure", image))
	arm := strings.TrimSpace(built(t, "crane").run(t, "digest", "--insecure", "--platform", "linux/arm64", image))
	// Without this machine's platform, the daemon sends no index.
	digest, there, err := save("--all-platforms")
	require.NoError(t, err)
	assert.Equal(t, arm, digest)
	assert.True(t, there["linux/arm64/v8"])
	digest, _, err = save("--platform", "linux/arm64")
	require.NoError(t, err)
	assert.Equal(t, arm, digest)
	_, _, err = save("--platform", "linux/amd64")
	require.Error(t, err)

	docker.run(t, "pull", "--quiet", "--platform", "linux/amd64", image)
	digest, there, err = save("--all-platforms", "--no-sync")
	require.NoError(t, err)
	assert.Equal(t, top, digest)
	assert.True(t, there["linux/arm64/v8"] && there["linux/amd64"])
	for platform, want := range map[string]string{"linux/amd64": "sha256:291aaf079eabf94ccf906994a72b695dc8292a50fe717ea75d07a67c0e534c81", "linux/arm64": arm} {
		digest, _, err = save("--platform", platform, "--no-sync")
		require.NoError(t, err)
		assert.Equal(t, want, digest)
	}
}
