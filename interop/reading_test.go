//go:build interop

package interop

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/distribution/reference"
	"github.com/stretchr/testify/require"
)

// TestRead has the command under test list, verify and copy archives of every
// client.
func TestRead(t *testing.T) {
	for _, w := range writers {
		t.Run(w.name, func(t *testing.T) {
			t.Parallel()
			for _, a := range w.write(t, t.TempDir()) {
				t.Run(a.name, func(t *testing.T) {
					compare(t, a, true, readWithCommand(t, a.path))
				})
			}
		})
	}
}

// readWithCommand returns the images of an archive as the command lists and copies them.
func readWithCommand(t *testing.T, path string) []shown {
	t.Helper()
	command := dockerArchive(t)
	var listed []struct {
		Position int
		Names    []string
	}
	require.NoError(t, json.Unmarshal([]byte(command.run(t, "list", "--json", path)), &listed))
	command.run(t, "verify", path)
	var all []shown
	for _, l := range listed {
		layout := filepath.Join(t.TempDir(), "layout")
		command.run(t, "copy", "--insecure-policy", "--all",
			fmt.Sprintf("docker-archive:%s:@%d", path, l.Position), "oci:"+layout+":read")
		for _, image := range layoutImages(t, layout, "read") {
			all = append(all, shown{image: image, names: fullNames(t, l.Names)})
		}
	}
	return mergeNames(all)
}

// fullNames returns names in full, without those that only an OCI layout knows.
func fullNames(t *testing.T, names []string) []string {
	t.Helper()
	full := []string{}
	for _, name := range names {
		if !strings.Contains(name, ":") {
			continue
		}
		named, err := reference.ParseNormalizedNamed(name)
		require.NoError(t, err)
		full = append(full, named.String())
	}
	return full
}
