package main

import (
	"compress/gzip"
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/dockerarchive/dockerarchive/podman/internal/imagetest"
)

// opens counts how often a file is opened while do runs.
func opens(t *testing.T, path string, do func()) (n int) {
	t.Helper()
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	require.NoError(t, err)
	defer unix.Close(fd)
	// Reading separates the events of opening, which the kernel would join.
	_, err = unix.InotifyAddWatch(fd, path, unix.IN_OPEN|unix.IN_ACCESS)
	require.NoError(t, err)
	do()
	buf := make([]byte, 1<<20)
	got, err := unix.Read(fd, buf)
	require.NoError(t, err)
	for buf = buf[:got]; len(buf) > 0; {
		if mask := binary.NativeEndian.Uint32(buf[4:]); mask&unix.IN_OPEN != 0 {
			n++
		}
		buf = buf[unix.SizeofInotifyEvent+binary.NativeEndian.Uint32(buf[12:]):]
	}
	return n
}

// An archive that is added to is opened once, and once more only if the added
// images lack layers.
func TestAddOpensArchiveOnce(t *testing.T) {
	m := newMonths(t, gzip.DefaultCompression)
	m.run(t, 0, "save", "-q", "--delta", m.january, "-o", m.delta, "image-archive:"+m.february)
	march := m.path("march.tar")
	saved(t, march, "3", treeLayer(t, gzip.DefaultCompression, seeds(40, 0, 31)...))
	add := func(path string) func() {
		return func() { m.run(t, 0, "add", "-q", m.january, "image-archive:"+path) }
	}
	once := opens(t, m.january, add(march))
	assert.Equal(t, once+1, opens(t, m.january, add(m.delta)))
	assert.Equal(t, 1, once)
	host := imagetest.NewLoadDaemon(t).Host
	assert.Equal(t, 1, opens(t, march, func() { m.run(t, 0, "load", "-q", "--host", host, march, m.february) }))
}
