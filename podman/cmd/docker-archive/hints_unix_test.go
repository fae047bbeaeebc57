//go:build unix

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/podman/internal/imagetest"
)

// Somebody without a runtime directory is sent by containers/image to a file that may be
// in another's.
func TestHintOfUnreadableCredentials(t *testing.T) {
	dir, err := os.MkdirTemp("", "hint") // Not t.TempDir: other users cannot enter it.
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, os.RemoveAll(dir)) })
	require.NoError(t, os.Chmod(dir, 0o755))
	containers := filepath.Join(dir, "containers")
	require.NoError(t, os.Mkdir(containers, 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(containers, "auth.json"), []byte("{}"), 0o600))
	self, err := os.Executable()
	require.NoError(t, err)
	program := filepath.Join(dir, "docker-archive")
	require.NoError(t, os.WriteFile(program, imagetest.ReadFile(t, self), 0o755)) //nolint:gosec // For all users.
	reg := imagetest.NewRegistry(t)
	cmd := exec.CommandContext(t.Context(), program, "save", "--insecure-policy", "--dry-run", reg.Address+"/app:1")
	cmd.Env = append(os.Environ(), processVariable+"=1", "XDG_RUNTIME_DIR="+dir, "HOME="+dir)
	if os.Geteuid() == 0 { // Root may read everything.
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	} else {
		require.NoError(t, os.Chmod(containers, 0))
		defer func() { require.NoError(t, os.Chmod(containers, 0o700)) }()
	}
	out, err := cmd.CombinedOutput()
	require.Error(t, err)
	assert.Contains(t, string(out), "containers/auth.json: permission denied\nhint: The file with credentials cannot be used by you. Say which can with --authfile or REGISTRY_AUTH_FILE, or set XDG_RUNTIME_DIR to a directory of yours.\n")
}

// A full disk is told of, whichever command fills it.
func TestHintOfAFullDisk(t *testing.T) {
	image := "oci:" + testdata(t, "oci") + ":one"
	for _, script := range []string{"save " + image + " > /dev/full", "copy -q " + image + " docker-archive:/dev/stdout:x:1 > /dev/full"} {
		out, err := shell(t, t.TempDir(), "docker-archive "+script)
		require.Error(t, err)
		assert.Contains(t, out, "The disk is full. Free some of it or choose another", script)
	}
}
