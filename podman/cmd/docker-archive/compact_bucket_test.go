package main

import (
	"bytes"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/internal/storetest"
	"github.com/dockerarchive/dockerarchive/podman/internal/imagetest"
)

// holed returns an archive of three images that has lost one of four, and the archive that compact makes of it.
func holed(t *testing.T, layout string) (old, compacted []byte) {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, "app.tar")
	for n, tag := range []string{"1", "2", "3", "4"} {
		image := filepath.Join(dir, tag+".tar")
		saved(t, image, tag, imagetest.Stored(uint64(n), 10<<20), imagetest.Gzip(uint64(10+n), 50<<10))
		if n == 0 {
			must(t, "save", "-q", "--layout", layout, "-o", path, image)
		} else {
			must(t, "add", "-q", path, image)
		}
	}
	must(t, "remove", "-q", path, "example.com/app:2")
	old, err := os.ReadFile(path)
	require.NoError(t, err)
	must(t, "compact", "-q", path)
	compacted, err = os.ReadFile(path)
	require.NoError(t, err)
	require.Less(t, len(compacted), len(old))
	return old, compacted
}

// must runs a command that must succeed.
func must(t *testing.T, args ...string) {
	t.Helper()
	_, errOut, status := runCommand(t, append([]string{"--insecure-policy"}, args...)...)
	require.Zero(t, status, "%v: %s", args, errOut)
}

// compact has the store copy the layers, and makes the same archive as of a file.
func TestCompactInStore(t *testing.T) {
	for _, layout := range []string{"image", "docker"} {
		t.Run(layout, func(t *testing.T) {
			t.Setenv("XDG_CACHE_HOME", t.TempDir())
			old, compacted := holed(t, layout)
			s := storetest.NewS3(t)
			must(t, "compact", "-q", s.Put("app.tar", old))
			assert.True(t, bytes.Equal(compacted, s.Object("app.tar")))
			assert.Less(t, s.Received(), int64(200<<10))
			assert.Empty(t, s.Uploads())
		})
	}
}

// compact loses nothing of an archive that another program changes meanwhile: it begins anew.
func TestCompactChangedInStore(t *testing.T) {
	old, compacted := holed(t, "image")
	for name, when := range map[string]func(*http.Request) bool{
		"while it is copied": func(r *http.Request) bool { return r.Header.Get("X-Amz-Copy-Source") != "" },
		"while it is read": func(r *http.Request) bool {
			return r.Method == http.MethodGet && len(r.Header.Get("Range")) > len("bytes=0-65535")
		},
		"just before": func(r *http.Request) bool { return r.Method == http.MethodPost && r.URL.Query().Has("uploadId") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("XDG_CACHE_HOME", t.TempDir())
			s := storetest.NewS3(t)
			path := s.Put("app.tar", compacted)
			s.Before(func(_ http.ResponseWriter, r *http.Request) bool {
				if when(r) && r.URL.Path == "/"+storetest.Bucket+"/app.tar" {
					s.Before(nil)
					s.Put("app.tar", old)
				}
				return false
			})
			must(t, "compact", "-q", path)
			assert.True(t, bytes.Equal(compacted, s.Object("app.tar")))
			assert.Empty(t, s.Uploads())
		})
	}
}

// A layer with another digest is not copied into a new archive.
func TestCompactDamagedInStore(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	old, _ := holed(t, "image")
	old[3<<20] ^= 1
	s := storetest.NewS3(t)
	_, errOut, status := runCommand(t, "compact", "--insecure-policy", s.Put("app.tar", old))
	assert.Equal(t, exitFailure, status)
	assert.Contains(t, errOut, "it has the digest sha256:")
	assert.True(t, bytes.Equal(old, s.Object("app.tar")))
	assert.Empty(t, s.Uploads())
}
