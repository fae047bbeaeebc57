//go:build unix

package serving_test

import (
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/internal/imagetest"
	"github.com/dockerarchive/dockerarchive/serving"
)

// When no more files can be opened, the archives served so far are still served, and
// new ones are served when a file can be opened again.
func TestNoMoreFiles(t *testing.T) {
	one, two := imagetest.NewImage(t, "one", imagetest.Plain(1, 1000)), imagetest.NewImage(t, "two", imagetest.Plain(2, 1000))
	dir := t.TempDir()
	path := filepath.Join(dir, "a.tar")
	replace(t, path, newLayout(t).add(one, "team/app:1").bytes())
	s := serve(t, dir)
	replace(t, path, newLayout(t).add(two, "team/app:1").bytes())
	replace(t, filepath.Join(dir, "b.tar"), newLayout(t).add(two, "team/other:1").bytes())

	noMoreFiles(t, func() {
		s.Refresh(t.Context())
		assert.Equal(t, one.Raw, s.getAndCheck("team/app/manifests/1"))
		assert.Equal(t, one.Layers[0].Blob, s.getAndCheck("team/app/blobs/"+one.Layers[0].Digest.String()))
	})
	assert.NotContains(t, s.log.String(), "archive is gone")
	assert.NotContains(t, s.log.String(), "level=ERROR")
	s.Refresh(t.Context())
	assert.Equal(t, two.Raw, s.get("team/app/manifests/1"))
	assert.Equal(t, two.Raw, s.get("team/other/manifests/1"))

	s = serve(t, path)
	replace(t, path, newLayout(t).add(one, "team/app:1").bytes())
	noMoreFiles(t, func() {
		s.Refresh(t.Context())
		assert.Equal(t, two.Raw, s.getAndCheck("team/app/manifests/1"))
	})
	s.Refresh(t.Context())
	assert.Equal(t, one.Raw, s.get("team/app/manifests/1"))
}

// An archive that cannot be looked at, which is not to say that it is gone, is still
// served.
func TestUnreadablePaths(t *testing.T) {
	img := imagetest.NewImage(t, "it", imagetest.Plain(1, 1000))
	for name, c := range map[string]struct{ served, unreadable string }{
		"file":              {"a.tar", "a.tar"},
		"directory":         {".", "."},
		"file in directory": {".", "a.tar"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "dir")
			require.NoError(t, os.Mkdir(dir, 0o700))
			replace(t, filepath.Join(dir, "a.tar"), newLayout(t).add(img, "team/app:1").bytes())
			s := serve(t, filepath.Join(dir, c.served))
			path := filepath.Join(dir, c.unreadable)
			require.NoError(t, os.Rename(path, path+"-away"))
			require.NoError(t, os.Symlink(path, path)) // Nobody can follow this link.
			s.Refresh(t.Context())
			assert.NotZero(t, s.pull("team/app", "1"))
			assert.Contains(t, s.log.String(), "level=WARN")

			require.NoError(t, os.Remove(path))
			require.NoError(t, os.Rename(path+"-away", path))
			s.Refresh(t.Context())
			assert.NotZero(t, s.pull("team/app", "1"))
			assert.NotContains(t, s.log.String(), "archive is gone")

			require.NoError(t, os.RemoveAll(path))
			s.Refresh(t.Context())
			assert.Equal(t, http.StatusNotFound, s.status("team/app/manifests/1"))
		})
	}
}

// Clients are served however many archives there are; most of these are closed then.
func TestManyArchives(t *testing.T) {
	dir, images := manyArchives(t, 300)
	filesLimited(t, 256, func() {
		s := serve(t, dir)
		pullAll(t, s.get, images)
		s.http.Close() // When all has been sent.
		s.AwaitChecks()
		open, limit := s.OpenFiles()
		assert.Equal(t, 64, limit)
		assert.LessOrEqual(t, open, limit)
		assert.Equal(t, 80, serving.MaxConnections())
		assert.NotContains(t, s.log.String(), "too many open files")
	})
}

// noMoreFiles calls f while the process cannot open any file.
func noMoreFiles(t *testing.T, f func()) {
	filesLimited(t, 3, f) // They are open.
}

// filesLimited calls f while the process may open so many files.
func filesLimited(t *testing.T, n uint64, f func()) {
	var limit syscall.Rlimit
	require.NoError(t, syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit))
	few := limit
	few.Cur = n
	require.NoError(t, syscall.Setrlimit(syscall.RLIMIT_NOFILE, &few))
	defer func() { require.NoError(t, syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit)) }()
	f()
}
