//go:build interop

package interop

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestLoadDies kills every docker while docker-archive loads an image, which then fails. Started
// again, docker has nothing of it, and loads it.
func TestLoadDies(t *testing.T) {
	layout, images := thinLayout(t, t.TempDir())
	img := images[0]
	path := img.archive(t, layout, "image-archive")
	for name, c := range map[string]struct {
		server  func(*testing.T, string) program
		runtime func(*testing.T) containerd
		store   bool
	}{
		"docker 20.10":               {debian, startDebianContainerd, false},
		"docker 29 graphdriver":      {built, startBuiltContainerd, false},
		"docker 29 containerd store": {built, startBuiltContainerd, true},
	} {
		t.Run(name, func(t *testing.T) {
			runtime, dir := c.runtime(t), daemonDir(t)
			startDockerdIn(t, dir, c.server(t, "dockerd"), runtime, c.store)
			proxy := startProxy(t, filepath.Join(dir, "docker.sock"))
			pid, err := os.ReadFile(filepath.Join(dir, "docker.pid"))
			require.NoError(t, err)
			process, err := strconv.Atoi(strings.TrimSpace(string(pid)))
			require.NoError(t, err)
			var passed atomic.Int32
			proxy.before.Store(new(func() {
				if passed.Add(1) == 10 { // Of 2.7 MB at most 64 KB are passed on at once.
					assert.NoError(t, syscall.Kill(process, syscall.SIGKILL))
				}
			}))
			_, err = dockerArchive(t).try(t, "load", "--insecure-policy", "--host", "unix://"+proxy.socket, path)
			require.ErrorContains(t, err, "sending images to the docker daemon: ")
			assert.GreaterOrEqual(t, passed.Load(), int32(10))
			proxy.before.Store(nil)
			require.NoError(t, awaitEnd(filepath.Join(dir, "docker.pid")))

			d := startDockerdIn(t, dir, c.server(t, "dockerd"), runtime, c.store)
			assert.Empty(t, strings.TrimSpace(d.docker.run(t, "image", "ls", "--all", "--quiet")))
			dockerArchive(t).run(t, "load", "--insecure-policy", "--host", "unix://"+proxy.socket, path)
			output, err := d.runImage(t, archive{}, img.name)
			require.NoError(t, err)
			assert.Equal(t, helloOutput, strings.TrimSpace(output))
		})
	}
}
