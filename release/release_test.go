package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/mod/module"
	"golang.org/x/mod/zip"
)

const tags = "containers_image_openpgp,exclude_graphdriver_btrfs,grpcnotrace"

// A world has a copy of this repository, a proxy that is a folder, and a consumer that knows
// of nothing else but the modules that this machine has downloaded.
type world struct {
	t                    *testing.T
	repository, consumer string
	proxy                string
	env                  []string
}

func newWorld(t *testing.T) world {
	dir := t.TempDir()
	w := world{t: t, repository: filepath.Join(dir, "repository"), consumer: filepath.Join(dir, "consumer"), proxy: filepath.Join(dir, "proxy")}
	cache := strings.TrimSpace(w.command("", "go", "env", "GOMODCACHE"))
	w.env = []string{
		"GOPROXY=file://" + w.proxy + ",file://" + filepath.Join(cache, "cache", "download"),
		"GONOSUMDB=*", "GOFLAGS=-trimpath -modcacherw", "GOMODCACHE=" + filepath.Join(dir, "modules"),
		"GOBIN=" + filepath.Join(dir, "bin"), "CGO_ENABLED=0", "GOWORK=off",
		"GIT_AUTHOR_NAME=x", "GIT_AUTHOR_EMAIL=x@example.com", "GIT_COMMITTER_NAME=x", "GIT_COMMITTER_EMAIL=x@example.com",
	}
	require.NoError(t, os.MkdirAll(w.repository, 0o755))
	require.NoError(t, os.MkdirAll(w.consumer, 0o755))
	w.command("..", "sh", "-ec", fmt.Sprintf("git ls-files -z --cached --others --exclude-standard | xargs -0 cp --parents -t %q", w.repository))
	w.command(w.repository, "git", "init", "-q")
	w.commit("all")
	return w
}

// command runs a command in a folder and returns its output, also on failure.
func (w world) tries(dir, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(w.t.Context(), name, args...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), w.env...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func (w world) command(dir, name string, args ...string) string {
	w.t.Helper()
	out, err := w.tries(dir, name, args...)
	require.NoError(w.t, err, "%s %v: %s", name, args, out)
	return out
}

func (w world) commit(message string) {
	w.t.Helper()
	w.command(w.repository, "git", "add", "-A")
	w.command(w.repository, "git", "commit", "-q", "-m", message)
}

// publish makes a release and puts both modules where a proxy has them.
func (w world) publish(version string) {
	w.t.Helper()
	w.t.Setenv("GIT_AUTHOR_NAME", "x")
	w.t.Setenv("GIT_AUTHOR_EMAIL", "x@example.com")
	w.t.Setenv("GIT_COMMITTER_NAME", "x")
	w.t.Setenv("GIT_COMMITTER_EMAIL", "x@example.com")
	head := w.command(w.repository, "git", "rev-parse", "HEAD")
	require.NoError(w.t, release(w.repository, version))
	assert.Equal(w.t, head, w.command(w.repository, "git", "rev-parse", "HEAD"), "no branch moves")
	assert.Equal(w.t, "podman/go.mod\npodman/go.sum\n", w.command(w.repository, "git", "diff", "--name-only", version, "podman/"+version))
	w.put(rootModule, version, version, "")
	w.put(rootModule+"/podman", version, "podman/"+version, "podman")
}

func (w world) put(path, version, tag, folder string) {
	w.t.Helper()
	dir := filepath.Join(w.proxy, filepath.FromSlash(path), "@v")
	require.NoError(w.t, os.MkdirAll(dir, 0o755))
	list, err := os.OpenFile(filepath.Join(dir, "list"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	require.NoError(w.t, err)
	fmt.Fprintln(list, version)
	require.NoError(w.t, list.Close())
	info, err := json.Marshal(map[string]string{"Version": version})
	require.NoError(w.t, err)
	require.NoError(w.t, os.WriteFile(filepath.Join(dir, version+".info"), info, 0o600))
	goMod := w.command(w.repository, "git", "show", tag+":"+strings.TrimPrefix(folder+"/go.mod", "/"))
	require.NoError(w.t, os.WriteFile(filepath.Join(dir, version+".mod"), []byte(goMod), 0o600))
	f, err := os.Create(filepath.Join(dir, version+".zip"))
	require.NoError(w.t, err)
	require.NoError(w.t, zip.CreateFromVCS(f, module.Version{Path: path, Version: version}, w.repository, tag, folder))
	require.NoError(w.t, f.Close())
}

// consume writes a program of another module that imports packages, and gets them.
func (w world) consume(version string, packages ...string) {
	w.t.Helper()
	program := "package main\n\n"
	for _, p := range packages {
		program += fmt.Sprintf("import _ %q\n", p)
	}
	require.NoError(w.t, os.RemoveAll(w.consumer))
	require.NoError(w.t, os.MkdirAll(w.consumer, 0o755))
	require.NoError(w.t, os.WriteFile(filepath.Join(w.consumer, "main.go"), []byte(program+"\nfunc main() {}\n"), 0o600))
	w.command(w.consumer, "go", "mod", "init", "example.com/consumer")
	for _, p := range packages {
		w.command(w.consumer, "go", "get", p+"@"+version)
	}
}

// A release can be installed and required from elsewhere. Both modules are raised together:
// podman brings its version of the root along, and if only the root is raised, the compiler
// says which module is behind.
func TestRelease(t *testing.T) {
	w := newWorld(t)
	w.publish("v1.0.0")

	w.command(w.consumer, "go", "install", "-tags", tags, rootModule+"/podman/cmd/docker-archive@v1.0.0")
	bin := filepath.Join(filepath.Dir(w.consumer), "bin", "docker-archive")
	assert.Contains(t, w.command(w.consumer, bin, "version"), "v1.0.0")

	w.consume("v1.0.0", rootModule, rootModule+"/register", rootModule+"/archive", rootModule+"/serving", rootModule+"/compose")
	w.command(w.consumer, "go", "build", ".")

	w.consume("v1.0.0", rootModule+"/podman", rootModule+"/podman/register")
	w.command(w.consumer, "go", "build", ".")
	w.consume("v1.0.0", rootModule+"/podman/copying", rootModule+"/podman/making")
	w.command(w.consumer, "go", "build", "-tags", "containers_image_openpgp", ".")

	// The next version has another internal package.
	w.command(w.repository, "sh", "-ec", `git mv internal/naming internal/renamed
		sed -i 's/^package naming/package renamed/' internal/renamed/*.go
		grep -rl dockerarchive/internal/naming --include=*.go . | xargs sed -i 's#"\(.*\)dockerarchive/internal/naming"#naming "\1dockerarchive/internal/renamed"#'`)
	w.commit("rename a package")
	w.publish("v1.1.0")
	w.command(w.consumer, "go", "mod", "edit", "-require", rootModule+"@v1.1.0")
	out, err := w.tries(w.consumer, "go", "build", "-mod=mod", "-tags", "containers_image_openpgp", ".")
	require.Error(t, err, "the root alone")
	assert.Contains(t, out, "podman@v1.0.0")
	assert.Contains(t, out, "internal/naming")
	w.command(w.consumer, "go", "get", rootModule+"/podman/copying@v1.1.0", rootModule+"/podman/making@v1.1.0")
	w.command(w.consumer, "go", "build", "-tags", "containers_image_openpgp", ".")
	assert.Contains(t, w.command(w.consumer, "go", "list", "-m", rootModule), "v1.1.0", "raised by podman")
}

func TestReleaseRefuses(t *testing.T) {
	for _, version := range []string{"1.0.0", "v1", "v1.0.0+build", "latest"} {
		require.ErrorContains(t, release(t.TempDir(), version), "is not a version", version)
	}
}
