package main

import (
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestPluginMetadata(t *testing.T) {
	out, _ := succeeds(t, "docker-cli-plugin-metadata")
	var told map[string]string
	require.NoError(t, json.Unmarshal([]byte(out), &told))
	assert.Equal(t, "0.1.0", told["SchemaVersion"])
	assert.NotEmpty(t, told["Vendor"])
	assert.Equal(t, newRootCommand().Short, told["ShortDescription"])
	assert.Equal(t, version(), told["Version"])
}

// dockersVariables are the variables for docker's flags, each set to another value
// before.
var dockersVariables = []string{"DOCKER_CONFIG", "DOCKER_CONTEXT", "DOCKER_HOST", "DOCKER_TLS", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH"}

func TestPluginLines(t *testing.T) {
	for _, c := range []struct {
		args, want []string
		set        map[string]string
	}{
		{args: []string{"archive"}, want: []string{}},
		{args: []string{"archive", "save", "-o", "a.tar", "archive"}, want: []string{"save", "-o", "a.tar", "archive"}},
		{args: []string{"help", "archive", "save"}, want: []string{"help", "save"}},
		{args: []string{"__complete", "archive", "sa"}, want: []string{"__complete", "sa"}},
		{args: []string{"-D", "archive", "load", "a.tar"}, want: []string{"--debug", "load", "a.tar"}},
		{args: []string{"-l", "debug", "archive", "load"}, want: []string{"--debug", "load"}},
		{
			args: []string{"--context", "far", "archive", "load", "--context", "x"}, want: []string{"load", "--context", "x"},
			set: map[string]string{"DOCKER_CONTEXT": "far", "DOCKER_HOST": ""},
		},
		{
			args: []string{"-H", "127.0.0.1:2375", "--config", "c", "archive", "load"}, want: []string{"load"},
			set: map[string]string{"DOCKER_CONTEXT": "", "DOCKER_HOST": "tcp://127.0.0.1:2375", "DOCKER_CONFIG": "c"},
		},
		{
			args: []string{"--host=unix:///s", "--tlsverify", "--tls=false", "--tlscacert", "d/ca.pem", "--tlscert", "d/cert.pem", "--tlskey=d/key.pem", "archive"}, want: []string{},
			set: map[string]string{"DOCKER_CONTEXT": "", "DOCKER_HOST": "unix:///s", "DOCKER_TLS_VERIFY": "1", "DOCKER_TLS": "", "DOCKER_CERT_PATH": "d"},
		},
		// Lines that docker has not written.
		{args: []string{"save", "archive"}, want: []string{"save", "archive"}},
		{args: []string{"--policy", "p", "archive"}, want: []string{"--policy", "p", "archive"}},
		{args: []string{"-c", "x", "save"}, want: []string{"-c", "x", "save"}},
		{args: []string{}, want: []string{}},
	} {
		for _, name := range dockersVariables {
			t.Setenv(name, "before")
		}
		got, err := asPlugin(newRootCommand(), c.args)
		require.NoError(t, err, c.args)
		assert.Equal(t, c.want, got, c.args)
		for _, name := range dockersVariables {
			want, ok := c.set[name]
			if !ok {
				want = "before"
			}
			assert.Equal(t, want, os.Getenv(name), "%v: %s", c.args, name)
		}
	}
}

func TestPluginRefuses(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"-H", "unix:///s", "-c", "x", "archive"}, "cannot be used together"},
		{[]string{"-H", "unix:///s", "-H", "unix:///t", "archive"}, "given 2 times"},
		{[]string{"--tlscacert", "d/my-ca.pem", "archive"}, `--tlscacert "d/my-ca.pem"`},
		{[]string{"--tlscacert", "d/ca.pem", "--tlskey", "e/key.pem", "archive"}, `--tlskey "e/key.pem"`},
	} {
		_, err := asPlugin(newRootCommand(), c.args)
		var usage usageError
		require.ErrorAs(t, err, &usage, c.args)
		assert.ErrorContains(t, err, c.want)
	}
}

// Help and errors of a plugin name the command that was typed.
func TestPluginIsCalledDockerArchive(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"archive", "save", "--help"}, "docker archive save"},
		{[]string{"archive", "--help"}, "docker archive [command]"},
		{[]string{"archive", "list"}, "See 'docker archive list --help'"},
		{[]string{"archive", "--policy", "p", "pull"}, "hint: docker-archive save"},
	} {
		root := newRootCommand()
		args, err := asPlugin(root, c.args)
		require.NoError(t, err)
		var out, errOut buffer
		root.SetArgs(args)
		root.SetOut(&out)
		root.SetErr(&errOut)
		if err := explain(root, args, root.ExecuteContext(t.Context())); err != nil {
			report(t.Context(), &errOut, err)
		}
		assert.Contains(t, out.String()+errOut.String(), c.want, c.args)
	}
}

// Docker hands no signals to plugins; it closes their socket.
func TestPluginEndsWithDocker(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("The docker command has no socket there that a test could listen on.")
	}
	address := filepath.Join(t.TempDir(), "socket")
	docker, err := net.Listen("unix", address)
	require.NoError(t, err)
	t.Setenv(dockersSocket, address)
	ended := make(chan struct{})
	endWithDocker(func() { close(ended) })
	conn, err := docker.Accept()
	require.NoError(t, err)
	select {
	case <-ended:
		t.Fatal("docker is still there")
	default:
	}
	require.NoError(t, conn.Close())
	<-ended
	require.NoError(t, docker.Close())
	endWithDocker(func() { t.Error("no docker") }) // It is gone.
}
