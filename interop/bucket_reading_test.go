//go:build interop

package interop

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

// TestReadBucket reads an archive in a bucket with each command that reads archives, and compares the results with
// those of the file.
func TestReadBucket(t *testing.T) {
	t.Parallel()
	readStore(t, startVersitygw(t))
}

func readStore(t *testing.T, store objectStore) {
	dir := t.TempDir()
	local, january := filepath.Join(dir, "app.tar"), filepath.Join(dir, "january.tar")
	command := store.command(t)
	command.run(t, "save", "-q", "--insecure-policy", "-o", january, "--name", "example.com/app:1", "oci:../testdata/oci:one")
	command.run(t, "make", "-q", "-b", january, "--add", "go.mod:/etc/", "-t", "example.com/app:2", "-o", filepath.Join(dir, "two.tar"))
	command.run(t, "save", "-q", "--insecure-policy", "-o", local, january, filepath.Join(dir, "two.tar"))
	const key = "2026/app-09%3A30.tar"
	store.put(t, "2026/app-09:30.tar", local)
	store.put(t, "january.tar", january)
	remote := store.path(key)
	out := func(n string) string { return filepath.Join(dir, n) }
	for _, line := range []string{
		"list ARCHIVE", "list --json ARCHIVE", "inspect ARCHIVE:example.com/app:1", "files -l ARCHIVE:example.com/app:2",
		"cat ARCHIVE:example.com/app:2 /etc/go.mod", "layers ARCHIVE:@0", "export -o - ARCHIVE:@1",
	} {
		args := func(path string) []string { return strings.Fields(strings.ReplaceAll(line, "ARCHIVE", path)) }
		assert.Equal(t, command.run(t, args(local)...), command.run(t, args(remote)...), line)
	}
	want, _ := command.try(t, "diff", local+":@0", local+":@1") // It fails if there is a difference.
	got, _ := command.try(t, "diff", remote+":@0", remote+":@1")
	assert.Equal(t, want, got)
	assert.Contains(t, got, "etc/go.mod")
	assert.Contains(t, command.run(t, "verify", remote), "OK")
	command.run(t, "extract", "-q", remote+":@1", "/etc", out("etc"))
	assert.FileExists(t, out("etc/go.mod"))
	command.run(t, "copy", "-q", "--insecure-policy", remote+":example.com/app:1", "image-archive:"+out("copied.tar")+":example.com/app:1")
	requireSameFile(t, january, out("copied.tar"))
	command.run(t, "save", "-q", "--insecure-policy", "-o", out("saved.tar"), remote)
	requireSameFile(t, local, out("saved.tar"))
	for _, way := range []string{"--without", "--delta"} {
		thin := out("thin" + way + ".tar")
		command.run(t, "save", "-q", "--insecure-policy", "-o", thin, local, way, store.path("january.tar"))
		assert.Contains(t, command.run(t, "verify", thin, "--base", store.path("january.tar")), "OK")
	}
	registry := startDistribution(t)
	command.run(t, "push", "-q", "--tls-verify=false", remote, registry)
	command.run(t, "inspect", "--tls-verify=false", "docker://"+registry+"/app:2")
}
