// Package internal_test holds the picture of the architecture against the code.
package internal_test

import (
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const module = "github.com/dockerarchive/dockerarchive/"

// rooms says for every package below the line which others of this module it may
// import. A package is listed after all that it may import: arrows point upwards
// here and nowhere else. Packages that do not exist yet keep their places.
var rooms = []struct{ name, mayImport string }{
	// The errors that callers tell apart, and how they quote. Everybody may import them.
	{"internal/printable", ""},
	{"errdef", "internal/printable"},
	{"imageinfo", "errdef"}, // facts about an image

	// Reports to a program while something takes its time.
	{"progress", ""},

	// Single-purpose, and strangers to everything else here.
	{"internal/inflate", ""},
	{"internal/async", ""},
	{"internal/local", ""},
	{"internal/naming", ""},
	{"internal/address", "internal/naming"},
	{"internal/stall", ""},
	{"internal/retry", "errdef internal/local"},
	{"internal/webclient", ""},                               // connections to servers with archives
	{"internal/ranged", "internal/retry internal/webclient"}, // sources read by ranges, anywhere
	{"internal/compression", "errdef internal/inflate"},

	// A Docker daemon, asked for its images.
	{"internal/daemon", "errdef"},

	// Files of this machine. They know nothing of their content.
	{"internal/spool", "errdef internal/local"},
	{"internal/parts", "errdef"},

	// The difference of two blobs. It does not know their meaning.
	{"internal/deflate", ""},
	{"delta", "internal/deflate internal/inflate internal/local internal/spool"},

	{"internal/input", "errdef internal/async internal/compression internal/local internal/naming internal/parts internal/spool"},
	{"internal/output", "errdef internal/compression internal/local internal/naming internal/parts internal/spool"},

	// Archives elsewhere, for programs that import them.
	{"store/https", "internal/input internal/naming internal/ranged internal/retry internal/stall internal/webclient"},
	{"store/s3", "errdef internal/address internal/input internal/local internal/output internal/ranged internal/retry internal/stall internal/webclient"},

	// The tar container knows names, sizes and offsets, and no images; images know no
	// tar.
	{"internal/tarfile", "errdef internal/local internal/printable internal/spool"},
	{"internal/image", "errdef internal/compression internal/printable"},

	// The layers of images that are made. They know tar, and no images.
	{"internal/layertar", "errdef"},
	{"internal/files", "errdef internal/async internal/compression internal/inflate internal/layertar internal/local internal/spool"},
	{"internal/imagediff", "internal/files"},
	{"internal/packing", "errdef internal/files internal/layertar"},
	{"internal/unpacking", "internal/files internal/layertar internal/local"},

	// Everything that some client loads from an archive. It does not know which images
	// are meant.
	{"internal/loadable", "errdef internal/compression internal/image internal/printable internal/tarfile"},

	// An archive that is read. It does not know how one is written.
	{"internal/catalog", "errdef imageinfo internal/async internal/compression internal/image internal/naming internal/printable internal/tarfile"},
	{"internal/verify", "delta errdef internal/async internal/catalog internal/compression internal/image internal/printable internal/tarfile"},

	// Layers that archives leave out. It knows no images.
	{"internal/bases", "delta errdef internal/catalog internal/compression internal/image internal/local internal/spool"},

	{"archive", "errdef imageinfo internal/bases internal/catalog internal/files internal/image internal/input internal/naming internal/tarfile internal/verify"},

	// Blobs on disk, from any source. It knows only their digests.
	{"internal/blobcache", "internal/local"},

	// A registry of archives that are read.
	{"serving", "archive errdef internal/blobcache internal/image internal/input internal/naming internal/printable internal/ranged internal/webclient"},

	// The pages of a registry for people.
	{"browsing", "archive errdef imageinfo internal/files internal/image internal/imagediff internal/printable serving"},

	// An archive that is written. The layouts know no files and no sources; writing does
	// not know where blobs come from, and fetching knows no archives.
	{"internal/layout", "errdef internal/catalog internal/image internal/naming internal/tarfile"},
	{"internal/writing", "errdef imageinfo internal/async internal/catalog internal/compression internal/image internal/layout internal/local internal/output internal/printable internal/spool internal/tarfile"},
	{"internal/fetching", "errdef internal/async internal/image internal/local internal/retry progress"},

	// An image that is made. It does not know where it goes.
	{"compose", "archive errdef internal/async internal/compression internal/files internal/image internal/layertar internal/local internal/packing internal/spool progress"},
}

// tools are packages that test or generate packages above the line.
var tools = []string{"internal/hostile", "internal/showcase", "internal/imagetest", "internal/fronttest", "internal/forging", "internal/leaktest", "internal/raced", "internal/podmangen", "internal/storetest", "internal/sizes/front", "internal/sizes/archive"}

// above are the modules that only packages above the line may import.
var above = []string{"github.com/containers/image/", "github.com/containers/storage/", "go.podman.io/"}

// listed is a package as "go list" prints it.
type listed struct {
	ImportPath string
	Imports    []string
	Deps       []string
}

// list returns all packages below the line as they are built for an operating
// system.
func list(t testing.TB, goos string) []listed {
	return goList(t, exec.Command("go", "list", "-json=ImportPath,Imports,Deps", module+"errdef", module+"imageinfo", module+"progress", module+"archive/...", module+"browsing/...", module+"compose/...", module+"delta/...", module+"serving/...", module+"store/...", module+"internal/..."), goos)
}

// goList returns the output of a "go list".
func goList(t testing.TB, cmd *exec.Cmd, goos string) []listed {
	cmd.Env = append(os.Environ(), "GOOS="+goos, "GOARCH=amd64", "CGO_ENABLED=0")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	var all []listed
	for d := json.NewDecoder(out); ; {
		var p listed
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else {
			require.NoError(t, err)
		}
		all = append(all, p)
	}
	require.NoError(t, cmd.Wait())
	return all
}

// within returns the packages among imports that are of this module, by their
// names in the table.
func within(imports []string) []string {
	var ours []string
	for _, i := range imports {
		if name, ok := strings.CutPrefix(i, module); ok {
			ours = append(ours, name)
		}
	}
	return ours
}

// readSources reads the files that "go list" will read, so that "go test" does not
// take the result of an earlier run for that of changed files.
func readSources(t testing.TB, roots ...string) {
	for _, root := range append(roots, "../go.mod", "../errdef", "../imageinfo", "../progress", "../archive", "../browsing", "../compose", "../delta", "../serving", "../store", ".") {
		require.NoError(t, filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err == nil && (strings.HasSuffix(path, ".go") || path == "../go.mod") {
				_, err = os.ReadFile(path)
			}
			return err
		}))
	}
}

func TestRooms(t *testing.T) {
	readSources(t)
	allowed := map[string][]string{}
	for _, r := range rooms {
		for _, i := range strings.Fields(r.mayImport) {
			assert.Contains(t, allowed, i, "%s may import %s, which is not listed before it", r.name, i)
		}
		allowed[r.name] = strings.Fields(r.mayImport)
	}
	for _, goos := range []string{"linux", "darwin", "windows"} {
		t.Run(goos, func(t *testing.T) {
			t.Parallel()
			for _, p := range list(t, goos) {
				name := strings.TrimPrefix(p.ImportPath, module)
				if slices.Contains(tools, name) || strings.Contains(p.ImportPath, "/testdata/") || name == "internal" {
					continue
				}
				may, ok := allowed[name]
				assert.True(t, ok, "%s has no place in the table of rooms", name)
				for _, i := range within(p.Imports) {
					assert.Contains(t, may, i, "%s must not import %s", name, i)
				}
				crosses := slices.IndexFunc(p.Deps, func(dep string) bool {
					return slices.ContainsFunc(above, func(m string) bool { return strings.HasPrefix(dep, m) })
				})
				if crosses >= 0 {
					assert.Fail(t, name+" depends on "+p.Deps[crosses])
				}
				if name == "errdef" { // Everybody imports it, for two words.
					assert.Equal(t, []string{"errors", "fmt", module + "internal/printable", "github.com/opencontainers/go-digest", "io/fs", "strings"}, p.Imports)
				}
			}
		})
	}
}
