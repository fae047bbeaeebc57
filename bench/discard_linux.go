package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// discard has the kernel throw away the next n bytes that come over a TCP connection.
func discard(c net.Conn, n int64) error {
	tcp, ok := c.(syscall.Conn)
	if !ok {
		return fmt.Errorf("%T has no file descriptor", c)
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return err
	}
	unused := make([]byte, min(n, 1<<20)) // With MSG_TRUNC, nothing is written to it.
	for n > 0 {
		var got int
		var readErr error
		err := raw.Read(func(fd uintptr) bool {
			got, _, readErr = unix.Recvfrom(int(fd), unused[:min(n, int64(len(unused)))], unix.MSG_TRUNC)
			return !errors.Is(readErr, unix.EAGAIN)
		})
		switch {
		case err != nil:
			return err
		case readErr != nil && !errors.Is(readErr, unix.EINTR):
			return readErr
		case readErr == nil && got == 0:
			return io.ErrUnexpectedEOF
		}
		n -= int64(max(got, 0))
	}
	return nil
}
