//go:build unix

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/podman/internal/imagetest"
)

// The access to one registry differs from that to another: in one command, one here
// has no HTTPS, one has an unknown certificate, and one elsewhere has one that is
// verified.
func TestLoopbackIsOfEachRegistry(t *testing.T) {
	home := t.TempDir()
	plain := imagetest.NewRegistry(t)
	unknown, known := imagetest.NewTLSRegistry(t), imagetest.NewTLSRegistry(t)
	for _, reg := range []*imagetest.Registry{plain, unknown, known} {
		reg.Push(t, "app:1", imagetest.Saved(t, "one"))
	}
	conf := filepath.Join(home, "registries.conf")
	require.NoError(t, os.WriteFile(conf, []byte("[[registry]]\nprefix = \"elsewhere.example\"\nlocation = \""+known.Address+"\"\n"), 0o600))
	save := func() (string, error) {
		return shell(t, t.TempDir(), "docker-archive save --insecure-policy -q --referrers -o saved.tar "+
			plain.Address+"/app:1 "+strings.Replace(unknown.Address, "127.0.0.1", "localhost", 1)+"/app:1 elsewhere.example/app:1",
			"HOME="+home, "CONTAINERS_REGISTRIES_CONF="+conf)
	}
	out, err := save()
	require.Error(t, err)
	assert.Contains(t, out, "docker-archive: saving docker://elsewhere.example/app:1: ", "and no other")
	assert.Contains(t, out, "certificate signed by unknown authority")

	certs := filepath.Join(home, ".config", "containers", "certs.d", known.Address)
	require.NoError(t, os.MkdirAll(certs, 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(certs, "ca.crt"), known.Certificate, 0o600))
	out, err = save()
	require.NoError(t, err, out)
}
