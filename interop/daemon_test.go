//go:build interop

package interop

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

const (
	daemonStartTimeout = time.Minute
	daemonStopTimeout  = 30 * time.Second
)

// daemonDir is a new directory for a daemon's files. Its path is short, unlike t.TempDir's,
// because the path of a unix socket may not be longer than 107 bytes. It is removed when the test
// ends, with all mounts that the daemon left below it.
func daemonDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "interop-")
	require.NoError(t, err)
	t.Cleanup(func() {
		unmountBelow(t, dir)
		if err := os.RemoveAll(dir); err != nil {
			t.Errorf("removing a daemon's directory: %v", err)
		}
	})
	return dir
}

// unmountBelow unmounts all mounts at or below dir, the last one first.
func unmountBelow(t *testing.T, dir string) {
	t.Helper()
	mounts, err := os.Open("/proc/self/mountinfo")
	require.NoError(t, err)
	defer mounts.Close()
	var points []string
	for lines := bufio.NewScanner(mounts); lines.Scan(); {
		// The fifth field is the mount point; a space in it would be escaped, but ours has none.
		fields := strings.Fields(lines.Text())
		if len(fields) > 4 && (fields[4] == dir || strings.HasPrefix(fields[4], dir+"/")) {
			points = append(points, fields[4])
		}
	}
	for i := len(points) - 1; i >= 0; i-- {
		if err := unix.Unmount(points[i], unix.MNT_DETACH); err != nil {
			t.Errorf("unmounting %s: %v", points[i], err)
		}
	}
}

// A daemon is a process of ours that clients talk to.
type daemon struct {
	name    string
	process *os.Process
	log     string        // the file it writes its messages to
	ended   chan struct{} // closed when the process has ended
}

// startDaemon starts a daemon that logs into dir, waits until ready returns nil, and stops it
// when the test ends.
func startDaemon(t *testing.T, dir string, p program, ready func() error) *daemon {
	t.Helper()
	d := &daemon{
		name:  p.name,
		log:   filepath.Join(dir, filepath.Base(p.argv[0])+".log"),
		ended: make(chan struct{}),
	}
	log, err := os.Create(d.log)
	require.NoError(t, err)
	defer log.Close()
	cmd := exec.Command(p.argv[0], p.argv[1:]...)
	cmd.Env = append(os.Environ(), p.env...)
	cmd.Stdout, cmd.Stderr = log, log
	// A daemon must not outlive tests that are killed. It has a group of its own, so that an
	// interrupt from the terminal leaves stopping it, in the right order, to the tests.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM, Setpgid: true}

	started := make(chan error)
	go func() {
		// The kernel counts the death of the thread that started it as its parent's, so this
		// thread stays for as long as the daemon runs.
		runtime.LockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait()
			close(d.ended)
		}
	}()
	require.NoError(t, <-started, "starting %s", d.name)
	d.process = cmd.Process
	t.Cleanup(func() { d.stop(t) })
	d.await(t, ready)
	return d
}

// die ends a daemon as a crash does.
func (d *daemon) die(t *testing.T) {
	assert.NoError(t, d.process.Kill())
	<-d.ended
}

// await polls ready until it returns nil.
func (d *daemon) await(t *testing.T, ready func() error) {
	t.Helper()
	deadline := time.Now().Add(daemonStartTimeout)
	for {
		err := ready()
		if err == nil {
			return
		}
		select {
		case <-d.ended:
			t.Fatalf("%s ended before it answered\n%s", d.name, d.messages())
		case <-time.After(50 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s does not answer: %v\n%s", d.name, err, d.messages())
		}
	}
}

// awaitEnd waits for the end of the process whose id is in a file. It need not be our child.
func awaitEnd(pidFile string) error {
	content, err := os.ReadFile(pidFile)
	if err != nil {
		return err
	}
	pid := strings.TrimSpace(string(content))
	for deadline := time.Now().Add(daemonStopTimeout); time.Now().Before(deadline); {
		// Its parent may never collect it: then it stays, in state Z, and that is good enough.
		stat, err := os.ReadFile(filepath.Join("/proc", pid, "stat"))
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH) || bytes.Contains(stat, []byte(") Z ")) {
			return nil
		}
		time.Sleep(20 * time.Millisecond)
	}
	return fmt.Errorf("process %s of %s has not ended after %s", pid, pidFile, daemonStopTimeout)
}

func (d *daemon) stop(t *testing.T) {
	// An error says that it has ended already, which the wait below finds out.
	_ = d.process.Signal(syscall.SIGTERM)
	select {
	case <-d.ended:
	case <-time.After(daemonStopTimeout):
		t.Errorf("%s does not stop; killing it\n%s", d.name, d.messages())
		_ = d.process.Kill()
		<-d.ended
	}
	if t.Failed() {
		t.Logf("messages of %s:\n%s", d.name, d.messages())
	}
}

// messages is the end of the daemon's log.
func (d *daemon) messages() string {
	const limit = 8 << 10
	content, err := os.ReadFile(d.log)
	if err != nil {
		return fmt.Sprintf("(no log: %v)", err)
	}
	if len(content) > limit {
		content = content[len(content)-limit:]
	}
	return string(content)
}
