//go:build interop

package interop

import (
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// dyingProxy passes on the beginning of a load to a daemon, and then the daemon dies.
func dyingProxy(t *testing.T, socket string, d *daemon) *proxy {
	t.Helper()
	proxy := startProxy(t, socket)
	var passed atomic.Int32
	proxy.before.Store(new(func() {
		if passed.Add(1) == 10 { // At most 64 KB of 2.7 MB are passed on at once.
			d.die(t)
		}
	}))
	t.Cleanup(func() { assert.GreaterOrEqual(t, passed.Load(), int32(10), "the daemon did not die") })
	return proxy
}

// TestLoadDies has every docker die while docker-archive loads an image, which then fails. Started
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
			d := startDockerdIn(t, dir, c.server(t, "dockerd"), runtime, c.store)
			proxy := dyingProxy(t, filepath.Join(dir, "docker.sock"), d.daemon)
			_, err := dockerArchive(t).try(t, "load", "--insecure-policy", "--host", "unix://"+proxy.socket, path)
			require.ErrorContains(t, err, "sending images to the docker daemon: ")

			d = startDockerdIn(t, dir, c.server(t, "dockerd"), runtime, c.store)
			assert.Empty(t, strings.TrimSpace(d.docker.run(t, "image", "ls", "--all", "--quiet")))
			dockerArchive(t).run(t, "load", "--insecure-policy", "--host", d.docker.argv[2], path)
			output, err := d.runImage(t, archive{}, img.name)
			require.NoError(t, err)
			assert.Equal(t, helloOutput, strings.TrimSpace(output))
		})
	}
}

// TestLoadContainerdDies does the same with containerd.
func TestLoadContainerdDies(t *testing.T) {
	layout, images := thinLayout(t, t.TempDir())
	img := images[0]
	path := img.archive(t, layout, "image-archive")
	for name, of := range map[string]func(*testing.T, string) program{"1.6": debian, "2.4": built} {
		t.Run(name, func(t *testing.T) {
			dir := daemonDir(t)
			c := startContainerdIn(t, dir, of(t, "containerd"), of(t, "ctr"))
			proxy := dyingProxy(t, c.socket, c.daemon)
			_, err := dockerArchive(t).try(t, "load", "--insecure-policy", "--address", proxy.socket, path)
			require.ErrorContains(t, err, "to containerd: ")

			c = startContainerdIn(t, dir, of(t, "containerd"), of(t, "ctr"))
			assert.Empty(t, c.ctr.run(t, "images", "ls", "--quiet"))
			dockerArchive(t).run(t, "load", "--insecure-policy", "--address", c.socket, path)
			assert.Equal(t, helloOutput, strings.TrimSpace(c.ctr.run(t, "run", "--rm", img.name, "container")))
		})
	}
}
