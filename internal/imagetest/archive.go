package imagetest

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Files returns the regular files in an archive, and the names of all entries
// in their order. No file may occur twice.
func Files(t testing.TB, archive []byte) (map[string][]byte, []string) {
	t.Helper()
	contents, names := map[string][]byte{}, []string{}
	r := tar.NewReader(bytes.NewReader(archive))
	for {
		h, err := r.Next()
		if err == io.EOF {
			return contents, names
		}
		require.NoError(t, err)
		names = append(names, h.Name)
		if h.Typeflag != tar.TypeReg {
			continue
		}
		require.NotContains(t, contents, h.Name, "an entry occurs twice")
		contents[h.Name], err = io.ReadAll(r)
		require.NoError(t, err)
	}
}

// LayerNames returns those names that are of layers in the docker layout.
func LayerNames(names []string) []string {
	return slices.DeleteFunc(slices.Clone(names), func(n string) bool {
		return !strings.HasSuffix(n, ".tar") || strings.Contains(n, "/")
	})
}

// Item is an element of manifest.json.
type Item struct {
	Config   string
	RepoTags []string
	Layers   []string
}

// Items returns what manifest.json of an archive says.
func Items(t testing.TB, archive []byte) []Item {
	t.Helper()
	contents, _ := Files(t, archive)
	var items []Item
	require.NoError(t, json.Unmarshal(contents["manifest.json"], &items))
	return items
}

// RepoTags returns the names of each image of an archive.
func RepoTags(t testing.TB, archive []byte) [][]string {
	t.Helper()
	var tags [][]string
	for _, item := range Items(t, archive) {
		tags = append(tags, item.RepoTags)
	}
	return tags
}

// Sum returns the SHA-256 sum of data in hexadecimal digits.
func Sum(data []byte) string { return fmt.Sprintf("%x", sha256.Sum256(data)) }

// Leftovers returns what is in a directory, and the files without a name in it
// that this process has open.
func Leftovers(t testing.TB, dir string) []string {
	t.Helper()
	var found []string
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, e := range entries {
		found = append(found, e.Name())
	}
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return found // Not Linux.
	}
	for _, fd := range fds {
		if target, err := os.Readlink("/proc/self/fd/" + fd.Name()); err == nil && strings.HasPrefix(target, dir+"/") {
			found = append(found, "open: "+strings.TrimPrefix(target, dir+"/"))
		}
	}
	return found
}
