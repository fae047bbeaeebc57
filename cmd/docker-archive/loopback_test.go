package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/containers/image/v5/docker/reference"
	"github.com/containers/image/v5/types"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/internal/imagetest"
)

func TestTrustLoopback(t *testing.T) {
	conf := filepath.Join(t.TempDir(), "registries.conf")
	require.NoError(t, os.WriteFile(conf, []byte("[[registry]]\nlocation = \"localhost:1/configured\"\n"), 0o600))
	for name, c := range map[string]struct {
		repositories []string
		set          types.OptionalBool
		want         types.OptionalBool
	}{
		"nobody":       {},
		"names":        {repositories: []string{"localhost/a", "localhost:5000/a"}, want: types.OptionalBoolTrue},
		"addresses":    {repositories: []string{"127.0.0.1:5000/a", "127.8.9.1/a"}, want: types.OptionalBoolTrue},
		"another":      {repositories: []string{"localhost/a", "example.com/a"}},
		"looks alike":  {repositories: []string{"localhost.example.com/a"}},
		"no loopback":  {repositories: []string{"10.0.0.1:5000/a"}},
		"configured":   {repositories: []string{"localhost:1/configured/a"}},
		"told to":      {repositories: []string{"localhost/a"}, set: types.OptionalBoolFalse, want: types.OptionalBoolFalse},
		"told not to":  {repositories: []string{"example.com/a"}, set: types.OptionalBoolTrue, want: types.OptionalBoolTrue},
		"Docker's own": {repositories: []string{"alpine"}},
	} {
		sys := imagetest.Isolated()
		sys.SystemRegistriesConfPath, sys.DockerInsecureSkipTLSVerify = conf, c.set
		var repositories []reference.Named
		for _, r := range c.repositories {
			named, err := reference.ParseNormalizedNamed(r)
			require.NoError(t, err)
			repositories = append(repositories, named)
		}
		trustLoopback(sys, repositories...)
		assert.Equal(t, c.want, sys.DockerInsecureSkipTLSVerify, name)

		sys.DockerInsecureSkipTLSVerify, sys.DockerCertPath = c.set, "certs"
		trustLoopback(sys, repositories...)
		assert.Equal(t, c.set, sys.DockerInsecureSkipTLSVerify, "%s, with certificates", name)
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
