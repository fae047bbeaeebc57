//go:build unix

package main

import (
	"bufio"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// startProcess starts the command as a process of its own.
func startProcess(t *testing.T, args ...string) (cmd *exec.Cmd, stdin io.WriteCloser, stderr *bufio.Reader) {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	cmd = exec.CommandContext(t.Context(), self, append(args, "--insecure-policy")...)
	cmd.Env = append(os.Environ(), processVariable+"=1")
	stdin, err = cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	return cmd, stdin, bufio.NewReader(out)
}

// The exit status says which signal has ended a command.
func TestStatusesOfSignals(t *testing.T) {
	data, err := os.ReadFile(testdata(t, "archives/skopeo.tar"))
	require.NoError(t, err)
	data = append(data[:len(data)-1024:len(data)-1024], make([]byte, 1<<20)...) // More than a pipe holds.
	for s, want := range map[syscall.Signal]struct {
		status int
		text   string
	}{syscall.SIGINT: {130, "docker-archive: interrupted\n"}, syscall.SIGTERM: {143, "docker-archive: terminated\n"}} {
		for _, args := range [][]string{{"list", "-"}, {"verify", "--json", "-"}, {"copy", "docker-archive:/dev/stdin", "dir:" + filepath.Join(t.TempDir(), "x")}} {
			cmd, stdin, stderr := startProcess(t, args...)
			_, err := stdin.Write(data) // It is being read when this ends.
			require.NoError(t, err)
			require.NoError(t, cmd.Process.Signal(s))
			text, err := io.ReadAll(stderr)
			require.NoError(t, err)
			_ = cmd.Wait()
			assert.Equal(t, want.status, cmd.ProcessState.ExitCode(), "%v %v: %s", s, args, text)
			assert.Contains(t, string(text), want.text, args)
		}
	}
}

// A server is ended by a signal as it should be.
func TestServersEndWell(t *testing.T) {
	for _, args := range [][]string{{"serve", "--listen", "127.0.0.1:0"}, {"browse"}} {
		for _, s := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
			cmd, _, stderr := startProcess(t, append(args, testdata(t, "archives/skopeo.tar"))...)
			_, err := stderr.ReadString('\n') // It prints its address once it waits for signals.
			require.NoError(t, err)
			require.NoError(t, cmd.Process.Signal(s))
			_, err = io.ReadAll(stderr)
			require.NoError(t, err)
			_ = cmd.Wait()
			assert.Equal(t, 0, cmd.ProcessState.ExitCode(), "%v %v", s, args)
		}
	}
}

// An archive that would go nowhere is a failure. An answer that nobody wants is not: Python and
// Node discard it into a null device that is open for reading and writing.
func TestClosedOutput(t *testing.T) {
	archive := "docker-archive:" + testdata(t, "archives/skopeo.tar")
	for _, output := range []string{">&-", "1<>/dev/null"} {
		for _, args := range []string{"save -o - " + archive, "copy " + archive + " docker-archive:/dev/stdout", "export " + archive} {
			out, err := shell(t, t.TempDir(), "docker-archive "+args+" "+output)
			var exit *exec.ExitError
			require.ErrorAs(t, err, &exit, args)
			assert.Equal(t, exitFailure, exit.ExitCode(), args)
			assert.Contains(t, out, "it is closed\n", args)
		}
		for _, args := range []string{"list", "inspect", "files", "layers", "verify --json", "digest", "save --json -o x.tar"} {
			out, err := shell(t, t.TempDir(), "docker-archive "+args+" "+archive+" "+output)
			require.NoError(t, err, args+out)
		}
	}
}

// Every command that reads archives names the kind of a file that is none.
func TestFilesThatAreNoArchives(t *testing.T) {
	dir := t.TempDir()
	good, err := os.ReadFile(testdata(t, "archives/skopeo.tar"))
	require.NoError(t, err)
	saved := filepath.Join(dir, "saved.tar.gz")
	succeeds(t, "save", "-q", "-o", saved, "docker-archive:"+testdata(t, "archives/skopeo.tar"))
	packed, err := os.ReadFile(saved)
	require.NoError(t, err)
	for name, c := range map[string]struct{ content, want string }{
		"page":       {"<!DOCTYPE html>\n<html><title>Login</title></html>\n", "it is a web page (HTML)"},
		"long page":  {"\ufeff\r\n<html lang=en>" + strings.Repeat(" ", 3000), "it is a web page (HTML)"},
		"error":      {`<?xml version="1.0"?><Error><Code>NoSuchKey</Code></Error>`, "it is an XML document"},
		"json":       {`{"errors":[{"code":"MANIFEST_UNKNOWN"}]}`, "it is a JSON document"},
		"text":       {"404 not found\n", "it is text"},
		"empty":      {"", "the file is empty"},
		"first part": {string(good[:1536]), "cut short"},
		"most of it": {string(good[:len(good)-6000]), "cut short"},
		"a header":   {string(good[:300]), "cut short"},
		"gzip":       {string(packed[:len(packed)-20]), "it is cut short"},
		"gzip start": {string(packed[:5]), "it is cut short"},
	} {
		path := filepath.Join(dir, "file.tar")
		require.NoError(t, os.WriteFile(path, []byte(c.content), 0o600))
		for _, args := range [][]string{
			{"list", path}, {"verify", path}, {"inspect", path}, {"layers", path}, {"serve", "--listen", "127.0.0.1:0", path},
			{"save", "-o", filepath.Join(dir, "x.tar"), path}, {"copy", "--retry-times", "0", path, "dir:" + filepath.Join(dir, "x")},
			{"load", "--host", "unix:///none", path}, {"push", path, "127.0.0.1:1"}, {"make", "--base", path, "--label", "a=b", "-o", filepath.Join(dir, "x.tar")},
		} {
			_, errOut, status := command(t, args...)
			assert.Equal(t, exitFailure, status, "%s: %s", name, args[0])
			assert.Contains(t, errOut, c.want, "%s: %s", name, args[0])
		}
	}
}

// An archive that is compressed is refused in the same words by all that would change it.
func TestChangesOfCompressedArchives(t *testing.T) {
	path := filepath.Join(t.TempDir(), "app.tar.gz")
	succeeds(t, "save", "-q", "-o", path, "oci:../../../testdata/oci:one=app:1")
	before, err := os.ReadFile(path)
	require.NoError(t, err)
	for _, args := range [][]string{{"add", path, "oci:../../../testdata/oci:two"}, {"compact", path}, {"tag", path, "app:1", "app:2"}, {"remove", path, "app:1"}} {
		_, errOut, status := command(t, args...)
		assert.Equal(t, exitFailure, status)
		assert.Contains(t, errOut, path+": the archive is compressed (gzip), and cannot be changed in place: decompress it first\n", args)
	}
	after, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.Equal(t, before, after)
}
