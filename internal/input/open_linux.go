package input

import (
	"context"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// openFile opens a file to be read. It waits for a FIFO until somebody has
// written to it, or ctx ends: to open it in the usual way would wait for a writer
// uninterruptibly, and take it away from a later reader.
func openFile(ctx context.Context, path string) (*os.File, error) {
	info, err := os.Stat(path)
	if err != nil || info.Mode()&fs.ModeNamedPipe == 0 {
		return os.Open(path)
	}
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	if err := waitForWriter(ctx, f); err != nil {
		_ = f.Close() // Nothing was read.
		return nil, err
	}
	return f, nil
}

// waitForWriter returns when there is something to read, or was a writer.
func waitForWriter(ctx context.Context, f *os.File) error {
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = f.SetReadDeadline(time.Unix(1, 0)) })
	var pollErr error
	err = conn.Read(func(fd uintptr) bool {
		ready := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		for {
			var n int
			if n, pollErr = unix.Poll(ready, 0); pollErr != unix.EINTR {
				return n != 0
			}
		}
	})
	if !stop() {
		return context.Cause(ctx)
	}
	if err == nil {
		err = pollErr
	}
	return err
}
