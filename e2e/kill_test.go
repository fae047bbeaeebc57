//go:build unix

package e2e_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive"
	"github.com/dockerarchive/dockerarchive/internal/imagetest"
)

// These tests need a view from outside: a process is killed, or its standard output is the
// archive. The test program runs itself for that.

const childVariable = "DOCKERARCHIVE_TEST_CHILD"

// child returns a command that runs TestChild as the given one, with an argument.
func child(t testing.TB, what, argument string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.Command(self, "-test.run=^TestChild$")
	cmd.Env = append(os.Environ(), childVariable+"="+what+":"+argument)
	return cmd
}

// TestChild is what the tests below run; by itself it does nothing.
func TestChild(t *testing.T) {
	what, argument, _ := strings.Cut(os.Getenv(childVariable), ":")
	if what == "" {
		return
	}
	run, ok := children[what]
	require.True(t, ok, "no child is called %s", what)
	if err := run(t, argument); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(3)
	}
	os.Exit(0) // Before the test reports on standard output, which is the archive.
}

// children are the functions that a child can run, by name.
var children = map[string]func(t *testing.T, argument string) error{
	"loop":   writeUntilKilled,
	"stdout": copyToPath,
	"add": func(t *testing.T, path string) error {
		return copyTo(t, dockerarchive.ImageTransport, path, "b:1", imagetest.NewImage(t, "2", imagetest.Gzip(2, 5000)))
	},
}

// writeUntilKilled writes one archive after the other, of each kind in turn, and a dot for
// every piece of a blob that it reads.
func writeUntilKilled(t *testing.T, dir string) error {
	m := pieces(imagetest.Small(t), 50, ".")
	for i := 0; ; i++ {
		for name, kind := range kinds {
			ref, err := kind.ParseReference(filepath.Join(dir, fmt.Sprintf("%d.%s.tar", i, name)))
			if err == nil {
				err = imagetest.Copy(t, ref, m, nil)
			}
			if err != nil {
				return err
			}
		}
	}
}

func copyToPath(t *testing.T, path string) error {
	ref, err := dockerarchive.NewReference(path, imagetest.Tagged(t, "stdout:1"))
	if err != nil {
		return err
	}
	return imagetest.Copy(t, ref, imagetest.Small(t), nil)
}

// linkTrial is an empty file that a process may leave that is killed in the instant in which it
// tries whether unnamed files can be given a name. The next one removes it.
const linkTrial = ".docker-archive-link"

// A process that is killed leaves whole archives, and nothing else.
func TestKilledAnywhere(t *testing.T) {
	m := imagetest.Small(t)
	want := map[string]string{"docker": imagetest.Sum(imagetest.Theirs(t, imagetest.Named{Source: m.InGzip(t)}))}
	oci := filepath.Join(t.TempDir(), "oci.tar")
	ref, err := dockerarchive.ImageTransport.ParseReference(oci)
	require.NoError(t, err)
	require.NoError(t, imagetest.Copy(t, ref, m, nil))
	want["oci"] = imagetest.Sum(imagetest.ReadFile(t, oci))
	pieces := 0 // of one archive
	for _, l := range m.Layers {
		pieces += len(l.Blob)/50 + 2
	}
	kills := imagetest.Rounds(t, 12, 60)
	archives := map[string]int{}
	for i := range kills {
		dir := t.TempDir()
		left := 1 + i*4*pieces/kills
		complaints, ended := killAt(t, child(t, "loop", dir), func(byte) bool {
			left--
			return left == 0
		})
		require.False(t, ended, "the child has ended by itself: %s", complaints)
		for _, name := range imagetest.Leftovers(t, dir) {
			if name == linkTrial {
				require.Empty(t, imagetest.ReadFile(t, filepath.Join(dir, name)))
				continue
			}
			kind := strings.Split(name, ".")[1]
			require.True(t, strings.HasSuffix(name, ".tar"), name)
			require.Equal(t, want[kind], imagetest.Sum(imagetest.ReadFile(t, filepath.Join(dir, name))))
			archives[kind]++
		}
	}
	assert.Len(t, archives, 2, "they were all killed too early")
	t.Logf("saving: %d kills; %d docker and %d oci archives were complete", kills, archives["docker"], archives["oci"])
}

// Standard output is written as a stream, be it a pipe or a file, under any of its names.
func TestStandardOutput(t *testing.T) {
	m := imagetest.Small(t)
	layers := make([]imagetest.Layer, len(m.Layers))
	for i, l := range m.Layers {
		layers[i] = l.InGzip()
	}
	want := imagetest.Sum(imagetest.Theirs(t, imagetest.Named{Source: imagetest.NewImage(t, "faults", layers...), Name: "stdout:1"}))
	for _, path := range []string{"/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"} {
		if _, err := os.Stat(path); err != nil {
			t.Logf("there is no %s on this system", path)
			continue
		}
		var piped, complaints bytes.Buffer
		cmd := child(t, "stdout", path)
		cmd.Stdout, cmd.Stderr = &piped, &complaints
		require.NoError(t, cmd.Run(), "%s", &complaints)
		assert.Equal(t, want, imagetest.Sum(piped.Bytes()), path)

		file, err := os.Create(filepath.Join(t.TempDir(), "redirected.tar"))
		require.NoError(t, err)
		cmd = child(t, "stdout", path)
		cmd.Stdout, cmd.Stderr = file, &complaints
		require.NoError(t, cmd.Run(), "%s", &complaints)
		require.NoError(t, file.Close())
		assert.Equal(t, want, imagetest.Sum(imagetest.ReadFile(t, file.Name())), path)

		// Appending would make something that is no archive.
		file, err = os.OpenFile(file.Name(), os.O_APPEND|os.O_WRONLY, 0)
		require.NoError(t, err)
		complaints.Reset()
		cmd = child(t, "stdout", path)
		cmd.Stdout, cmd.Stderr = file, &complaints
		require.Error(t, cmd.Run())
		require.NoError(t, file.Close())
		assert.Contains(t, complaints.String(), "not empty")
		assert.Equal(t, want, imagetest.Sum(imagetest.ReadFile(t, file.Name())), path)
	}
}

// The reader of standard output may stop. That is an error like others, which can be reported,
// not a signal that ends the process.
func TestStandardOutputIsClosed(t *testing.T) {
	r, w, err := os.Pipe()
	require.NoError(t, err)
	require.NoError(t, r.Close())
	var complaints bytes.Buffer
	cmd := child(t, "stdout", "/dev/stdout")
	cmd.Stdout, cmd.Stderr = w, &complaints
	require.Error(t, cmd.Run())
	require.NoError(t, w.Close())
	assert.Equal(t, 3, cmd.ProcessState.ExitCode(), cmd.ProcessState)
	assert.Contains(t, complaints.String(), "broken pipe")
	assert.Contains(t, complaints.String(), "/dev/stdout")
}

// killAt kills a process shortly after it has printed a byte that at returns true for. It
// reports whether the process had ended by itself, and its complaints.
func killAt(t *testing.T, cmd *exec.Cmd, at func(byte) bool) (complaints string, ended bool) {
	t.Helper()
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	var errOut strings.Builder
	cmd.Stderr = &errOut
	require.NoError(t, cmd.Start())
	r := bufio.NewReader(out)
	for {
		b, err := r.ReadByte()
		if err != nil {
			require.ErrorIs(t, err, io.EOF)
			break
		}
		if at(b) {
			<-time.After(time.Microsecond << rand.IntN(12)) // At any moment, not only where it prints.
			_ = cmd.Process.Kill()                          // It may be gone.
			break
		}
	}
	_ = cmd.Wait() // It says that it was killed.
	return errOut.String(), cmd.ProcessState.Exited()
}

// pieces has an image read in small pieces, and prints something before each.
func pieces(m *imagetest.Image, size int, print string) *imagetest.Image {
	m.Disturb = func(_ context.Context, _ digest.Digest, r io.Reader) io.Reader {
		return imagetest.ReaderFunc(func(p []byte) (int, error) {
			fmt.Print(print)
			return r.Read(p[:min(len(p), size)])
		})
	}
	return m
}
