//go:build interop

package interop

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// pluggedDocker is Debian's docker command with docker-archive among its plugins.
func pluggedDocker(t *testing.T) (docker program, settings string) {
	t.Helper()
	settings = filepath.Join(t.TempDir(), "settings")
	plugins := filepath.Join(settings, "cli-plugins")
	require.NoError(t, os.MkdirAll(plugins, 0o755))
	require.NoError(t, os.Symlink(dockerArchive(t).argv[0], filepath.Join(plugins, "docker-archive")))
	return debian(t, "docker").withEnv("DOCKER_CONFIG="+settings, "DOCKER_HOST=unix:///nonexistent/docker.sock"), settings
}

func TestDockerPlugin(t *testing.T) {
	docker, _ := pluggedDocker(t)
	listed := docker.run(t, "--help")
	assert.Regexp(t, `(?m)^ +archive\* +Carry container images as files`, listed)
	assert.Contains(t, docker.run(t, "archive", "--help"), "docker archive [command]")
	assert.Contains(t, docker.run(t, "help", "archive", "save"), "docker archive save ")

	file := filepath.Join(t.TempDir(), "app.tar")
	docker.run(t, "archive", "save", "--insecure-policy", "--all-platforms", "--name", "example.com/app:1", "-o", file, "oci:../testdata/oci:multi")
	assert.Contains(t, docker.run(t, "archive", "verify", file), "OK")
	_, err := docker.try(t, "archive", "verify", file+".missing")
	var exit *exec.ExitError
	require.ErrorAs(t, err, &exit)
	assert.Equal(t, 1, exit.ExitCode())
	_, err = docker.try(t, "archive", "verify", "--no-such-flag")
	require.ErrorAs(t, err, &exit)
	assert.Equal(t, 2, exit.ExitCode())
	assert.ErrorContains(t, err, "See 'docker archive verify --help'")
}

// Docker's own flags set the daemon and the directory of settings.
func TestDockerPluginWithDockersFlags(t *testing.T) {
	running := startDockerd(t, debian(t, "dockerd"), startDebianContainerd(t), false)
	host := running.docker.argv[len(running.docker.argv)-1]
	docker, settings := pluggedDocker(t)
	layout := helloLayout(t, t.TempDir())
	file := filepath.Join(t.TempDir(), "hello.tar")
	docker.run(t, "archive", "save", "--insecure-policy", "--name", "example.com/hello:1", "-o", file, "oci:"+layout+":hello")

	docker.run(t, "context", "create", "there", "--docker", "host="+host)
	for name, flags := range map[string][]string{
		"context":       {"--context", "there"},
		"context short": {"-c", "there"},
		"host":          {"--host", host},
		"config":        {"--config", settings, "-H", host},
	} {
		t.Run(name, func(t *testing.T) {
			require.NoError(t, running.removeAll(t))
			docker.run(t, append(flags, "archive", "load", file)...)
			_, err := running.inspect(t, "example.com/hello:1")
			require.NoError(t, err)
		})
	}
	t.Run("none", func(t *testing.T) {
		_, err := docker.try(t, "archive", "load", file)
		require.ErrorContains(t, err, "/nonexistent/docker.sock")
	})
	t.Run("from the daemon", func(t *testing.T) {
		saved := filepath.Join(t.TempDir(), "saved.tar")
		docker.run(t, "--context", "there", "archive", "save", "--insecure-policy", "-o", saved, "docker-daemon:example.com/hello:1")
		assert.Contains(t, docker.run(t, "archive", "list", "-q", saved), "example.com/hello:1")
	})
}

// docker asks for the metadata first.
func TestDockerPluginMetadata(t *testing.T) {
	var told struct{ SchemaVersion, Vendor, Version string }
	require.NoError(t, json.Unmarshal([]byte(dockerArchive(t).run(t, "docker-cli-plugin-metadata")), &told))
	assert.Equal(t, "0.1.0", told.SchemaVersion)
	assert.NotEmpty(t, told.Vendor)
	assert.False(t, strings.ContainsAny(told.Version, "\n"))
}
