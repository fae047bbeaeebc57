//go:build interop

package interop

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/compose"
)

// ignored are .dockerignore files.
var ignored = []string{
	"a.txt", "/a.txt", "./a.txt", "a.txt/", "/d", "d/", "d", "/d/", "d/.", "d//a.txt",
	"*", "*.txt", "/*.txt", "*/a.txt", "*/*", "*/*/a.txt", "**", "**/a.txt", "**/*.txt", "/**/a.txt",
	"d/**", "d/**/a.txt", "**/e", "**/e/**", "**/e/*", "d**", "d*/**/*.md", "**.txt", "a**", "***",
	"?.txt", "[ab].txt", "[a-c].txt", "[^a].txt", "\\*.txt", "a\\.txt", "b?txt", "d?e", "d/e/../a.txt", "../a.txt",
	"..", ".", "/", "", "# a.txt", " a.txt ", "#a.txt", "\\#a.txt", "\ufeffa.txt", "A.TXT",
	"*\n!a.txt", "d\n!d/a.txt", "d/*\n!d/e", "**\n!**/*.md", "*.txt\n!a.txt\na.txt", "!a.txt", "! a.txt\n*", "*\n!d/e/b.md", "d\n!d", ".*",
	"*\n!d/**/b.md", "d/e\n!d/e/b.md\nd/e/b.md", "*\r\n!a.txt\r\n", "**/.h\n!d/.h", "!/d/a.txt\n/d\n!d/a.txt", "x y", "*\n!/d", "d/e/*\n!d/e/*.md",
	"a.txt\n\n\nb.txt", "\t*.md", "!d", "**/d", "d/*/a.txt", "[", "a[", "[]a].txt", "\\", "d\\/a.txt", "**/*\n!a.txt", "!*", "./", "./d/./e", "d/..",
	"d/../a.txt", "#\n!#a.txt", " \n*", "*\n!", "*.t?t", "{a,b}.txt", "*\n!*/\n!**/*.txt", "d/e/..", "//a.txt", "/./d", "!/", "**/**/a.txt", "*\n!d/e/../a.txt",
	"**/.*", "d\n!**/a.txt", "d/\n!d/e/", "*.txt\n!/**/a.txt", "d/e/f/", "[a-b-c].txt", "[!a].txt", "a.txt # no", "d/***/a.txt", "*\\.txt",
}

// olderIgnored are those that docker 20's command reads differently from BuildKit and from us.
var olderIgnored = map[string]string{
	"**.txt":        "** was a name, not any number of directories and part of a name",
	"**\n!**/*.md":  "excluded directories are not entered for an exception that has wildcards",
	"*\n!d/**/b.md": "excluded directories are not entered for an exception that has wildcards",
	"d\n!**/a.txt":  "excluded directories are not entered for an exception that has wildcards",
}

// TestIgnored has docker build send files through every one of these, and packs them with it: the
// same files go, or both refuse. The daemon is one that takes a build's context and no more.
func TestIgnored(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{
		"a.txt", "b.txt", "c.md", "A.TXT", ".h", "#a.txt", "*.txt", "x y", "d/a.txt", "d/.h", "d/e/a.txt", "d/e/b.md", "d/e/f/a.txt", "dd/a.txt", "e/a.txt", "Dockerfile",
	} {
		path := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte("FROM scratch\n"), 0o644))
	}
	require.NoError(t, os.Mkdir(filepath.Join(dir, "empty"), 0o755))
	daemon := &buildDaemon{}
	server := httptest.NewServer(daemon)
	defer server.Close()
	docker := debian(t, "docker").with("--host", "tcp://"+server.Listener.Addr().String()).withEnv("DOCKER_BUILDKIT=0", "DOCKER_CONFIG="+t.TempDir())
	ignore := filepath.Join(dir, ".dockerignore")
	for _, patterns := range ignored {
		require.NoError(t, os.WriteFile(ignore, []byte(patterns), 0o644))
		_, theirs := docker.try(t, "build", dir)
		var packed bytes.Buffer
		r, ours := compose.Dir(dir, compose.PackOptions{Exclude: []string{patterns}}).Open(t.Context())
		if ours == nil {
			_, ours = io.Copy(&packed, r)
			require.NoError(t, r.Close())
		}
		if theirs != nil || ours != nil {
			assert.Equal(t, theirs != nil, ours != nil, "%q: docker: %v\nhere: %v", patterns, theirs, ours)
			continue
		}
		names, err := tarNames(&packed)
		require.NoError(t, err)
		if reason := olderIgnored[patterns]; reason != "" {
			assert.NotEqual(t, daemon.take(), names, "%q: %s", patterns, reason)
			continue
		}
		assert.Equal(t, daemon.take(), names, "%q", patterns)
	}
	assert.GreaterOrEqual(t, len(ignored), 55)
}

// tarNames returns the sorted names of a tar, with the directories that they are in, and without
// what docker always sends.
func tarNames(packed io.Reader) ([]string, error) {
	names := map[string]bool{}
	for r := tar.NewReader(packed); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return slices.Sorted(maps.Keys(names)), nil
		}
		if err != nil {
			return nil, err
		}
		switch name := strings.TrimSuffix(h.Name, "/"); name {
		case "Dockerfile", ".dockerignore":
		default:
			for ; name != "." && name != ""; name = path.Dir(name) {
				names[name] = true
			}
		}
	}
}

// A buildDaemon takes contexts of builds.
type buildDaemon struct {
	mutex sync.Mutex
	names []string
}

// take returns the names of the last context.
func (d *buildDaemon) take() []string {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	names := d.names
	d.names = nil
	return names
}

func (d *buildDaemon) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Api-Version", "1.41")
	w.Header().Set("Ostype", "linux")
	if !strings.HasSuffix(r.URL.Path, "/build") {
		return
	}
	names, err := tarNames(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	d.mutex.Lock()
	defer d.mutex.Unlock()
	d.names = names
}
