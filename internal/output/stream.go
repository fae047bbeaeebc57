package output

import (
	"context"
	"errors"
	"io"
	"os"

	"golang.org/x/term"
)

// openStream makes an Output of an open file that is written from start to end.
func openStream(f *os.File) (*Output, error) {
	if err := checkStream(f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &Output{raw: f, stream: true, finish: closing(f), undo: f.Close}, nil
}

func checkStream(f *os.File) error {
	if term.IsTerminal(int(f.Fd())) {
		return ErrTerminal
	}
	info, err := f.Stat()
	if err == nil && info.Mode().IsRegular() && info.Size() != 0 {
		return ErrNotEmpty
	}
	return err
}

func openDevice(_ context.Context, path string) (*os.File, error) {
	return os.OpenFile(path, os.O_WRONLY, 0)
}

// closeStream closes a stream. Some devices send the bytes written only then;
// it waits for them no longer than ctx lasts.
func closeStream(ctx context.Context, finish func(context.Context) error) error {
	closed := make(chan error, 1)
	go func() { closed <- finish(ctx) }()
	select {
	case err := <-closed:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// foreignWriter is a stream that is not a file of ours.
type foreignWriter struct {
	w    io.Writer
	path string
}

// Write implements io.Writer.
func (w *foreignWriter) Write(p []byte) (int, error) {
	n, err := w.w.Write(p)
	if err != nil {
		err = &Error{Op: "write", Path: w.path, Err: err}
	}
	return n, err
}

// closing returns a finish that closes a file.
func closing(f *os.File) func(context.Context) error {
	return func(context.Context) error { return f.Close() }
}
