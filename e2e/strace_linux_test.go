package e2e_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/internal/imagetest"
)

// tracedCall is a system call of a process, as strace saw it begin.
type tracedCall struct{ name, path, rest string }

var syscallLine = regexp.MustCompile(`(\w+)\((?:AT_FDCWD[^,]*, "[^"]*", AT_FDCWD[^,]*, "([^"]*)"|\d+<([^>]*)>)(.*)`)

// traced returns the calls of a child that change or sync files of a directory.
func traced(t *testing.T, dir, what, argument string) (calls []tracedCall) {
	t.Helper()
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Skip("there is no strace")
	}
	log := filepath.Join(t.TempDir(), "log")
	cmd := child(t, what, argument)
	cmd.Args = append([]string{strace, "-f", "-y", "-o", log, "-e", "trace=fsync,fdatasync,linkat,renameat2,renameat,pwrite64", cmd.Path}, cmd.Args[1:]...)
	cmd.Path = strace
	if out, err := cmd.CombinedOutput(); err != nil {
		if strings.Contains(string(out), "ptrace") {
			t.Skipf("processes cannot be traced here: %s", out)
		}
		require.NoError(t, err, "%s", out)
	}
	data, err := os.ReadFile(log)
	require.NoError(t, err)
	for line := range strings.Lines(string(data)) {
		m := syscallLine.FindStringSubmatch(line)
		if m == nil || !strings.HasPrefix(m[2]+m[3], dir) {
			continue
		}
		calls = append(calls, tracedCall{m[1], m[2] + m[3], m[4]})
	}
	return calls
}

// The kernel is told to sync an archive before it gets its name, and the directory after;
// and before and after the one block that makes a change.
func TestSyncsAreSeenFromOutside(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	require.NoError(t, err)
	path := filepath.Join(dir, "stdout.tar")
	assertSyncedBeforeNamed(t, dir, path, traced(t, dir, "stdout", path))

	size := len(imagetest.ReadFile(t, path))
	calls := traced(t, dir, "add", path)
	n := len(calls)
	require.Greater(t, n, 3)
	assert.Equal(t, []string{"fsync", "pwrite64", "fsync"}, []string{calls[n-3].name, calls[n-2].name, calls[n-1].name})
	for _, c := range calls[n-3:] {
		assert.Equal(t, path, c.path)
	}
	assert.Contains(t, calls[n-2].rest, ", 512, ")
	assert.Greater(t, len(imagetest.ReadFile(t, path)), size)
}

func assertSyncedBeforeNamed(t *testing.T, dir, path string, calls []tracedCall) {
	t.Helper()
	named := slices.IndexFunc(calls, func(c tracedCall) bool {
		return c.path == path && strings.HasPrefix(c.name, "link") || strings.HasPrefix(c.name, "rename")
	})
	require.Positive(t, named, calls)
	assert.Equal(t, "fsync", calls[named-1].name, "before the name")
	assert.NotEqual(t, dir, calls[named-1].path, "of the file")
	require.Greater(t, len(calls), named+1)
	assert.Equal(t, []string{"fsync", dir}, []string{calls[named+1].name, calls[named+1].path}, "after the name, of the directory")
	assert.False(t, slices.ContainsFunc(calls[named:], func(c tracedCall) bool { return c.name == "pwrite64" }), "nothing is written later")
}
