package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sirupsen/logrus"
	logrustest "github.com/sirupsen/logrus/hooks/test"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// runCommand runs a command and returns its standard output, standard error and exit
// status.
func runCommand(t *testing.T, args ...string) (stdout, stderr string, status int) {
	t.Helper()
	var out, errOut buffer
	root := newRootCommand()
	root.SetArgs(args)
	root.SetIn(strings.NewReader(""))
	root.SetOut(&out)
	root.SetErr(&errOut)
	if err := root.ExecuteContext(t.Context()); err != nil {
		status = report(t.Context(), &errOut, err)
	}
	return out.String(), errOut.String(), status
}

// logged returns a function that returns the warnings since then.
func logged(t *testing.T) func() string {
	hooks, level := logrus.StandardLogger().Hooks, logrus.GetLevel()
	t.Cleanup(func() { logrus.StandardLogger().ReplaceHooks(hooks); logrus.SetLevel(level) })
	logrus.SetLevel(logrus.InfoLevel)
	logrus.StandardLogger().ReplaceHooks(logrus.LevelHooks{})
	all := logrustest.NewGlobal()
	return func() string {
		var b strings.Builder
		for _, entry := range all.AllEntries() {
			b.WriteString(entry.Message + "\n")
		}
		return b.String()
	}
}

func TestAddRemoveCompact(t *testing.T) {
	dir := t.TempDir()
	path, want := filepath.Join(dir, "archive.tar"), filepath.Join(dir, "want.tar")
	run := func(args ...string) string {
		out, errOut, status := runCommand(t, append([]string{"--insecure-policy"}, args...)...)
		require.Zero(t, status, errOut)
		return out
	}
	run("save", "-q", "-o", want, images+"two")
	run("save", "-q", "-o", path, images+"one")
	assert.Equal(t, "two "+twoDigest+"\n", run("add", path, images+"two"))
	_, errOut, _ := runCommand(t, "--insecure-policy", "add", path, images+"two")
	assert.Equal(t, "nothing more to fetch: the archive has all blobs\n", errOut)
	assert.Contains(t, run("verify", path), ": OK (")

	_, errOut, status := runCommand(t, "--insecure-policy", "save", "-q", "-o", path, images+"one")
	assert.NotZero(t, status)
	assert.Contains(t, errOut, "docker-archive add")
	_, errOut, status = runCommand(t, "remove", path, "three")
	assert.NotZero(t, status)
	assert.Contains(t, errOut, "three")

	run("remove", path, "one")
	assert.NotContains(t, run("list", path), "one")
	run("compact", path)
	expected, err := os.ReadFile(want)
	require.NoError(t, err)
	got, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.True(t, string(expected) == string(got), "the bytes of one save")
}

// An existing legacy layer shows that a name is another one for an image: Docker before 25
// has other IDs for them.
func TestAddASecondName(t *testing.T) {
	for _, name := range []string{"docker20.tar", "skopeo.tar", "crane.tar", "podman-multi.tar", "docker29.tar", "ctr24.tar"} {
		path := filepath.Join(t.TempDir(), name)
		data, err := os.ReadFile(archives + name)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(path, data, 0o600))
		succeeds(t, "--insecure-policy", "add", path, "docker-archive:"+path+":@0=example.com/second:2")
		succeeds(t, "verify", path)
		list, _ := succeeds(t, "list", path)
		assert.Contains(t, list, "example.com/second:2", name)
		// An image that shares its layers has directories of its own.
		changed := filepath.Join(t.TempDir(), "changed.tar")
		succeeds(t, "make", "--insecure-policy", "-q", "--base", "docker-archive:"+path+":example.com/second:2", "--label", "a=b", "-t", "example.com/third:3", "-o", changed)
		succeeds(t, "--insecure-policy", "add", path, "docker-archive:"+changed)
		succeeds(t, "verify", path)
		succeeds(t, "remove", path, "example.com/second:2")
		succeeds(t, "verify", path)
	}
}

// Bytes behind the end of an archive that are no interrupted change of it do not go in
// silence.
func TestChangeDiscardsTrailing(t *testing.T) {
	archive := func(args ...string) []byte {
		path := filepath.Join(t.TempDir(), "archive.tar")
		_, _, status := runCommand(t, append([]string{"--insecure-policy", "save", "-q", "-o", path}, args...)...)
		require.Zero(t, status)
		data, err := os.ReadFile(path)
		require.NoError(t, err)
		return data
	}
	one, docker := archive(images+"one"), archive("--layout", "docker", images+"one")
	grown := filepath.Join(t.TempDir(), "grown.tar")
	require.NoError(t, os.WriteFile(grown, one, 0o600))
	_, _, status := runCommand(t, "--insecure-policy", "add", "-q", grown, images+"two")
	require.Zero(t, status)
	rest, err := os.ReadFile(grown)
	require.NoError(t, err)
	rest = rest[len(one):]
	for name, c := range map[string]struct {
		archive, trailing []byte
		said              bool
	}{
		"text":            {one, []byte("-----BEGIN PGP SIGNATURE-----"), true},
		"archive":         {one, one, true},
		"docker archive":  {docker, docker, true},
		"an index":        {one, make([]byte, 512), false},
		"interrupted":     {one, rest[:len(rest)/2/512*512], false},
		"interrupted one": {one, append(make([]byte, 1024), rest[:700]...), false},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "archive.tar")
			require.NoError(t, os.WriteFile(path, append(append([]byte{}, c.archive...), c.trailing...), 0o600))
			said := logged(t)
			_, stderr, status := runCommand(t, "--insecure-policy", "add", path, images+"two")
			require.Zero(t, status, stderr)
			if c.said {
				assert.Regexp(t, `\d+ bytes follow the end of the archive, and are discarded`, said())
			} else {
				assert.NotContains(t, said(), "discarded")
			}
		})
	}
}
