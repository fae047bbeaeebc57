//go:build unix

package daemon_test

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/internal/daemon"
)

// TestMain is ssh if the tests want to have one.
func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == "ssh" {
		ssh()
		return
	}
	os.Exit(m.Run())
}

// ssh notes its arguments, and connects to where it is told, or says that it cannot.
func ssh() {
	address := os.Getenv("FAKE_SSH_TO")
	_ = os.WriteFile(os.Getenv("FAKE_SSH_ARGS"), []byte(strings.Join(os.Args[1:], " ")), 0o600)
	conn, err := net.Dial("tcp", address)
	if err != nil {
		_, _ = io.WriteString(os.Stderr, "Permission denied (publickey).\n")
		os.Exit(255)
	}
	go func() { _, _ = io.Copy(conn, os.Stdin) }()
	_, _ = io.Copy(os.Stdout, conn)
}

func TestSSH(t *testing.T) {
	dir := t.TempDir()
	self, err := os.Executable()
	require.NoError(t, err)
	require.NoError(t, os.Symlink(self, filepath.Join(dir, "ssh")))
	args := filepath.Join(dir, "args")
	t.Setenv("PATH", dir)
	t.Setenv("FAKE_SSH_ARGS", args)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		if r.URL.Path == "/images/json" {
			_, _ = io.WriteString(w, `[{"RepoTags":["app:1"]}]`)
		}
	}))
	defer server.Close()
	t.Setenv("FAKE_SSH_TO", server.Listener.Addr().String())

	tags, err := daemon.Tags(t.Context(), daemon.Config{Host: "ssh://me@node:2222"}, "app")
	require.NoError(t, err)
	assert.Equal(t, []string{"app:1"}, tags)
	got, err := os.ReadFile(args)
	require.NoError(t, err)
	assert.Equal(t, "-o ConnectTimeout=30 -T -l me -p 2222 -- node docker system dial-stdio", string(got))
	d, err := daemon.Open(daemon.Config{Host: "ssh://node"})
	require.NoError(t, err)
	require.NoError(t, d.Load(t.Context(), strings.NewReader(strings.Repeat("x", 1<<20))))
	d.Close()
	got, err = os.ReadFile(args)
	require.NoError(t, err)
	assert.Equal(t, "-o ConnectTimeout=30 -T -- node docker system dial-stdio", string(got))

	server.Close()
	_, err = daemon.Tags(t.Context(), daemon.Config{Host: "ssh://node"}, "app")
	require.ErrorContains(t, err, "ssh: Permission denied (publickey).")
	t.Setenv("PATH", t.TempDir())
	_, err = daemon.Tags(t.Context(), daemon.Config{Host: "ssh://node"}, "app")
	require.ErrorContains(t, err, `"ssh": executable file not found`)
	for host, want := range map[string]string{
		"ssh://me:secret@node": "takes no password",
		"ssh://node/path":      "it is not of the form ssh://",
		"ssh://:22":            "it is not of the form ssh://",
		"ssh://node:x":         "invalid port",
	} {
		_, err = daemon.Tags(t.Context(), daemon.Config{Host: host}, "app")
		require.ErrorContains(t, err, want)
	}
}
