//go:build linux

package main

import (
	"io"
	"net"
	"sync"
	"time"
)

// network is the line between a registry and its client.
type network struct {
	rate   int64 // bytes a second of each connection, as content delivery networks limit it; 0 is no limit
	sum    int64 // of all together, as a distant client's line limits it
	breaks int64 // bytes after which a connection breaks; 0 is never
	late   time.Duration
}

// networkIndex is the index of a case's network.
type networkIndex int

const (
	fast networkIndex = iota
	slow
	narrow
	failing
	distant
)

// networks are the networks between client and registry. They imitate distant
// registries.
var networks = [...]network{
	fast:    {},
	slow:    {rate: 20 << 20, late: 20 * time.Millisecond},
	narrow:  {sum: 50 << 20, late: 20 * time.Millisecond},
	failing: {breaks: 10 << 20},
	distant: {late: 50 * time.Millisecond},
}

const (
	slowWrite = 64 << 10 // bytes that are sent at a time
	// slowBuffer is how long a line keeps sending if its next data is late, as with
	// buffers on the way.
	slowBuffer = 10 * time.Millisecond
)

const anyPort = "127.0.0.1:0"

// listen listens at an address of this machine in the network.
func (n network) listen(address string) (net.Listener, error) {
	l, err := net.Listen("tcp", address)
	if err != nil || n == (network{}) {
		return l, err
	}
	return slowListener{l, n, &limiter{rate: n.sum}}, nil
}

// limiter lets through so many bytes a second.
type limiter struct {
	rate int64

	mu   sync.Mutex
	free time.Time // when the line is free again
}

// take waits until n bytes may be sent.
func (l *limiter) take(n int) {
	if l.rate == 0 {
		return
	}
	l.mu.Lock()
	now := time.Now()
	if earliest := now.Add(-slowBuffer); l.free.Before(earliest) {
		l.free = earliest
	}
	wait := l.free.Sub(now)
	l.free = l.free.Add(time.Duration(n) * time.Second / time.Duration(l.rate))
	l.mu.Unlock()
	time.Sleep(wait)
}

// slowListener accepts connections in a network.
type slowListener struct {
	net.Listener
	network network
	sum     *limiter
}

// Accept implements net.Listener.
func (l slowListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &slowConn{Conn: c, network: l.network, own: limiter{rate: l.network.rate}, sum: l.sum}, nil
}

// slowConn delays received data, limits the rate of sent data, and breaks.
type slowConn struct {
	net.Conn
	network network
	own     limiter
	sum     *limiter
	sent    int64
}

// Read implements net.Conn.
func (c *slowConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n > 0 {
		time.Sleep(c.network.late)
	}
	return n, err
}

// ReadFrom implements io.ReaderFrom.
func (c *slowConn) ReadFrom(r io.Reader) (int64, error) {
	return io.CopyBuffer(struct{ io.Writer }{c}, struct{ io.Reader }{r}, make([]byte, 4*slowWrite))
}

// Write implements net.Conn.
func (c *slowConn) Write(p []byte) (int, error) {
	total := 0
	for len(p) > 0 {
		part := p[:min(len(p), slowWrite)]
		if left := c.network.breaks - c.sent; c.network.breaks > 0 && left < int64(len(part)) {
			part = part[:left]
		}
		if len(part) == 0 {
			_ = c.Close() // The line breaks.
			return total, net.ErrClosed
		}
		c.own.take(len(part))
		c.sum.take(len(part))
		n, err := c.Conn.Write(part)
		total += n
		c.sent += int64(n)
		p = p[n:]
		if err != nil {
			return total, err
		}
	}
	return total, nil
}
