package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/containers/image/v5/types"
	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
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
