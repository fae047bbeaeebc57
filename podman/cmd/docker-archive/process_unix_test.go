//go:build unix

package main

import (
	"io"
	"log"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/podman/internal/imagetest"
)

// processVariable makes this test's program the command itself.
const processVariable = "DOCKERARCHIVE_TEST_PROCESS"

// sshVariable makes it an ssh that connects its input and output to a socket, for any
// host.
const sshVariable = "DOCKERARCHIVE_TEST_SSH"

func TestMain(m *testing.M) {
	if socket := os.Getenv(sshVariable); socket != "" && filepath.Base(os.Args[0]) == "ssh" {
		connection, err := net.Dial("unix", socket)
		if err != nil {
			log.Fatal(err)
		}
		go func() {
			_, _ = io.Copy(connection, os.Stdin)
			_ = connection.(*net.UnixConn).CloseWrite()
		}()
		_, _ = io.Copy(os.Stdout, connection)
		os.Exit(0)
	}
	if os.Getenv(processVariable) != "" {
		main()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// shell runs a script in dir, with docker-archive in its PATH, and returns its standard
// output and error.
func shell(t *testing.T, dir, script string, env ...string) (string, error) {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	bin := t.TempDir()
	require.NoError(t, os.Symlink(self, filepath.Join(bin, "docker-archive")))
	cmd := exec.CommandContext(t.Context(), "sh", "-c", script)
	cmd.Dir = dir
	cmd.Env = append(append(os.Environ(), processVariable+"=1", "SELF="+self, "PATH="+bin+":"+os.Getenv("PATH")), env...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// testdata returns the absolute name of a directory or file of testdata.
func testdata(t *testing.T, name string) string {
	t.Helper()
	path, err := filepath.Abs(imagetest.Testdata(t, name))
	require.NoError(t, err)
	return path
}

// A lost result is a failure, and so is a lost archive.
func TestLostOutput(t *testing.T) {
	if _, err := os.Stat("/dev/full"); err != nil {
		t.Skip(err)
	}
	dir := t.TempDir()
	image, archive := "oci:"+testdata(t, "oci")+":one", testdata(t, "archives/skopeo.tar")
	for script, want := range map[string]string{
		"save -o a.tar " + image + " > /dev/full":                             "no space left",
		"save " + image + " > b.tar 2> /dev/full":                             "",
		"save " + image + " > /dev/full":                                      "no space left",
		"save " + image + " >&-":                                              "creating /dev/stdout: it is closed",
		"copy " + image + " docker-archive:/dev/stdout:x:1 >&-":               "creating /dev/stdout: it is closed",
		"copy " + image + " docker-archive:/dev/stdout:x:1 > /dev/full":       "no space left",
		"save --dry-run " + image + " > /dev/full":                            "no space left",
		"list " + archive + " > /dev/full":                                    "/dev/stdout: no space left",
		"list --json " + archive + " > /dev/full":                             "no space left",
		"inspect " + archive + " > /dev/full":                                 "no space left",
		"inspect --raw " + archive + " > /dev/full":                           "no space left",
		"verify " + archive + " > /dev/full":                                  "/dev/stdout: no space left",
		"--help > /dev/full":                                                  "/dev/stdout: no space left",
		"--version > /dev/full":                                               "/dev/stdout: no space left",
		"version > /dev/full":                                                 "no space left",
		"copy --digestfile /dev/full -q " + image + " docker-archive:c.tar:x": "no space left",
	} {
		out, err := shell(t, dir, "docker-archive "+script)
		var exit *exec.ExitError
		require.ErrorAs(t, err, &exit, script)
		assert.Equal(t, exitFailure, exit.ExitCode(), script)
		assert.Contains(t, out, want, script)
	}
	for _, script := range []string{"save " + image + " > /dev/null", "save -o d.tar " + image + " >&-", "list " + archive + " | head -1"} {
		out, err := shell(t, dir, "docker-archive "+script)
		require.NoError(t, err, script+out)
	}
}

// The command's name is printed once.
func TestOnePrefix(t *testing.T) {
	for _, args := range []string{"list none.tar", "verify none.tar", "inspect none.tar", "save -o x.tar docker-archive:none.tar", "load none.tar"} {
		out, err := shell(t, t.TempDir(), "docker-archive "+args)
		require.Error(t, err)
		assert.Contains(t, out, "docker-archive: open none.tar: no such file or directory\n", args)
		assert.NotContains(t, out, "docker-archive: docker-archive", args)
	}
}
