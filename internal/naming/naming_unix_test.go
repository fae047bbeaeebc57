//go:build unix

package naming

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestIsFree(t *testing.T) {
	for _, name := range []string{"1", "V1.0_RC", "v1.0+build.5", "feature/branch", "a--b", strings.Repeat("A", 64)} {
		assert.True(t, IsFree(name), name)
	}
	for _, name := range []string{"", "-a", "a-", "a..b", "a---b", "/a", "a/", "a//b", "a:b", "a@b", "a b", "a\n", strings.Repeat("a", 64)} {
		assert.False(t, IsFree(name), "%q", name)
	}
}

func TestSplit(t *testing.T) {
	t.Chdir(t.TempDir())
	require.NoError(t, os.WriteFile("app-09:30.tar", nil, 0o600))
	require.NoError(t, os.WriteFile("app", nil, 0o600))
	require.NoError(t, os.WriteFile("app:v1", nil, 0o600))
	require.NoError(t, os.MkdirAll("dir:x", 0o700))
	for _, c := range []struct {
		s, path, name string
		hasName       bool
	}{
		{"new.tar", "new.tar", "", false},
		{"new.tar:", "new.tar", "", true},
		{"new.tar:a:1", "new.tar", "a:1", true},
		{"app-09:30.tar", "app-09:30.tar", "", false},
		{"app-09:30.tar:a:1", "app-09:30.tar", "a:1", true},
		{"app:v1", "app", "v1", true}, // the file before the first colon goes first
		{"dir:x", "dir", "x", true},   // a directory is no archive
	} {
		path, name, hasName := Split(c.s)
		assert.Equal(t, c.path, path, c.s)
		assert.Equal(t, c.name, name, c.s)
		assert.Equal(t, c.hasName, hasName, c.s)
	}
}

func TestIsFile(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "a")
	assert.False(t, IsFile(file))
	assert.False(t, IsFile(dir))
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	assert.True(t, IsFile(file))
}
