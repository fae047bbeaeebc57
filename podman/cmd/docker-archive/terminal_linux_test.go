package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/sirupsen/logrus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// openTerminal returns both ends of a pseudo terminal of so many columns.
func openTerminal(t *testing.T, columns uint16) (master, tty *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skip("there are no pseudo terminals: ", err)
	}
	t.Cleanup(func() { master.Close() })
	require.NoError(t, unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0))
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	require.NoError(t, err)
	tty, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	require.NoError(t, err)
	require.NoError(t, unix.IoctlSetWinsize(int(tty.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: columns}))
	return master, tty
}

// onTerminal runs the command with both outputs on a pseudo terminal, and returns its
// content.
func onTerminal(t *testing.T, args ...string) string {
	t.Helper()
	return onTerminalOf(t, 120, args...)
}

func onTerminalOf(t *testing.T, columns uint16, args ...string) string {
	t.Helper()
	master, tty := openTerminal(t, columns)
	shown := make(chan string)
	go func() {
		data, _ := io.ReadAll(master) // Ends with an error when the other end is closed.
		shown <- string(data)
	}()
	root := newRootCommand()
	root.SetArgs(append(args, "--insecure-policy"))
	root.SetOut(tty)
	root.SetErr(tty)
	if err := root.ExecuteContext(t.Context()); err != nil {
		report(t.Context(), tty, err)
	}
	logrus.SetOutput(io.Discard)
	require.NoError(t, tty.Close())
	return <-shown
}

// ours are the sequences that bars and colours are made of.
var ours = regexp.MustCompile(`\x1b\[[0-9;?]*[A-Za-z]|\r`)

// An archive is not printed on the screen.
func TestArchiveOnATerminal(t *testing.T) {
	_, tty := openTerminal(t, 120)
	self, err := os.Executable()
	require.NoError(t, err)
	for _, args := range []string{"save", "copy docker-archive:/dev/stdout"} {
		command, destination, _ := strings.Cut(args, " ")
		cmd := exec.CommandContext(t.Context(), self, command, "--insecure-policy", "oci:"+testdata(t, "oci")+":one")
		if destination != "" {
			cmd.Args = append(cmd.Args, destination)
		}
		cmd.Env = append(os.Environ(), processVariable+"=1")
		var stderr bytes.Buffer
		cmd.Stdout, cmd.Stderr = tty, &stderr
		require.Error(t, cmd.Run())
		assert.Contains(t, stderr.String(), "For example: docker-archive save ... > out.tar", args)
	}
}

func TestOnlyWhatPrintsIsShownOnATerminal(t *testing.T) {
	for name, path := range hostileArchives(t) {
		for _, args := range append(commandsFor(t, path),
			[]string{"inspect", "--format", "{{.Os}}{{.Labels}}{{.Env}}", path}) {
			what := fmt.Sprintf("%s: %q", name, args)
			out := ours.ReplaceAllString(onTerminal(t, args...), "")
			for line := range strings.Lines(out) {
				assert.NotRegexp(t, `[\x00-\x08\x0b-\x1f\x7f-\x{9f}\x{202a}-\x{202e}\x{2066}-\x{2069}]`, line, what)
			}
		}
	}
}
