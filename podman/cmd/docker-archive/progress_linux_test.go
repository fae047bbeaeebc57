package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/transports"
	"golang.org/x/sys/unix"

	"github.com/dockerarchive/dockerarchive/podman/internal/imagetest"
	"github.com/dockerarchive/dockerarchive/progress"
)

// screen is the output of a terminal, read as it comes.
type screen struct {
	master *os.File
	shown  string
}

// enough is how much a terminal shows, at several frames a second, before until gives up:
// minutes of it, as the machine may be busy.
const enough = 1_000_000

// patience is for how long, in milliseconds, a terminal may show nothing before that.
const patience = 300_000

// until reads until the output matches, and returns the match.
func (s *screen) until(t *testing.T, pattern string) string {
	t.Helper()
	wanted := regexp.MustCompile(pattern)
	buffer := make([]byte, 4096)
	for {
		if found := wanted.FindString(s.shown); found != "" {
			return found
		}
		require.Less(t, len(s.shown), enough, "%s in %q", pattern, s.shown)
		ready, _ := unix.Poll([]unix.PollFd{{Fd: int32(s.master.Fd()), Events: unix.POLLIN}}, patience)
		require.Positive(t, ready, "%s in %q", pattern, s.shown)
		n, err := s.master.Read(buffer)
		s.shown += string(buffer[:n])
		require.NoError(t, err, s.shown)
	}
}

// There is a bar for all and one for each blob, named after its image, on a terminal of
// any width.
func TestBars(t *testing.T) {
	const image = "docker://registry.example/some/where/alpine:3.20"
	blob := digest.FromString("blob")
	for columns, want := range map[uint16][]string{
		40:  {`…/alpine:3.20 +\[[=>]+-+\] +25%`, `\n \[=*>-+\] +25% `},
		120: {`…[a-z/.]+/alpine:3.20 [0-9a-f]{12} \[[=>]+-+\] +25% 1MB / 4MB `, `3 blobs +\[[=>]+-+\] +25% 2MB / 8MB `},
	} {
		master, tty := openTerminal(t, columns)
		show, end := newProgress(tty)
		show(progress.Event{Kind: progress.Planned, Blobs: 3, Size: 8e6})
		show(progress.Event{Kind: progress.Started, Blob: blob, Image: image, Size: 4e6})
		show(progress.Event{Kind: progress.Read, Blob: blob, Bytes: 1e6})
		show(progress.Event{Kind: progress.Read, Blob: digest.FromString("other"), Bytes: 1e6})
		s := &screen{master: master}
		for _, pattern := range want {
			s.until(t, pattern)
		}
		for line := range strings.Lines(ours.ReplaceAllString(s.shown, "")) {
			assert.LessOrEqual(t, len([]rune(strings.TrimSuffix(line, "\n"))), int(columns), line)
		}
		end()
		_, err := io.WriteString(tty, "end\n")
		require.NoError(t, err)
		s.until(t, `\x1b\[2A\x1b\[Jend\r\n$`)
		require.NoError(t, tty.Close())
	}
}

// A terminal that cannot move its cursor gets lines, and no colours; one with NO_COLOR
// gets bars without colours. The messages are the same.
func TestTerminals(t *testing.T) {
	const colors, moves = `\x1b\[[0-9;]*m`, `\x1b\[[0-9;]*[A-LN-Za-ln-z]`
	source := "docker-archive:" + cases + "moby25.0.0-two-versions.tar" // It causes a warning.
	for name, c := range map[string]struct {
		term, noColor     string
		sequences, absent []string
	}{
		"colours":      {"xterm", "", []string{colors, moves}, nil},
		"no colours":   {"xterm", "1", []string{moves}, []string{colors}},
		"dumb":         {"dumb", "", nil, []string{`\x1b`}},
		"dumb and not": {"dumb", "1", nil, []string{`\x1b`}},
	} {
		for _, columns := range []uint16{40, 120} {
			for command, args := range map[string][]string{
				"copied":  {"copy", source, "image-archive:" + filepath.Join(t.TempDir(), "copied.tar")},
				"fetched": {"save", "-o", filepath.Join(t.TempDir(), "saved.tar"), source},
			} {
				t.Setenv("TERM", c.term)
				t.Setenv("NO_COLOR", c.noColor)
				out := onTerminalOf(t, columns, args...)
				what := fmt.Sprintf("%s, %d columns, %s: %q", name, columns, command, out)
				assert.Contains(t, strings.ToLower(out), "warn", what)
				assert.NotContains(t, out, "Copying blob", what)
				for _, pattern := range c.sequences {
					assert.Regexp(t, pattern, out, what)
				}
				for _, pattern := range c.absent {
					assert.NotRegexp(t, pattern, out, what)
				}
				if c.term == "dumb" {
					assert.Contains(t, out, command+" sha256:", what)
				}
			}
		}
	}
}

// After an interrupt the bars are gone, and a message says what is at the path.
func TestInterrupt(t *testing.T) {
	registry := imagetest.NewRegistry(t)
	source := registry.Push(t, "app:1", imagetest.Saved(t, "one"))
	over := make(chan struct{})
	t.Cleanup(func() { close(over) }) // Before the registry ends.
	registry.Intercept(func(_ http.ResponseWriter, r *http.Request) bool {
		if strings.Contains(r.URL.Path, "/blobs/") {
			<-over
		}
		return false
	})
	for args, want := range map[string]string{
		"-o new.tar":         "nothing has been written to new.tar",
		"--force -o old.tar": "old.tar is what it was before",
	} {
		dir := t.TempDir()
		old := filepath.Join(dir, "old.tar")
		require.NoError(t, os.WriteFile(old, []byte("old"), 0o600))
		master, tty := openTerminal(t, 120)
		self, err := os.Executable()
		require.NoError(t, err)
		cmd := exec.CommandContext(t.Context(), self, append(strings.Fields("save --insecure-policy --tls-verify=false "+args), transports.ImageName(source))...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), processVariable+"=1", "TERM=xterm")
		cmd.Stdin, cmd.Stdout, cmd.Stderr = tty, tty, tty
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true} // So that ^C is a signal.
		require.NoError(t, cmd.Start())
		s := &screen{master: master}
		s.until(t, `blobs +\[`)
		_, err = master.Write([]byte{3})
		require.NoError(t, err)
		s.until(t, `\x1b\[J(\r)?docker-archive: `+want+`\r\ndocker-archive: interrupted\r\n$`)
		var exit *exec.ExitError
		require.ErrorAs(t, cmd.Wait(), &exit)
		assert.Equal(t, exitInterrupted, exit.ExitCode())
		require.NoError(t, tty.Close())
		data, err := os.ReadFile(old)
		require.NoError(t, err)
		assert.Equal(t, "old", string(data))
		files, err := os.ReadDir(dir)
		require.NoError(t, err)
		assert.Len(t, files, 1)
	}
}
