package internal_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const podman = module + "podman"

// upstairs says for every package of module podman, except its front, which others of that
// module it may import, and which of the engine. Arrows point as in rooms. "front" is the
// transport.
var upstairs = []struct{ name, mayImport, engine string }{
	{"internal/answers", "", "internal/retry"},
	{"internal/registries", "", "errdef internal/image internal/retry"},
	{"internal/layouts", "front", "internal/layout"},
	{"internal/stores", "", "internal/input internal/output"},

	// Opening images, and reading their blobs. It knows nothing of archives that are written.
	{"internal/sources", "front internal/answers internal/registries", "archive internal/daemon internal/fetching internal/image internal/naming internal/retry internal/spool internal/stall"},

	// First the choice of images and their parts, then their use. Saving, pushing and copying
	// know nothing of each other; only archives are loaded.
	{"copying/internal/selecting", "front internal/registries internal/sources", "archive errdef internal/async internal/daemon internal/fetching internal/image internal/layout internal/local internal/naming internal/printable internal/retry internal/stall progress"},
	{"copying/internal/saving", "front copying/internal/selecting internal/layouts internal/sources internal/stores", "archive errdef internal/async internal/compression internal/fetching internal/image internal/input internal/layout internal/local internal/output internal/ranged internal/retry internal/spool internal/tarfile internal/writing progress"},
	{"copying/internal/pushing", "copying/internal/selecting internal/layouts internal/registries internal/sources", "errdef internal/image internal/local internal/spool internal/stall progress"},
	{"copying/internal/imagecopy", "front copying/internal/selecting internal/answers internal/registries internal/sources", "internal/fetching internal/image internal/retry internal/stall progress"},
	{"copying/internal/loading", "copying/internal/imagecopy copying/internal/saving copying/internal/selecting internal/layouts internal/sources", "internal/daemon internal/image internal/naming internal/printable progress"},
	{"copying/internal/signing", "front", "internal/image internal/loadable internal/printable"},

	// The door. It declares the operations, and does nothing itself.
	{"copying", "front copying/internal/imagecopy copying/internal/loading copying/internal/pushing copying/internal/saving copying/internal/selecting copying/internal/signing internal/sources", "archive errdef progress"},
	{"copying/containerd", "copying", "archive errdef internal/image"},

	{"making", "front internal/layouts internal/registries internal/sources internal/stores", "compose errdef internal/async internal/compression internal/fetching internal/image internal/layout internal/local internal/output internal/retry internal/spool internal/stall internal/writing progress"},
	{"making/container", "making", "compose"},
	{"cmd/docker-archive/internal/garbage", "", ""},
}

// listPodman returns the output of "go list" for the packages of module podman.
func listPodman(t testing.TB) []listed {
	return goList(t, exec.Command("go", "list", "-C", "../podman", "-tags", "containers_image_openpgp,exclude_graphdriver_btrfs", "-json=ImportPath,Imports,Deps", "./..."), "linux")
}

// Arrows in module podman point down too.
func TestRoomsUpstairs(t *testing.T) {
	readSources(t, "../podman")
	type may struct{ ours, engine []string }
	allowed := map[string]may{"front": {}}
	for _, r := range upstairs {
		for _, i := range strings.Fields(r.mayImport) {
			assert.Contains(t, allowed, i, "%s may import %s, which is not listed before it", r.name, i)
		}
		allowed[r.name] = may{strings.Fields(r.mayImport), strings.Fields(r.engine)}
	}
	for _, p := range listPodman(t) {
		name := strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, podman), "/")
		switch name {
		case "", "register", "e2e", "hostile", "internal/imagetest", "internal/fronttest", "internal/oddities", "cmd/docker-archive": // These may import anything, or are generated.
			continue
		}
		rules, ok := allowed[name]
		assert.True(t, ok, "%s has no place in the table of rooms", p.ImportPath)
		for _, i := range p.Imports {
			if i == podman {
				assert.Contains(t, rules.ours, "front", "%s must not import the front", name)
			} else if ours, ok := strings.CutPrefix(i, podman+"/"); ok {
				assert.Contains(t, rules.ours, ours, "%s must not import %s", name, ours)
			} else if engine, ok := strings.CutPrefix(i, module); ok {
				assert.Contains(t, rules.engine, engine, "%s must not import %s", name, engine)
			}
		}
	}
}

// Files of a room use each other in one direction: no two of them, and no circle of them,
// need each other. Only the names that files declare count, not their methods.
func TestFilesOfRooms(t *testing.T) {
	var dirs []string
	for _, r := range upstairs {
		dirs = append(dirs, filepath.Join("../podman", r.name))
	}
	for _, dir := range dirs {
		uses := fileArrows(t, dir)
		for _, circle := range circles(uses) {
			assert.Fail(t, dir+": files need each other: "+strings.Join(circle, ", "))
		}
	}
}

// fileArrows returns which files of a package use names that others declare.
func fileArrows(t testing.TB, dir string) map[string][]string {
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	files, declared := map[string]*ast.File{}, map[string]string{}
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".go") || strings.HasSuffix(e.Name(), "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(dir, e.Name()), nil, 0)
		require.NoError(t, err)
		files[e.Name()] = f
		for name, object := range f.Scope.Objects { //nolint:staticcheck // Only names of the same file matter.
			if object.Kind != ast.Bad {
				declared[name] = e.Name()
			}
		}
	}
	uses := map[string][]string{}
	for name, f := range files {
		for _, ident := range f.Unresolved { // Neither local nor a field.
			if other, ok := declared[ident.Name]; ok && other != name && !slices.Contains(uses[name], other) {
				uses[name] = append(uses[name], other)
			}
		}
	}
	return uses
}

// circles returns files that reach each other.
func circles(uses map[string][]string) [][]string {
	reached := map[string]map[string]bool{}
	for from := range uses {
		reached[from] = map[string]bool{}
		for todo := slices.Clone(uses[from]); len(todo) > 0; {
			next := todo[0]
			todo = todo[1:]
			if !reached[from][next] {
				reached[from][next] = true
				todo = append(todo, uses[next]...)
			}
		}
	}
	var found [][]string
	seen := map[string]bool{}
	for from := range uses {
		if seen[from] || !reached[from][from] {
			continue
		}
		var circle []string
		for to := range reached[from] {
			if reached[to][from] {
				seen[to] = true
				circle = append(circle, to)
			}
		}
		slices.Sort(circle)
		found = append(found, circle)
	}
	return found
}
