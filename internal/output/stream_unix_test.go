//go:build unix

package output

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func fifo(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "fifo")
	require.NoError(t, syscall.Mkfifo(path, 0o600))
	return path
}

func TestFIFO(t *testing.T) {
	path := fifo(t)
	got := make(chan []byte)
	go func() {
		defer close(got)
		if data, err := os.ReadFile(path); err == nil {
			got <- data
		}
	}()
	o, err := Create(t.Context(), path)
	require.NoError(t, err)
	assert.True(t, o.Stream())
	assert.Nil(t, o.File())
	_, err = io.WriteString(o.Writer(), "new")
	require.NoError(t, err)
	require.NoError(t, o.Commit(t.Context()))
	assert.Equal(t, "new", string(<-got))
}

// Create waits for a missing reader only as long as the context lasts. A later
// reader does not take a waiting Create for a writer.
func TestFIFOWithoutReader(t *testing.T) {
	path := fifo(t)
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		created := make(chan error)
		go func() {
			_, err := Create(ctx, path)
			created <- err
		}()
		synctest.Wait() // It has tried.
		gone := errors.New("gone")
		cancel(gone)
		require.ErrorIs(t, <-created, gone)
	})
	r, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	require.NoError(t, err)
	defer r.Close()
	n, err := r.Read(make([]byte, 1))
	assert.Zero(t, n)
	assert.ErrorIs(t, err, io.EOF, "there is no writer")
}

// stuck returns an Output to a pipe in which a write is under way that will not
// end, the result of that write, and the other end of the pipe.
func stuck(t *testing.T, path string, open func() (*Output, *os.File)) (*Output, <-chan error, *os.File) {
	t.Helper()
	o, r := open()
	written := make(chan error, 1)
	go func() {
		_, err := o.Writer().Write(make([]byte, 16<<20)) // More than a pipe can hold.
		written <- err
	}()
	_, err := r.Read(make([]byte, 1))
	require.NoError(t, err, path)
	return o, written, r
}

// A reader that does not read does not keep us, and a write to it fails.
func TestStuckFIFO(t *testing.T) {
	for name, end := range map[string]func(*Output) error{
		"commit": func(o *Output) error { return o.Commit(t.Context()) },
		"abort":  func(o *Output) error { return o.Abort() },
	} {
		path := fifo(t)
		o, written, r := stuck(t, path, func() (*Output, *os.File) {
			opened := make(chan *os.File)
			go func() {
				r, _ := os.Open(path)
				opened <- r
			}()
			o, err := Create(t.Context(), path)
			require.NoError(t, err)
			return o, <-opened
		})
		require.NoError(t, end(o), name)
		err := <-written
		require.ErrorIs(t, err, os.ErrClosed, name)
		isLocal(t, err)
		require.ErrorContains(t, err, path)
		require.NoError(t, r.Close())
	}
}

// A pipe that this process was started with may be in blocking mode, which it
// shares with others. A write to it ends with its reader.
func TestStuckInheritedPipe(t *testing.T) {
	o, written, r := stuck(t, "", func() (*Output, *os.File) {
		r, w, err := os.Pipe()
		require.NoError(t, err)
		defer w.Close()
		o, err := Create(t.Context(), fmt.Sprintf("/dev/fd/%d", w.Fd())) // Fd makes it blocking.
		require.NoError(t, err)
		return o, r
	})
	require.NoError(t, o.Abort())
	require.NoError(t, r.Close())
	require.ErrorIs(t, <-written, syscall.EPIPE)
}

// A device that takes long to be closed is not waited for without end.
func TestStuckClose(t *testing.T) {
	forever := make(chan struct{})
	defer close(forever)
	ctx, cancel := context.WithCancel(t.Context())
	o := &Output{path: "tape", stream: true, finish: func(context.Context) error {
		cancel()
		<-forever
		return nil
	}}
	require.ErrorIs(t, o.Commit(ctx), context.Canceled)
}

func TestToWriter(t *testing.T) {
	var b bytes.Buffer
	o := ToWriter(&b)
	assert.True(t, o.Stream())
	assert.Nil(t, o.File())
	assert.Empty(t, o.Dir())
	_, err := io.WriteString(o.Writer(), "new")
	require.NoError(t, err)
	require.NoError(t, o.Commit(t.Context()))
	require.NoError(t, o.Abort())
	assert.Equal(t, "new", b.String())

	o = ToWriter(failingWriter{})
	_, err = io.WriteString(o.Writer(), "new")
	require.ErrorIs(t, err, io.ErrClosedPipe)
	isLocal(t, err)
	require.NoError(t, o.Abort())
}

type failingWriter struct{}

func (failingWriter) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }
