//go:build interop

package main

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// platformsOfTests are the platforms of make dist-check: in CI one platform, at a release
// all.
func platformsOfTests() string {
	if os.Getenv("DIST_ALL") != "" {
		return ""
	}
	return "linux/amd64"
}

// cloned returns a clone of this repository in a folder.
func cloned(t *testing.T, dir string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "git", "clone", "-q", "--shared", "../..", dir).CombinedOutput()
	require.NoError(t, err, string(out))
	return dir
}

// The same commit gives the same bytes: in another folder, at another time, with any times of
// files and any environment.
func TestSameBytes(t *testing.T) {
	dir := t.TempDir()
	first, second := filepath.Join(dir, "first"), filepath.Join(dir, "another", "folder")
	require.NoError(t, makeAll(t.Context(), cloned(t, filepath.Join(dir, "a")), first, platformsOfTests()))

	elsewhere := cloned(t, filepath.Join(dir, "b", "some where else"))
	old := time.Unix(1e9, 0)
	require.NoError(t, filepath.WalkDir(elsewhere, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Chtimes(path, old, old)
	}))
	for name, value := range map[string]string{
		"GOFLAGS": "-tags=another", "GOAMD64": "v3", "SOURCE_DATE_EPOCH": "1", "TZ": "Asia/Kolkata", "LC_ALL": "de_DE.UTF-8",
		"HOME": t.TempDir(), "USER": "another", "REGISTRY_AUTH_FILE": "/another/auth.json", "DOCKER_HOST": "tcp://192.0.2.1:2375",
		"GOCACHE": goEnv(t, "GOCACHE"), "GOMODCACHE": goEnv(t, "GOMODCACHE"), "GOPROXY": goEnv(t, "GOPROXY"), // Not those of another home.
	} {
		t.Setenv(name, value)
	}
	require.NoError(t, makeAll(t.Context(), elsewhere, second, platformsOfTests()))

	packages, err := filepath.Glob(filepath.Join(first, "*_x86_64.apk"))
	require.NoError(t, err)
	require.Len(t, packages, 1)
	checkApk(t, packages[0])

	compared := 0
	entries, err := os.ReadDir(first)
	require.NoError(t, err)
	for _, entry := range entries {
		want, _, err := sumOf(filepath.Join(first, entry.Name()))
		require.NoError(t, err)
		got, _, err := sumOf(filepath.Join(second, entry.Name()))
		if assert.NoError(t, err) {
			assert.Equal(t, want, got, entry.Name())
			compared++
		}
	}
	others, err := os.ReadDir(second)
	require.NoError(t, err)
	assert.Len(t, others, compared)
	assert.Greater(t, compared, 5)
}

func goEnv(t *testing.T, name string) string {
	t.Helper()
	out, err := output(t.Context(), ".", nil, "go", "env", name)
	require.NoError(t, err)
	return out
}
