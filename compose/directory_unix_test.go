//go:build unix

package compose_test

import (
	"context"

	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/dockerarchive/dockerarchive/compose"
	"github.com/dockerarchive/dockerarchive/internal/imagetest"
)

// awkward makes files of all kinds that anybody can make, one after the other in the
// order that a function gives their number.
func awkward(t testing.TB, dir string, order func(n int) []int) {
	long := strings.Repeat("l", 150) + "/" + strings.Repeat("m", 200)
	makers := []func(){
		func() { write(t, filepath.Join(dir, "b/plain"), strings.Repeat("x", 1<<20)) },
		func() { write(t, filepath.Join(dir, "a/"+long), "long") },
		func() { write(t, filepath.Join(dir, "a/\xff\xfe=\n"), "bytes") },
		func() { require.NoError(t, syscall.Mkfifo(filepath.Join(dir, "fifo"), 0o600)) },
		func() { require.NoError(t, os.Symlink("/etc/passwd", filepath.Join(dir, "link"))) },
		func() {
			write(t, filepath.Join(dir, "setuid"), "s")
			require.NoError(t, os.Chmod(filepath.Join(dir, "setuid"), 0o755|os.ModeSetuid))
		},
		func() {
			f, err := os.Create(filepath.Join(dir, "sparse"))
			require.NoError(t, err)
			require.NoError(t, f.Truncate(1<<20))
			require.NoError(t, f.Close())
		},
	}
	for _, i := range order(len(makers)) {
		makers[i]()
	}
	require.NoError(t, os.Link(filepath.Join(dir, "b/plain"), filepath.Join(dir, "hard")))
	var all []string
	require.NoError(t, filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
		require.NoError(t, err)
		all = append(all, path)
		if info.IsDir() {
			return os.Chmod(path, 0o755)
		}
		if info.Mode().Type() == os.ModeNamedPipe || filepath.Base(path) == "sparse" {
			return os.Chmod(path, 0o640)
		}
		return nil
	}))
	for _, path := range all {
		times := []unix.Timespec{{Sec: day.Unix()}, {Sec: day.Unix()}}
		require.NoError(t, unix.UtimesNanoAt(unix.AT_FDCWD, path, times, unix.AT_SYMLINK_NOFOLLOW))
	}
}

// The same files give the same image, whatever the order in which they were made, the
// umask, the time zone, the number of cores and the time of day.
func TestSameEverywhere(t *testing.T) {
	umask := syscall.Umask(0)
	local, cores := time.Local, runtime.GOMAXPROCS(0)
	defer func() {
		syscall.Umask(umask)
		time.Local = local
		runtime.GOMAXPROCS(cores)
	}()
	forwards := func(n int) (order []int) {
		for i := range n {
			order = append(order, i)
		}
		return order
	}
	backwards := func(n int) []int {
		order := forwards(n)
		slices.Reverse(order)
		return order
	}
	found := map[digest.Digest]bool{}
	for _, machine := range []struct {
		umask, cores int
		zone         *time.Location
		order        func(int) []int
	}{{0, 1, time.UTC, forwards}, {0o77, 2, zone, backwards}} {
		syscall.Umask(machine.umask)
		time.Local = machine.zone
		runtime.GOMAXPROCS(machine.cores)
		dir := t.TempDir()
		awkward(t, dir, machine.order)
		o := compose.PackOptions{Rewriting: compose.Rewriting{Owner: compose.SetOwner(0, 0)}}
		for _, squash := range []bool{false, true} {
			m := mustMake(t, &compose.Image{Layers: []compose.Layer{{Content: compose.Dir(dir, o)}, {Content: files("x", "y")}}, Squash: squash})
			found[m.Digest()] = true
			if !squash {
				got := list(t, m.layer(t, 0))
				assert.Contains(t, got, "a/\xff\xfe=\n 0 644 bytes")
				assert.Contains(t, got, "fifo 6 640 ")
				assert.Contains(t, got, "hard 1 644 b/plain")
				assert.Contains(t, got, "setuid 0 4755 s")
				assert.Equal(t, "2020-01-02T03:04:05Z", m.config["created"])
			}
		}
	}
	assert.Len(t, found, 2, "one for each kind of image")
}

// Sockets are left out, which is told.
func TestSocket(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir) // Paths of sockets are short.
	socket, err := net.Listen("unix", "socket")
	require.NoError(t, err)
	defer socket.Close()
	var skipped []string
	o := anybody()
	o.Skipped = func(path string) { skipped = append(skipped, path) }
	assert.Empty(t, only(t, compose.Dir(dir, o)))
	assert.Equal(t, []string{filepath.Join(dir, "socket")}, skipped)
	_, err = tryMake(t, &compose.Image{Layers: []compose.Layer{{Content: compose.DiskFile("socket", compose.PackOptions{Prefix: "s"})}}})
	require.ErrorContains(t, err, "a socket cannot be in a layer")
}

// counting is a sink that keeps nothing, and looks at the memory in use now and then.
type counting struct {
	*made
	peak atomic.Uint64
}

func (c *counting) PutLayer(_ context.Context, r io.Reader) (digest.Digest, int64, error) {
	digester := digest.Canonical.Digester()
	var size int64
	for {
		n, err := io.CopyN(digester.Hash(), r, 1<<20)
		size += n
		var stats runtime.MemStats
		runtime.ReadMemStats(&stats)
		c.peak.Store(max(c.peak.Load(), stats.HeapInuse))
		if err == io.EOF {
			return digester.Digest(), size, nil
		}
		if err != nil {
			return "", 0, err
		}
	}
}

// Memory does not grow with the number of files, nor with their size.
func TestMemory(t *testing.T) {
	n := imagetest.Rounds(t, 5, 100)
	dir := t.TempDir()
	for i := range n {
		sub := filepath.Join(dir, fmt.Sprint(i))
		require.NoError(t, os.Mkdir(sub, 0o755))
		for j := range 1000 {
			require.NoError(t, os.WriteFile(filepath.Join(sub, fmt.Sprint(j)), []byte("small"), 0o600))
		}
	}
	f, err := os.Create(filepath.Join(dir, "large"))
	require.NoError(t, err)
	require.NoError(t, f.Truncate(int64(n)<<22))
	require.NoError(t, f.Close())
	runtime.GC()
	var before runtime.MemStats
	runtime.ReadMemStats(&before)
	sink := &counting{made: &made{blobs: map[digest.Digest][]byte{}}}
	img := &compose.Image{Layers: []compose.Layer{{Content: compose.Dir(dir, anybody())}}, Change: linux}
	built, err := img.MakeTo(t.Context(), sink)
	require.NoError(t, err)
	require.NoError(t, built.Close())
	const most = 64 << 20
	assert.Less(t, sink.peak.Load()-min(before.HeapInuse, sink.peak.Load()), uint64(most))
}

// A disk that is full is named, and nothing is left on it.
func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	if err := mountSmall(dir); err != nil {
		t.Skip("this system lets no small file system be mounted: ", err)
	}
	defer func() { require.NoError(t, unmount(dir)) }()
	b := newBase(t, `{}`, imagetest.Gzip(1, 1_000_000))
	_, err := tryMake(t, &compose.Image{Base: b, Squash: true, TempDir: dir})
	require.ErrorIs(t, err, syscall.ENOSPC)
	require.ErrorContains(t, err, "temporary file in "+dir)
	assert.Empty(t, imagetest.Leftovers(t, dir))
}
