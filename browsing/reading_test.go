//go:build linux

package browsing

import (
	"archive/tar"
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/internal/showcase"
)

// readBytes is how many bytes this process has read from files and sockets.
func readBytes(t *testing.T) int64 {
	t.Helper()
	data, err := os.ReadFile("/proc/self/io")
	require.NoError(t, err)
	var n int64
	_, err = fmt.Sscanf(string(data), "rchar: %d", &n)
	require.NoError(t, err)
	return n
}

// noise returns a layer of n incompressible files of 1 MiB.
func noise(t *testing.T, n int) showcase.Packed {
	t.Helper()
	var diff bytes.Buffer
	w := tar.NewWriter(&diff)
	random := rand.NewChaCha8([32]byte{})
	data := make([]byte, 1<<20)
	for i := range n {
		_, _ = random.Read(data) // Never fails.
		require.NoError(t, w.WriteHeader(&tar.Header{Name: fmt.Sprintf("file-%02d", i), Mode: 0o644, Size: int64(len(data))}))
		_, err := w.Write(data)
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	return showcase.Pack(t, diff.Bytes())
}

// sent bounds the bytes of the pages themselves: the process of the test reads them, too.
const sent = 1 << 20

// However many ask, a layer is read once; and a file costs one restart interval after that.
func TestWhatIsRead(t *testing.T) {
	const files = 32
	a := showcase.NewArchive()
	a.Add(t, showcase.Image(t, "amd64", nil, []string{""}, noise(t, files)), "example.com/noise:1")
	s := newSite(t, Options{}, map[string][]byte{"noise.tar": a.Bytes(t)})
	home := s.imageNamed("example.com/noise:1")
	begun := readBytes(t)
	var asking sync.WaitGroup
	for range 8 {
		asking.Go(func() {
			resp, err := s.http.Client().Get(s.http.URL + home + "/files")
			if assert.NoError(t, err) {
				assert.Equal(t, http.StatusOK, resp.StatusCode)
				assert.NoError(t, resp.Body.Close())
			}
		})
	}
	asking.Wait()
	pass := readBytes(t) - begun
	assert.Greater(t, pass, int64(files<<20))
	assert.Less(t, pass, int64(files<<20+2*sent), "one pass for all of them")
	for _, n := range []int{files - 1, 0, files / 2} {
		begun = readBytes(t)
		body, _ := s.get(http.StatusOK, fmt.Sprintf("%s/files/file-%02d", home, n))
		assert.Contains(t, body, "The file is binary.")
		assert.Less(t, readBytes(t)-begun, int64(restartInterval+sent), "file %d", n)
	}
	begun = readBytes(t)
	body, _ := s.get(http.StatusOK, fmt.Sprintf("%s/raw/file-%02d", home, files-2))
	assert.Len(t, body, 1<<20)
	assert.Less(t, readBytes(t)-begun, int64(restartInterval+1<<20+1<<20+sent), "and what is sent and received")
}

// A layer that two images of an archive share is read once, whether their files are requested at the
// same time, later, or compared.
func TestSharedLayerIsReadOnce(t *testing.T) {
	const files = 16
	a, base := showcase.NewArchive(), noise(t, files)
	for i, name := range []string{"example.com/noise:1", "example.com/noise:2", "example.com/noise:3"} {
		own := showcase.Layer(t, showcase.File{Name: "own", Content: name})
		a.Add(t, showcase.Image(t, "amd64", nil, make([]string, 1+min(i, 1)), append([]showcase.Packed{base}, own)[:1+min(i, 1)]...), name)
	}
	s := newSite(t, Options{}, map[string][]byte{"noise.tar": a.Bytes(t)})
	var homes []string
	for i := range 3 {
		homes = append(homes, s.imageNamed(fmt.Sprintf("example.com/noise:%d", i+1)))
	}
	begun := readBytes(t)
	var asking sync.WaitGroup
	for _, home := range homes[:2] {
		asking.Go(func() {
			resp, err := s.http.Client().Get(s.http.URL + home + "/files")
			if assert.NoError(t, err) {
				assert.Equal(t, http.StatusOK, resp.StatusCode)
				assert.NoError(t, resp.Body.Close())
			}
		})
	}
	asking.Wait()
	body, _ := s.get(http.StatusOK, homes[2]+"/files")
	assert.Contains(t, body, "file-07")
	body, _ = s.get(http.StatusOK, "/compare?a="+filepath.Base(homes[0])+"&b="+filepath.Base(homes[1]))
	assert.Contains(t, body, "/own")
	read := readBytes(t) - begun
	assert.Greater(t, read, int64(files<<20))
	assert.Less(t, read, int64(files<<20+2*sent))
}

// An archive that has been replaced is shown as it is now, and its kept results are
// freed.
func TestReplacedArchive(t *testing.T) {
	s := newSite(t, Options{}, map[string][]byte{"shop.tar": showcase.Shop(t)})
	old := s.imageNamed("registry.example.com/team/shop:1.4")
	s.get(http.StatusOK, old+"/files")
	path := filepath.Join(s.dir, "shop.tar")
	require.NoError(t, os.WriteFile(path+".new", showcase.Hostile(t), 0o600))
	require.NoError(t, os.Rename(path+".new", path))
	s.pages.server.Refresh(t.Context())
	list, _ := s.get(http.StatusOK, "/")
	assert.NotContains(t, list, "shop:1.4")
	assert.Contains(t, list, "hostile:1")
	s.get(http.StatusNotFound, old+"/files")
	assert.Empty(t, s.pages.cache.works)
	open, err := filepath.Glob("/proc/self/fd/*")
	require.NoError(t, err)
	for _, fd := range open {
		target, _ := os.Readlink(fd)
		assert.False(t, strings.HasPrefix(target, path) && strings.HasSuffix(target, "(deleted)"), target)
	}
}

// Pages report damaged and missing layers.
func TestDamagedArchive(t *testing.T) {
	data := showcase.Shop(t)
	at := bytes.Index(data, []byte("\x1f\x8b\x08"))
	data[at+2000] ^= 1
	s := newSite(t, Options{}, map[string][]byte{"shop.tar": data})
	home := s.imageNamed("registry.example.com/team/shop:1.4")
	body, _ := s.get(http.StatusUnprocessableEntity, home+"/files")
	assert.Contains(t, body, "This page cannot be shown")
	s.get(http.StatusOK, home)
}
