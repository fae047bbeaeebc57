//go:build !linux

package main

import (
	"io"
	"net"
)

// discard reads the next n bytes that come over a connection.
func discard(c net.Conn, n int64) error {
	_, err := io.CopyN(io.Discard, c, n)
	return err
}
