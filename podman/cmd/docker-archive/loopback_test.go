package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/types"

	"github.com/dockerarchive/dockerarchive/podman/internal/imagetest"
)

func TestTrustingLoopback(t *testing.T) {
	conf := filepath.Join(t.TempDir(), "registries.conf")
	require.NoError(t, os.WriteFile(conf, []byte("[[registry]]\nlocation = \"localhost:1/configured\"\n"), 0o600))
	for name, c := range map[string]struct {
		repository string
		set        types.OptionalBool
		want       types.OptionalBool
	}{
		"a name":       {repository: "localhost/a", want: types.OptionalBoolTrue},
		"with a port":  {repository: "localhost:5000/a", want: types.OptionalBoolTrue},
		"an address":   {repository: "127.0.0.1:5000/a", want: types.OptionalBoolTrue},
		"any address":  {repository: "127.8.9.1/a", want: types.OptionalBoolTrue},
		"another":      {repository: "example.com/a"},
		"looks alike":  {repository: "localhost.example.com/a"},
		"no loopback":  {repository: "10.0.0.1:5000/a"},
		"configured":   {repository: "localhost:1/configured/a"},
		"told to":      {repository: "localhost/a", set: types.OptionalBoolFalse, want: types.OptionalBoolFalse},
		"told not to":  {repository: "example.com/a", set: types.OptionalBoolTrue, want: types.OptionalBoolTrue},
		"Docker's own": {repository: "alpine"},
	} {
		sys := imagetest.Isolated()
		sys.SystemRegistriesConfPath, sys.DockerInsecureSkipTLSVerify = conf, c.set
		repository, err := reference.ParseNormalizedNamed(c.repository)
		require.NoError(t, err)
		assert.Equal(t, c.want, trustingLoopback(sys, repository).DockerInsecureSkipTLSVerify, name)
		assert.Equal(t, c.set, sys.DockerInsecureSkipTLSVerify, name)

		sys.DockerCertPath = "certs"
		assert.Equal(t, c.set, trustingLoopback(sys, repository).DockerInsecureSkipTLSVerify, "%s, with certificates", name)
	}
}

// A registry on this machine that has no HTTPS is reached without a flag, from every
// command, unless HTTPS is asked for.
func TestLoopbackWithoutFlags(t *testing.T) {
	conf := filepath.Join(t.TempDir(), "registries.conf")
	require.NoError(t, os.WriteFile(conf, nil, 0o600))
	t.Setenv("CONTAINERS_REGISTRIES_CONF", conf)
	reg := imagetest.NewRegistry(t)
	saved := filepath.Join(t.TempDir(), "saved.tar")
	for _, args := range [][]string{
		{"copy", "-q", "oci:" + imagetest.Testdata(t, "oci") + ":one", "docker://" + reg.Address + "/app:1"},
		{"save", "-q", "-o", saved, reg.Address + "/app:1"},
		{"push", "-q", saved, reg.Address + "/mirror"},
		{"make", "-q", "--base", reg.Address + "/app:1", "--label", "a=b", "docker://" + reg.Address + "/made:1"},
		{"copy", "-q", "docker://" + reg.Address + "/mirror/app:1", "dir:" + t.TempDir()},
	} {
		_, err := run(t, append(args, "--tls-verify")...)
		require.ErrorContains(t, err, "HTTP response to HTTPS client", args)
		_, err = run(t, args...)
		require.NoError(t, err, args)
	}
}
