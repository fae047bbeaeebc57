//go:build unix

package input

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestOpenNamedPipe(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pipe")
	require.NoError(t, syscall.Mkfifo(path, 0o600))
	content := bytes.Repeat([]byte("content "), 1<<17)
	go func() {
		if w, err := os.OpenFile(path, os.O_WRONLY, 0); err == nil {
			_, _ = w.Write(content)
			w.Close()
		}
	}()
	f, err := Open(t.Context(), path, Options{TempDir: t.TempDir()})
	require.NoError(t, err)
	got := make([]byte, f.Size())
	_, err = f.ReadAt(got, 0)
	require.NoError(t, err)
	assert.True(t, bytes.Equal(content, got))
	require.NoError(t, f.Close())
}

func TestOpenPipeWithoutWriter(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pipe")
	require.NoError(t, syscall.Mkfifo(path, 0o600))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() {
		_, err := Open(ctx, path, Options{TempDir: t.TempDir()})
		done <- err
	}()
	cancel()
	require.ErrorIs(t, <-done, context.Canceled)
}
