//go:build interop

package interop

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestSaveFromDockerWithContainerd saves an image that Docker has for several platforms: its own
// manifests, under the digest of the registry, with the layers as the registry has them.
func TestSaveFromDockerWithContainerd(t *testing.T) {
	registry := startRegistry(t)
	da, image := dockerArchive(t), registry+"/multi:1"
	da.run(t, "copy", "--insecure-policy", "--all", "--preserve-digests", "--dest-tls-verify=false", "oci:"+testLayout+":multi", "docker://"+image)
	docker := startDockerd(t, built(t, "dockerd"), startBuiltContainerd(t), true).docker
	docker.run(t, "pull", "--quiet", "--platform", "linux/arm64", image)
	top := strings.TrimSpace(built(t, "crane").run(t, "digest", "--insecure", image))
	arm := strings.TrimSpace(built(t, "crane").run(t, "digest", "--insecure", "--platform", "linux/arm64", image))
	// Without this machine's platform, the daemon sends no index.
	saved, err := saveFrom(t, docker, image, "--all-platforms")
	require.NoError(t, err, saved.message)
	assert.Equal(t, arm, saved.digest)
	assert.True(t, saved.there["linux/arm64/v8"])
	assert.Contains(t, saved.message, "sends no index, since it has not got the platform that it runs on: the digest is not "+top)
	saved, err = saveFrom(t, docker, image, "--platform", "linux/arm64")
	require.NoError(t, err, saved.message)
	assert.Equal(t, arm, saved.digest)
	_, err = saveFrom(t, docker, image, "--platform", "linux/amd64")
	require.Error(t, err)

	docker.run(t, "pull", "--quiet", "--platform", "linux/amd64", image)
	saved, err = saveFrom(t, docker, image, "--all-platforms")
	require.NoError(t, err, saved.message)
	assert.Equal(t, top, saved.digest)
	assert.True(t, saved.there["linux/arm64/v8"] && saved.there["linux/amd64"])
	assert.NotContains(t, saved.message, "sends no index")
	for platform, want := range map[string]string{"linux/amd64": "sha256:291aaf079eabf94ccf906994a72b695dc8292a50fe717ea75d07a67c0e534c81", "linux/arm64": arm} {
		saved, err = saveFrom(t, docker, image, "--platform", platform)
		require.NoError(t, err, saved.message)
		assert.Equal(t, want, saved.digest)
	}
}
