package serving_test

import (
	"bytes"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/internal/imagetest"
)

// replace puts a file in the place of another, as a writer of archives should.
func replace(t testing.TB, path string, data []byte) {
	t.Helper()
	next := filepath.Join(t.TempDir(), "next")
	require.NoError(t, os.WriteFile(next, data, 0o600))
	require.NoError(t, os.Rename(next, path))
}

// Archives come, are replaced and go without a restart.
func TestRefresh(t *testing.T) {
	one, two := imagetest.NewImage(t, "one", imagetest.Plain(1, 1000)), imagetest.NewImage(t, "two", imagetest.Plain(2, 1000))
	dir := t.TempDir()
	path := filepath.Join(dir, "a.tar")
	s := serve(t, dir)
	assert.Equal(t, http.StatusNotFound, s.status("team/app/manifests/1"))

	replace(t, path, newLayout(t).add(one, "team/app:1").bytes())
	s.Refresh(t.Context())
	assert.Equal(t, one.Raw, s.get("team/app/manifests/1"))

	replace(t, path, newLayout(t).add(two, "team/app:1").bytes())
	s.Refresh(t.Context())
	assert.Equal(t, two.Raw, s.get("team/app/manifests/1"))
	assert.Equal(t, http.StatusNotFound, s.status("team/app/blobs/"+one.Layers[0].Digest.String()))

	replace(t, path, []byte("the beginning of an archive that is being copied"))
	s.Refresh(t.Context())
	s.Refresh(t.Context())
	assert.Equal(t, two.Raw, s.get("team/app/manifests/1"), "what can still be served")
	assert.Equal(t, two.Layers[0].Blob, s.get("team/app/blobs/"+two.Layers[0].Digest.String()))

	for _, name := range []string{"b.tar.gz", "c.TGZ"} {
		replace(t, filepath.Join(dir, name), imagetest.Gzipped(newLayout(t).add(one, "team/"+name[:1]+":1").bytes()))
	}
	for _, name := range []string{".hidden.tar", "notes.txt"} {
		replace(t, filepath.Join(dir, name), newLayout(t).add(one, "team/ignored:1").bytes())
	}
	s.Refresh(t.Context())
	assert.NotZero(t, s.pull("team/b", "1"))
	assert.NotZero(t, s.pull("team/c", "1"))
	assert.Equal(t, http.StatusNotFound, s.status("team/ignored/manifests/1"))

	require.NoError(t, os.Remove(path))
	s.Refresh(t.Context())
	assert.Equal(t, http.StatusNotFound, s.status("team/app/manifests/1"))
	images, archives := s.Images()
	assert.Equal(t, 2, images)
	assert.Equal(t, 2, archives)
}

// An unchanged archive is not opened again, and an unreadable one is logged once.
func TestRefreshIsCheap(t *testing.T) {
	dir := t.TempDir()
	replace(t, filepath.Join(dir, "a.tar"), newLayout(t).add(imagetest.NewImage(t, "one"), "team/app:1").bytes())
	replace(t, filepath.Join(dir, "junk.tar"), []byte("junk"))
	s := serve(t, dir)
	before := s.log.String()
	for range 3 {
		s.Refresh(t.Context())
	}
	assert.Equal(t, before, s.log.String())
	require.NoError(t, os.Chtimes(filepath.Join(dir, "a.tar"), time.Time{}, time.Unix(1, 0)))
	s.Refresh(t.Context())
	assert.NotEqual(t, before, s.log.String())
}

// A client that is pulling when the archive is replaced and then removed gets all of it, and
// nothing stays open after that.
func TestPullGoesOn(t *testing.T) {
	content := bytes.Repeat([]byte("more than sockets buffer"), 1<<19)
	big, small := imagetest.NewImage(t, "big", imagetest.NewLayer(content, content, v1.MediaTypeImageLayer)), imagetest.NewImage(t, "small")
	dir := t.TempDir()
	path := filepath.Join(dir, "a.tar")
	replace(t, path, newLayout(t).add(big, "team/app:1").bytes())
	s := serve(t, dir)
	layer := big.Layers[0]
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.url+"/v2/team/app/blobs/"+layer.Digest.String(), nil)
	require.NoError(t, err)
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	begin := make([]byte, 1000)
	_, err = io.ReadFull(response.Body, begin)
	require.NoError(t, err)

	replace(t, path, newLayout(t).add(small, "team/app:1").bytes())
	s.Refresh(t.Context())
	assert.Equal(t, small.Raw, s.get("team/app/manifests/1"))
	require.NoError(t, os.Remove(path))
	s.Refresh(t.Context())

	rest, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	assert.True(t, bytes.Equal(layer.Blob, append(begin, rest...)))
	s.http.Close()
	require.NoError(t, s.Close())
	assert.Empty(t, imagetest.Leftovers(t, dir))
	assert.NotContains(t, s.log.String(), "level=ERROR")
}

// A blob of an archive that is not at its path any more is read from the old one.
func TestReplacedBeforeRefresh(t *testing.T) {
	one, two := imagetest.NewImage(t, "one", imagetest.Plain(1, 1000)), imagetest.NewImage(t, "two", imagetest.Plain(2, 1000))
	path := newLayout(t).add(one, "team/app:1").write()
	s := serve(t, path)
	replace(t, path, newLayout(t).add(two, "team/app:1").bytes())
	assert.Equal(t, one.Layers[0].Blob, s.get("team/app/blobs/"+one.Layers[0].Digest.String()))
}

// An OCI layout in a directory is served like an archive: if it is named, and if it is in a
// directory that is named.
func TestRefreshLayouts(t *testing.T) {
	one, two := imagetest.NewImage(t, "one", imagetest.Plain(1, 1000)), imagetest.NewImage(t, "two", imagetest.Plain(2, 1000))
	for name, served := range map[string]string{"named": "layout", "in a directory": "."} {
		t.Run(name, func(t *testing.T) {
			top := t.TempDir()
			dir := filepath.Join(top, "layout")
			for _, other := range []string{"other", ".hidden"} {
				require.NoError(t, os.Mkdir(filepath.Join(top, other), 0o700))
			}
			newLayout(t).add(one, "team/hidden:1").unpack(filepath.Join(top, ".hidden"))
			newLayout(t).add(one, "team/app:1").unpack(dir)
			s := serve(t, filepath.Join(top, served))
			assert.Equal(t, one.Raw, s.get("team/app/manifests/1"))
			assert.Equal(t, one.Layers[0].Blob, s.get("team/app/blobs/"+one.Layers[0].Digest.String()))
			assert.Equal(t, http.StatusNotFound, s.status("team/hidden/manifests/1"))

			newLayout(t).add(two, "team/app:1").unpack(dir)
			assert.Equal(t, one.Raw, s.get("team/app/manifests/1"), "nobody has looked")
			s.Refresh(t.Context())
			assert.Equal(t, two.Raw, s.get("team/app/manifests/1"))
			assert.Equal(t, two.Layers[0].Blob, s.get("team/app/blobs/"+two.Layers[0].Digest.String()))

			require.NoError(t, os.RemoveAll(dir))
			s.Refresh(t.Context())
			assert.Equal(t, http.StatusNotFound, s.status("team/app/manifests/1"))
		})
	}
}
