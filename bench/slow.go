package main

import (
	"net"
	"time"
)

// The network of the cases that measure what it is like far from a registry. The
// rate is that of each connection, as content delivery networks limit them.
const (
	slowRate    = 20 << 20 // bytes a second
	slowLatency = 20 * time.Millisecond
	slowWrite   = 64 << 10 // bytes that are sent at a time
)

// slowListener accepts connections over a slow network.
type slowListener struct{ net.Listener }

func listenSlowly() (net.Listener, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	return slowListener{l}, err
}

// Accept implements net.Listener.
func (l slowListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &slowConn{Conn: c}, nil
}

// slowConn delays what it receives and limits the rate of what it sends.
type slowConn struct {
	net.Conn
	free time.Time // when the line is free again
}

// Read implements net.Conn.
func (c *slowConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n > 0 {
		time.Sleep(slowLatency)
	}
	return n, err
}

// Write implements net.Conn.
func (c *slowConn) Write(p []byte) (int, error) {
	total := 0
	for len(p) > 0 {
		now := time.Now()
		if c.free.Before(now) {
			c.free = now
		}
		time.Sleep(c.free.Sub(now))
		n, err := c.Conn.Write(p[:min(len(p), slowWrite)])
		total += n
		p = p[n:]
		if err != nil {
			return total, err
		}
		c.free = c.free.Add(time.Duration(n) * time.Second / slowRate)
	}
	return total, nil
}
