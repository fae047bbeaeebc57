package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/types"

	"github.com/dockerarchive/dockerarchive/podman/internal/imagetest"
)

// The daemon is where docker would look for it.
func TestWhereTheDaemonIs(t *testing.T) {
	config := t.TempDir()
	write := func(path, content string) {
		path = filepath.Join(config, path)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
		require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
	}
	context := func(name, host string) string {
		id := digest.FromString(name).Encoded()
		write("contexts/meta/"+id+"/meta.json", `{"Name":"`+name+`","Metadata":{},"Endpoints":{"docker":{"Host":"`+host+`","SkipTLSVerify":false}}}`)
		return filepath.Join(config, "contexts", "tls", id, "docker")
	}
	context("rootless", "unix:///run/user/1000/docker.sock")
	context("plain", "tcp://h:2375")
	context("far", "ssh://me@h")
	secure := context("secure", "tcp://h:2376")
	require.NoError(t, os.MkdirAll(secure, 0o700))
	write("config.json", `{"currentContext":"rootless"}`)
	for name, c := range map[string]struct {
		env  map[string]string
		sys  types.SystemContext
		want types.SystemContext
		err  string
	}{
		"flag":       {map[string]string{"DOCKER_HOST": "unix:///x"}, types.SystemContext{DockerDaemonHost: "unix:///y"}, types.SystemContext{DockerDaemonHost: "unix:///y"}, ""},
		"in use":     {nil, types.SystemContext{}, types.SystemContext{DockerDaemonHost: "unix:///run/user/1000/docker.sock"}, ""},
		"host":       {map[string]string{"DOCKER_HOST": "unix:///x", "DOCKER_CONTEXT": "plain"}, types.SystemContext{}, types.SystemContext{DockerDaemonHost: "unix:///x"}, ""},
		"TLS":        {map[string]string{"DOCKER_HOST": "tcp://x:1", "DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": "/c"}, types.SystemContext{}, types.SystemContext{DockerDaemonHost: "tcp://x:1", DockerDaemonCertPath: "/c"}, ""},
		"plain host": {map[string]string{"DOCKER_HOST": "tcp://x:1"}, types.SystemContext{}, types.SystemContext{DockerDaemonHost: "http://x:1"}, ""},
		"plain":      {map[string]string{"DOCKER_CONTEXT": "plain"}, types.SystemContext{}, types.SystemContext{DockerDaemonHost: "http://h:2375"}, ""},
		"secure":     {map[string]string{"DOCKER_CONTEXT": "secure"}, types.SystemContext{}, types.SystemContext{DockerDaemonHost: "tcp://h:2376", DockerDaemonCertPath: secure}, ""},
		"default":    {map[string]string{"DOCKER_CONTEXT": "default"}, types.SystemContext{}, types.SystemContext{}, ""},
		"ssh":        {map[string]string{"DOCKER_CONTEXT": "far"}, types.SystemContext{}, types.SystemContext{}, `ssh://h is reached by ssh`},
		"none":       {map[string]string{"DOCKER_CONTEXT": "none"}, types.SystemContext{}, types.SystemContext{}, `the context "none": open `},
		"no address": {map[string]string{"DOCKER_HOST": "x"}, types.SystemContext{}, types.SystemContext{}, `"x" is no address`},
	} {
		t.Run(name, func(t *testing.T) {
			for _, variable := range []string{"DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_TLS_VERIFY", "DOCKER_TLS", "DOCKER_CERT_PATH"} {
				t.Setenv(variable, c.env[variable])
			}
			t.Setenv("DOCKER_CONFIG", config)
			err := locateDaemon(&c.sys)
			if c.err != "" {
				require.ErrorContains(t, err, c.err)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, c.want, c.sys)
		})
	}
}

// save and copy take IDs as docker shows them, unless an image has that name.
func TestShortIDs(t *testing.T) {
	reg := imagetest.NewRegistry(t)
	reg.Push(t, "app:1", imagetest.NewImage(t, "1", imagetest.Gzip(1, 3000)))
	dir := t.TempDir()
	saved := filepath.Join(dir, "saved.tar")
	succeeds(t, "save", "-q", "--tls-verify=false", "--layout", "docker", "-o", saved, reg.Address+"/app:1=app:1")
	content, err := os.ReadFile(saved)
	require.NoError(t, err)
	const hex = "5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef"
	host := imagetest.DaemonTelling(t, map[string][]byte{
		hex[:12]: content, "sha256:" + hex[:6]: content, "sha256:" + hex: content, "cafe": content, "cafe:latest": content,
	}, func(name string) string {
		if name == "cafe" {
			return `{"Id":"sha256:` + strings.Repeat("0", 64) + `"}`
		}
		return `{"Id":"sha256:` + hex + `"}`
	})
	sys := &types.SystemContext{DockerDaemonHost: host}
	for image, want := range map[string]string{
		"docker-daemon:" + hex[:12]:             "docker-daemon:sha256:" + hex,
		"docker-daemon:sha256:" + hex[:6]:       "docker-daemon:sha256:" + hex,
		"docker-daemon:sha256:" + hex:           "docker-daemon:sha256:" + hex,
		"docker-daemon:cafe":                    "docker-daemon:cafe",
		"docker-daemon:facade":                  "docker-daemon:facade", // It has no such image.
		"docker-daemon:" + hex[:12] + ":latest": "docker-daemon:" + hex[:12] + ":latest",
		hex[:12]:                                hex[:12],
	} {
		got, err := wholeID(t.Context(), sys, image)
		require.NoError(t, err, image)
		assert.Equal(t, want, got)
	}
	_, err = wholeID(t.Context(), &types.SystemContext{DockerDaemonHost: "unix://" + filepath.Join(dir, "none")}, "docker-daemon:cafe")
	require.ErrorContains(t, err, "asking the docker daemon about the image cafe: ")

	out := filepath.Join(dir, "out.tar")
	succeeds(t, "save", "-q", "--daemon-host", host, "-o", out, "docker-daemon:"+hex[:12]+"=app:1")
	succeeds(t, "copy", "-q", "--src-daemon-host", host, "docker-daemon:"+hex[:12], "oci:"+filepath.Join(dir, "layout")+":1")
	assert.FileExists(t, out)
}
