//go:build interop

package interop

import (
	"encoding/json"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// An upstream is a copy of another project's module with a few changed imports, so that its
// programs and its tests run with this project. Nothing of it is kept here: it comes from
// the module cache.
type upstream struct {
	dir string
}

// newUpstream copies a module, without its vendor directory.
func newUpstream(t *testing.T, module, version string) upstream {
	t.Helper()
	elsewhere := upstream{dir: t.TempDir()} // so that no go.mod of this project applies
	answer := elsewhere.run(t, "mod", "download", "-json", module+"@"+version)
	var download struct{ Dir string }
	require.NoError(t, json.Unmarshal([]byte(answer), &download))
	u := upstream{dir: filepath.Join(t.TempDir(), "module")}
	require.NoError(t, os.CopyFS(u.dir, os.DirFS(download.Dir)))
	require.NoError(t, os.RemoveAll(filepath.Join(u.dir, "vendor")))
	return u
}

// run runs the go command in the module and returns its standard output.
func (u upstream) run(t *testing.T, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", args...)
	cmd.Dir = u.dir
	// -mod=mod lets it complete go.mod and go.sum, which knew nothing of this project. With
	// -trimpath, packages that both use are cached from building the command.
	cmd.Env = append(os.Environ(), "GOFLAGS=-mod=mod -trimpath -buildvcs=false", "GOWORK=off", "CGO_ENABLED=0")
	var stdout, stderr strings.Builder
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	require.NoError(t, cmd.Run(), "go %s\n%s%s", strings.Join(args, " "), &stdout, &stderr)
	return stdout.String()
}

// require has the module use the given one of this project's, as it is in this tree, and
// at least the given version of others.
func (u upstream) require(t *testing.T, ours string, others ...string) {
	t.Helper()
	root, err := filepath.Abs("..")
	require.NoError(t, err)
	edit := []string{
		"mod", "edit",
		"-replace=" + rootModule + "=" + root,
		"-replace=" + podmanModule + "=" + filepath.Join(root, "podman"),
		"-require=" + ours + "@v0.0.0-00010101000000-000000000000",
	}
	for _, other := range others {
		edit = append(edit, "-require="+other)
	}
	u.run(t, edit...)
}

// write writes a file of the module, into which values are filled: a name and what to
// write for it, and so on.
func (u upstream) write(t *testing.T, name, text string, values ...string) {
	t.Helper()
	text = strings.NewReplacer(values...).Replace(text)
	require.NoError(t, os.WriteFile(filepath.Join(u.dir, name), []byte(text), 0o600))
}

// replace replaces text in the Go files below a directory, without their tests or with them,
// and returns the names of those that had it.
func (u upstream) replace(t *testing.T, dir string, tests bool, oldNew ...string) []string {
	t.Helper()
	var changed []string
	err := filepath.WalkDir(filepath.Join(u.dir, dir), func(path string, entry fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".go" || !tests && strings.HasSuffix(path, "_test.go") {
			return err
		}
		old, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		text := strings.NewReplacer(oldNew...).Replace(string(old))
		if text == string(old) {
			return nil
		}
		changed = append(changed, entry.Name())
		return os.WriteFile(path, []byte(text), 0o600)
	})
	require.NoError(t, err)
	return changed
}
