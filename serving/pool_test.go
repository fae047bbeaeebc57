package serving_test

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/internal/imagetest"
)

// manyArchives writes archives with an image each, every third of them compressed, and returns
// their directory. The image of archive n is team/appN:1.
func manyArchives(t *testing.T, n int) (dir string, images []*imagetest.Image) {
	t.Helper()
	dir = t.TempDir()
	for i := range n {
		img := imagetest.NewImage(t, fmt.Sprint("image", i), imagetest.Plain(uint64(i), 1000+i))
		data, name := newLayout(t).add(img, fmt.Sprintf("team/app%d:1", i)).bytes(), fmt.Sprintf("%03d.tar", i)
		if i%3 == 2 {
			data, name = imagetest.Gzipped(data), name+".gz"
		}
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), data, 0o600))
		images = append(images, img)
	}
	return dir, images
}

// pullAll pulls all images, several at a time.
func pullAll(t *testing.T, get func(path string) []byte, images []*imagetest.Image) {
	t.Helper()
	var clients sync.WaitGroup
	for client := range 8 {
		clients.Go(func() {
			for i := client; i < len(images); i += 8 {
				img, repository := images[i], fmt.Sprintf("team/app%d/", i)
				assert.Equal(t, img.Raw, get(repository+"manifests/1"))
				assert.Equal(t, img.Layers[0].Blob, get(repository+"blobs/"+img.Layers[0].Digest.String()))
			}
		})
	}
	clients.Wait()
}

// Archives are opened when they are asked for, and closed when too many are.
func TestArchivesAreClosed(t *testing.T) {
	dir, images := manyArchives(t, 20)
	s := serve(t, dir)
	s.KeepOpen(3)
	for range 2 {
		pullAll(t, s.getHere, images)
		s.AwaitChecks()
		open, _ := s.OpenFiles()
		assert.LessOrEqual(t, open, 3)
	}
	assert.NotContains(t, s.log.String(), "level=ERROR")
	assert.NotContains(t, s.log.String(), "level=WARN")
	require.NoError(t, s.Close())
	open, _ := s.OpenFiles()
	assert.Zero(t, open)
}

// If an archive was closed, and has been replaced or removed when it is asked for, the new
// state is served.
func TestClosedArchiveIsReplaced(t *testing.T) {
	dir, images := manyArchives(t, 2)
	s := serve(t, dir)
	s.KeepOpen(0)
	pullAll(t, s.getHere, images)
	s.AwaitChecks()
	layer := images[0].Layers[0]
	other := imagetest.NewImage(t, "other", layer)
	path := filepath.Join(dir, "000.tar")
	replace(t, path, newLayout(t).add(other, "team/app0:1").bytes())
	assert.Equal(t, layer.Blob, s.getAndCheck("team/app0/blobs/"+layer.Digest.String()))
	assert.Equal(t, other.Raw, s.getAndCheck("team/app0/manifests/1"))
	assert.Equal(t, 404, s.status("team/app0/manifests/"+images[0].Digest().String()))
	require.NoError(t, os.Remove(path))
	assert.Equal(t, 404, s.status("team/app0/blobs/"+layer.Digest.String()))
	assert.Equal(t, 404, s.status("team/app0/manifests/1"))
	assert.Equal(t, images[1].Raw, s.getAndCheck("team/app1/manifests/1"))
}
