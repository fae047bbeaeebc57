//go:build interop && interopall

package interop

import (
	"crypto/rand"
	"fmt"
	"io"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestSentToBucket counts the bytes that changes of an archive of 1.2 GB send: add only what is new, compact hardly any.
func TestSentToBucket(t *testing.T) {
	for name, start := range map[string]func(*testing.T) objectStore{"versitygw": startVersitygw, "MinIO": startMinIO} {
		t.Run(name, func(t *testing.T) { sentTo(t, start(t)) })
	}
}

func sentTo(t *testing.T, store objectStore) {
	dir := t.TempDir()
	var sent atomic.Int64
	server := httptest.NewServer(store.proxy(t, &sent))
	t.Cleanup(server.Close)
	command, path := store.at(server.URL).command(t).withEnv("XDG_CACHE_HOME="+filepath.Join(dir, "cache")), store.path("a.tar")
	made := func(name string, size int64) string {
		layer, image := filepath.Join(dir, name), filepath.Join(dir, name+".tar")
		f, err := os.Create(layer)
		require.NoError(t, err)
		_, err = io.CopyN(f, rand.Reader, size)
		require.NoError(t, err)
		require.NoError(t, f.Close())
		command.run(t, "make", "-q", "--add", layer+":/"+name, "--compress", "none", "--timestamp", "1", "-t", name+":1", "-o", image)
		return image
	}
	var images []string
	for n := range 4 {
		images = append(images, made(fmt.Sprintf("large-%d", n), 300e6))
	}
	command.run(t, append([]string{"save", "-q", "--insecure-policy", "-o", path}, images...)...)

	sent.Store(0)
	command.run(t, "add", "-q", "--insecure-policy", path, made("small", 5e6))
	added := sent.Swap(0)
	assert.LessOrEqual(t, added, int64(5e6*1.05), "bytes sent by add")

	command.run(t, "remove", "-q", path, "large-1:1")
	local := filepath.Join(dir, "a.tar")
	require.NoError(t, os.WriteFile(local, store.get(t, "a.tar"), 0o644))
	sent.Store(0)
	command.run(t, "compact", "-q", "--insecure-policy", path)
	compacted := sent.Load()
	assert.LessOrEqual(t, compacted, int64(5<<20+100<<10), "bytes sent by compact")
	t.Logf("add of 5 MB to 1.2 GB sent %d bytes, compact %d", added, compacted)

	command.run(t, "compact", "-q", "--insecure-policy", local)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "object"), store.get(t, "a.tar"), 0o644))
	requireSameFile(t, local, filepath.Join(dir, "object"))
}
