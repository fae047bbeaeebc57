//go:build unix

package e2e_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/dockerarchive/dockerarchive/podman/copying"
	"github.com/dockerarchive/dockerarchive/podman/internal/imagetest"
)

// limited calls f while no file may be written beyond an offset.
func limited(t *testing.T, size int, f func() error) error {
	t.Helper()
	var old unix.Rlimit
	require.NoError(t, unix.Getrlimit(unix.RLIMIT_FSIZE, &old))
	limit := old
	limit.Cur = uint64(size)
	require.NoError(t, unix.Setrlimit(unix.RLIMIT_FSIZE, &limit))
	defer func() { require.NoError(t, unix.Setrlimit(unix.RLIMIT_FSIZE, &old)) }()
	return f()
}

// Wherever there is no more room, a change fails and leaves the archive as it was to the
// byte; with enough it succeeds.
func TestNoRoomForAChange(t *testing.T) {
	// Another process: the limit is of all its files.
	out, err := child(t, "full", "").CombinedOutput()
	require.NoError(t, err, "%s", out)
}

func init() {
	children["full"] = func(t *testing.T, _ string) error {
		noRoomForAChange(t)
		return nil
	}
}

func noRoomForAChange(t *testing.T) {
	const step = 4 << 10
	m := imagetest.NewImage(t, "2", imagetest.Gzip(2, 20000), imagetest.Gzip(3, 9000))
	for name, kind := range kinds {
		for what, change := range map[string]func(path string) error{
			"add":     func(path string) error { return copyTo(t, kind, path, "b:1", m) },
			"remove":  func(path string) error { return remove(t, path, "c:1") },
			"compact": func(path string) error { return copying.Compact(t.Context(), imagetest.Trusting(t), path, nil) },
		} {
			t.Run(name+", "+what, func(t *testing.T) {
				path := filepath.Join(t.TempDir(), "archive.tar")
				require.NoError(t, copyTo(t, kind, path, "a:1", imagetest.NewImage(t, "1", imagetest.Gzip(1, 3000))))
				require.NoError(t, copyTo(t, kind, path, "c:1", imagetest.NewImage(t, "3", imagetest.Gzip(4, 30000))))
				require.NoError(t, remove(t, path, "a:1"))
				require.NoError(t, copyTo(t, kind, path, "a:1", imagetest.NewImage(t, "1", imagetest.Gzip(1, 3000))))
				old := imagetest.ReadFile(t, path)
				failures := 0
				for size := 0; ; size += step {
					err := limited(t, size, func() error { return change(path) })
					if err == nil {
						break
					}
					failures++
					require.ErrorIs(t, err, unix.EFBIG, "%d bytes", size)
					require.True(t, bytes.Equal(old, imagetest.ReadFile(t, path)), "%d bytes", size)
					require.Equal(t, []string{"archive.tar"}, imagetest.Leftovers(t, filepath.Dir(path)))
				}
				assert.Greater(t, failures, 5)
				assert.NotEmpty(t, namesIn(t, imagetest.ReadFile(t, path)))
				info, err := os.Stat(path)
				require.NoError(t, err)
				assert.NotEqual(t, int64(len(old)), info.Size())
			})
		}
	}
}
