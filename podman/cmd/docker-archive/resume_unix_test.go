//go:build unix

package main

import (
	"bytes"
	"net/http"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/dockerarchive/dockerarchive/podman/internal/imagetest"
)

// A slow registry serves ranges of an image, until so many bytes of it have been sent; then it
// waits for the client to disconnect.
type slowRegistry struct {
	*imagetest.Registry
	size int64 // of the layers
	sent atomic.Int64
	stop atomic.Pointer[stop] // the next one, nil for none
}

// stop is where a registry stops to send.
type stop struct {
	at      int64         // how many bytes have been sent then, of all that ever were
	reached chan struct{} // gets a value there
}

func newSlowRegistry(t *testing.T) *slowRegistry {
	t.Helper()
	r := &slowRegistry{Registry: imagetest.NewRegistry(t)}
	layers := []imagetest.Layer{
		imagetest.Plain(1, 9<<20), imagetest.Plain(2, 5<<20), imagetest.Plain(3, 3<<20), imagetest.Plain(4, 100),
	}
	r.Push(t, "app:1", imagetest.NewImage(t, "a", layers...))
	blobs := map[string][]byte{}
	for _, l := range layers {
		blobs[l.Digest.String()] = l.Blob
		r.size += int64(len(l.Blob))
	}
	r.Intercept(func(w http.ResponseWriter, req *http.Request) bool {
		blob, ok := blobs[path.Base(req.URL.Path)]
		if ok && req.Method == http.MethodGet {
			http.ServeContent(&stoppingResponse{w, req, r}, req, "", time.Time{}, bytes.NewReader(blob))
		}
		return ok && req.Method == http.MethodGet
	})
	return r
}

type stoppingResponse struct {
	http.ResponseWriter
	request *http.Request
	r       *slowRegistry
}

func (w *stoppingResponse) Write(p []byte) (int, error) {
	if stop := w.r.stop.Load(); stop != nil && w.r.sent.Load() >= stop.at {
		select {
		case stop.reached <- struct{}{}:
		default:
		}
		<-w.request.Context().Done()
		return 0, w.request.Context().Err()
	}
	n, err := w.ResponseWriter.Write(p)
	w.r.sent.Add(int64(n))
	return n, err
}

// Killed at twenty moments, saving resumes each time with the fetched bytes, and ends with the
// same archive as an undisturbed run.
func TestKilledAndResumed(t *testing.T) {
	const kills, lost = 20, 4 << 20 // lost bytes at most for each
	reg := newSlowRegistry(t)
	dir := t.TempDir()
	image := reg.Address + "/app:1"
	succeeds(t, "save", "-q", "--tls-verify=false", "-o", filepath.Join(dir, "undisturbed.tar"), image)
	require.GreaterOrEqual(t, reg.sent.Swap(0), reg.size)

	path, partial := filepath.Join(dir, "a.tar"), filepath.Join(dir, "a.tar.partial")
	var before int64
	for kill := range int64(kills) {
		// The rest, in as many steps as there are kills left.
		reg.killAt(t, max(reg.size-reg.sent.Load(), 0)/(kills-kill+1)+1, "--resume", "-o", path, image)
		assert.NoFileExists(t, path)
		assert.FileExists(t, partial)
		assert.LessOrEqual(t, reg.sent.Load()-before, reg.size+lost)
		before = reg.sent.Load()
	}
	succeeds(t, "save", "-q", "--tls-verify=false", "--resume", "-o", path, image)
	assert.LessOrEqual(t, reg.sent.Load(), reg.size*105/100+kills*lost)
	sameFile(t, filepath.Join(dir, "undisturbed.tar"), path)
	assert.NoFileExists(t, partial)
	t.Logf("%d bytes were sent for %d, with %d kills", reg.sent.Load(), reg.size, kills)
}

// Where layers are decompressed, only unfinished layers are lost.
func TestKilledAndResumedUnpacked(t *testing.T) {
	const kills, largest, lost = 20, 10 << 20, 4 << 20
	reg := newSlowRegistry(t)
	dir := t.TempDir()
	path := filepath.Join(dir, "a.tar")
	args := []string{"--resume", "--layout", "docker", "--jobs", "1", "-o", path, reg.Address + "/app:1"}
	succeeds(t, "save", "-q", "--tls-verify=false", "--layout", "docker", "-o", filepath.Join(dir, "undisturbed.tar"), reg.Address+"/app:1")
	for kill := range int64(kills) {
		before := reg.sent.Load()
		reg.killAt(t, (kill+1)*reg.size/(kills+1), args...)
		assert.NoFileExists(t, path)
		succeeds(t, append([]string{"save", "-q", "--tls-verify=false"}, args...)...)
		assert.LessOrEqual(t, reg.sent.Load()-before, reg.size+largest+lost)
		sameFile(t, filepath.Join(dir, "undisturbed.tar"), path)
		assert.NoFileExists(t, path+".partial")
		require.NoError(t, os.Remove(path))
	}
}

// killAt kills docker-archive save when it has been sent so many bytes of layers.
func (r *slowRegistry) killAt(t *testing.T, bytes int64, args ...string) {
	t.Helper()
	stop := &stop{r.sent.Load() + bytes, make(chan struct{}, 1)}
	r.stop.Store(stop)
	self, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.Command(self, append([]string{"save", "-q", "--tls-verify=false"}, args...)...)
	cmd.Env = append(os.Environ(), processVariable+"=1")
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	require.NoError(t, cmd.Start())
	<-stop.reached
	require.NoError(t, cmd.Process.Kill())
	require.Error(t, cmd.Wait(), out.String())
	r.stop.Store(nil)
}

func sameFile(t *testing.T, one, other string) {
	t.Helper()
	want, err := os.ReadFile(one)
	require.NoError(t, err)
	got, err := os.ReadFile(other)
	require.NoError(t, err)
	assert.True(t, bytes.Equal(want, got), other)
}

func TestResumeRefused(t *testing.T) {
	image := "oci:" + testdata(t, "oci") + ":one"
	for want, args := range map[string][]string{
		"--resume needs --output FILE":      {image},
		"leave out --force":                 {"--force", "-o", "a.tar", image},
		"archives that are not compressed":  {"--compress", "zstd", "-o", "a.tar", image},
		"compressed with gzip cannot be":    {"-o", filepath.Join(t.TempDir(), "a.tar.gz"), image},
		"an archive in parts cannot be res": {"--split", "4G", "-o", filepath.Join(t.TempDir(), "a.tar"), image},
	} {
		_, errOut, status := command(t, append([]string{"save", "--resume"}, args...)...)
		assert.NotZero(t, status, want)
		assert.Contains(t, errOut, want)
	}
}

// A command that finds an archive being written says what to do: to wait, where there is a flag
// for it.
func TestHintsOfBusyArchives(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "app.tar")
	succeeds(t, "save", "-q", "-o", path, "oci:../../../testdata/oci:one=app:1")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "new.tar.partial"), nil, 0o600))
	for _, c := range []struct {
		locked, want string
		args         []string
	}{
		{path, "hint: Wait for it with --wait.\n", []string{"add", path, "oci:../../../testdata/oci:two"}},
		{path, "hint: Wait for it with --wait.\n", []string{"compact", path}},
		{path, "hint: Another docker-archive is writing it. Try again when that has ended.\n", []string{"copy", "-q", "oci:../../../testdata/oci:two", "image-archive:" + path + ":x:1"}},
		{filepath.Join(dir, "new.tar.partial"), "hint: Another docker-archive is writing it. Try again when that has ended.\n", []string{"save", "--resume", "-q", "-o", filepath.Join(dir, "new.tar"), "oci:../../../testdata/oci:one"}},
	} {
		f, err := os.OpenFile(c.locked, os.O_RDWR, 0)
		require.NoError(t, err)
		require.NoError(t, unix.Flock(int(f.Fd()), unix.LOCK_EX))
		_, errOut, status := command(t, c.args...)
		require.NoError(t, f.Close())
		assert.Equal(t, exitFailure, status, c.args)
		assert.Contains(t, errOut, c.want, c.args)
		if c.args[0] == "save" || c.args[0] == "copy" {
			assert.NotContains(t, errOut, "--wait", c.args)
		}
	}
}
