package main

import (
	"compress/gzip"
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/podman/internal/imagetest"
)

// Several archives of one command lend each other layers, in any order, and no --base is needed.
func TestArchivesLendEachOther(t *testing.T) {
	m := newMonths(t, gzip.DefaultCompression)
	m.run(t, 0, "save", "-q", "--delta", m.january, "-o", m.delta, "image-archive:"+m.february)
	m.run(t, 0, "save", "-q", "-o", m.path("both2.tar"), "image-archive:"+m.january, "image-archive:"+m.delta)
	assertSame(t, m.both, m.path("both2.tar"))
	for _, archives := range [][]string{{m.january, m.delta}, {m.delta, m.january}, {m.delta, m.january + ":example.com/app:1"}} {
		reg := imagetest.NewRegistry(t)
		m.run(t, 0, append(append([]string{"push", "-q", "--tls-verify=false"}, archives...), reg.Address+"/new")...)
		m.run(t, 0, "save", "-q", "--tls-verify=false", "--name", "example.com/app:2", "-o", m.path("pulled.tar"), "docker://"+reg.Address+"/new/app:2")
		assertSame(t, m.february, m.path("pulled.tar"))
		require.NoError(t, os.Remove(m.path("pulled.tar")))

		d := imagetest.NewLoadDaemon(t)
		m.run(t, 0, append([]string{"load", "-q", "--host", d.Host}, archives...)...)
		assert.Len(t, d.Names(), 2)
		d = imagetest.NewLoadDaemon(t)
		d.Containerd = true
		m.run(t, 0, append([]string{"load", "-q", "--host", d.Host}, archives...)...)
		assert.Len(t, d.Names(), 2)
	}
	_, errOut := m.run(t, exitFailure, "push", "-q", "--tls-verify=false", m.delta, imagetest.NewRegistry(t).Address)
	assert.Contains(t, errOut, "--base FULL.tar")
}

// An unreadable archive that would lend layers is named, and other errors are reported too.
func TestArchiveLendsNothing(t *testing.T) {
	m := newMonths(t, gzip.DefaultCompression)
	m.run(t, 0, "save", "-q", "--delta", m.january, "-o", m.delta, "image-archive:"+m.february)
	require.NoError(t, os.WriteFile(m.path("none.tar"), []byte("no archive"), 0o600))
	_, errOut := m.run(t, exitFailure, "save", "-q", "--keep-going", "-o", m.path("x.tar"), "image-archive:"+m.delta, "image-archive:"+m.path("none.tar"))
	assert.Contains(t, errOut, "warning: no layers are taken from "+m.path("none.tar"))
}
