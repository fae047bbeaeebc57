//go:build interop

package interop

import (
	"encoding/json"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// savedFrom is the saved form of a daemon's image: its digest, and the config digests by
// platform.
type savedFrom struct {
	digest  string
	there   map[string]bool
	configs []string
	message string // on stderr
}

// saveFrom saves an image of a daemon and verifies the archive.
func saveFrom(t *testing.T, docker program, image string, args ...string) (savedFrom, error) {
	t.Helper()
	da, path := dockerArchive(t), filepath.Join(t.TempDir(), "saved.tar")
	cmd := exec.CommandContext(t.Context(), da.argv[0], append([]string{"save", "--insecure-policy", "--no-sync", "--daemon-host", docker.argv[len(docker.argv)-1],
		"-o", path, "docker-daemon:" + image}, args...)...)
	said, err := cmd.CombinedOutput()
	saved := savedFrom{message: string(said), there: map[string]bool{}}
	if err != nil {
		return saved, err
	}
	da.run(t, "verify", path)
	type manifest struct {
		Digest, Platform, Config string
		Missing                  bool
	}
	var listed []struct {
		manifest
		Names     []string
		Manifests []manifest
	}
	require.NoError(t, json.Unmarshal([]byte(da.run(t, "list", "--json", path)), &listed))
	for _, one := range listed {
		assert.Equal(t, []string{image}, one.Names)
		saved.digest = one.Digest
		for _, m := range append(one.Manifests, one.manifest) {
			if m.Platform != "" {
				saved.there[m.Platform] = !m.Missing
			}
			if m.Config != "" {
				saved.configs = append(saved.configs, m.Config)
			}
		}
	}
	return saved, nil
}

// TestSaveFromDockerWithoutItsPlatform saves an image that Docker has for two platforms, but not
// for its own.
func TestSaveFromDockerWithoutItsPlatform(t *testing.T) {
	registry := startRegistry(t)
	da, crane := dockerArchive(t), built(t, "crane")
	dir := t.TempDir()
	writeText(t, filepath.Join(dir, "file"), "text")
	image := registry + "/foreign:1"
	index := []string{"index", "append", "--insecure", "-t", image}
	digests := map[string]string{}
	for _, platform := range []string{"linux/arm64", "linux/s390x"} {
		path := filepath.Join(dir, filepath.Base(platform)+".tar")
		name := registry + "/" + filepath.Base(platform) + ":1"
		da.run(t, "make", "-q", "--add", filepath.Join(dir, "file")+":/"+filepath.Base(platform), "--set-platform", platform, "-t", name, "-o", path)
		da.run(t, "push", "-q", "--tls-verify=false", path, registry)
		digests[platform] = strings.TrimSpace(crane.run(t, "digest", "--insecure", name))
		index = append(index, "-m", name)
	}
	crane.run(t, index...)
	docker := startDockerd(t, built(t, "dockerd"), startBuiltContainerd(t), true).docker
	docker.run(t, "pull", "--quiet", "--platform", "linux/arm64", image)
	top := strings.TrimSpace(crane.run(t, "digest", "--insecure", image))
	for args, want := range map[string]string{"--all-platforms": top, "--platform=linux/arm64": digests["linux/arm64"], "--no-sync": digests["linux/arm64"]} {
		saved, err := saveFrom(t, docker, image, args)
		require.NoError(t, err, saved.message)
		assert.Equal(t, want, saved.digest, args)
		assert.True(t, saved.there["linux/arm64"])
		assert.False(t, saved.there["linux/s390x"])
	}
	docker.run(t, "pull", "--quiet", "--platform", "linux/s390x", image)
	saved, err := saveFrom(t, docker, image, "--all-platforms")
	require.NoError(t, err, saved.message)
	assert.Equal(t, top, saved.digest)
	assert.Equal(t, map[string]bool{"linux/arm64": true, "linux/s390x": true}, saved.there)
	assert.NotContains(t, saved.message, "sends no index")
	for platform, digest := range digests {
		saved, err := saveFrom(t, docker, image, "--platform", platform)
		require.NoError(t, err, saved.message)
		assert.Equal(t, digest, saved.digest)
	}
}

// TestSaveFromDockerWithGraphdrivers saves an image of a Docker that keeps no manifests: the one
// platform that it has, with the config that it has, and no other.
func TestSaveFromDockerWithGraphdrivers(t *testing.T) {
	registry := startRegistry(t)
	image := registry + "/multi:1"
	dockerArchive(t).run(t, "copy", "--insecure-policy", "--all", "--preserve-digests", "--dest-tls-verify=false", "oci:"+testLayout+":multi", "docker://"+image)
	docker := startDockerd(t, built(t, "dockerd"), startBuiltContainerd(t), false).docker
	for _, platform := range []string{"linux/amd64", "linux/arm64"} {
		docker.run(t, "pull", "--quiet", "--platform", platform, image)
		config := strings.TrimSpace(docker.run(t, "image", "inspect", "--format", "{{.Id}}", image))
		for _, args := range [][]string{{"--all-platforms"}, {"--platform", platform}, nil} {
			saved, err := saveFrom(t, docker, image, args...)
			require.NoError(t, err, saved.message)
			assert.Equal(t, []string{config}, saved.configs)
			assert.Len(t, saved.there, 1)
		}
		_, err := saveFrom(t, docker, image, "--platform", "linux/s390x")
		require.Error(t, err)
	}
}
