//go:build interop && interopall

package interop

import (
	"encoding/json"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestDiffAsDiffoci compares images with diff and with diffoci --semantic, which both leave
// out times: both find the same paths.
func TestDiffAsDiffoci(t *testing.T) {
	diffoci := built(t, "diffoci")
	diffoci.argv = append(diffoci.argv, "--backend", "local", "--local-cache", filepath.Join(t.TempDir(), "cache"))
	own := dockerArchive(t)
	for name, change := range map[string]string{
		"built twice":      `find . -exec touch -h -d @1700000000 {} +`,
		"one package more": `mkdir -p usr/share/doc/more; echo more >usr/bin/more; chmod 755 usr/bin/more; ln -s more usr/bin/less; echo text >usr/share/doc/more/copyright; echo more >>var/status`,
		"one package less": `rm -r opt/tool usr/bin/tool; echo less >var/status`,
		"modes and owners": `chmod 4755 usr/bin/tool; chown 5:6 var/status; chmod 700 opt`,
		"other types":      `rm var/status; mkdir var/status; rm usr/bin/link; echo file >usr/bin/link; rm -r opt/tool; ln -s /usr/bin/tool opt/tool`,
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			shell(t, `cd "$1"; mkdir -p a/usr/bin a/opt/tool/lib a/var; echo tool >a/usr/bin/tool; ln -s tool a/usr/bin/link
				echo lib >a/opt/tool/lib/so; echo status >a/var/status; cp -a a b; cd b; `+change, dir)
			var archives []string
			for _, tree := range []string{"a", "b"} {
				path := filepath.Join(dir, tree+".tar")
				own.run(t, "make", "-q", "--add", filepath.Join(dir, tree)+":/", "--set-platform", "linux/amd64", "-t", "example.com/x:"+tree, "-o", path)
				diffoci.run(t, "load", "--input", path)
				archives = append(archives, path)
			}
			theirs, _ := diffoci.try(t, "diff", "--pull", "never", "--semantic", "example.com/x:a", "example.com/x:b")
			ours, err := own.try(t, "diff", "--json", archives[0], archives[1])
			require.Equal(t, diffociPaths(theirs), diffPaths(t, ours), "%s\n%s", theirs, ours)
			require.Equal(t, len(diffPaths(t, ours)) == 0, err == nil)
		})
	}
}

// diffociRow matches the rows about entries, of one image or of both.
var diffociRow = regexp.MustCompile(`(?m)^(?:File +(\S+) |Layer .* name "([^"]+)" only appears)`)

func diffociPaths(table string) (paths []string) {
	for _, row := range diffociRow.FindAllStringSubmatch(table, -1) {
		paths = append(paths, "/"+strings.TrimSuffix(row[1]+row[2], "/"))
	}
	slices.Sort(paths)
	return slices.Compact(paths)
}

func diffPaths(t *testing.T, output string) (paths []string) {
	t.Helper()
	var diff struct{ Files []struct{ Path string } }
	require.NoError(t, json.Unmarshal([]byte(output), &diff))
	for _, file := range diff.Files {
		paths = append(paths, file.Path)
	}
	slices.Sort(paths)
	return slices.Compact(paths)
}
