package serving

import (
	"container/list"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"sync"
	"syscall"
	"time"
)

const (
	// leastIdle is how long every connection may be idle: a request may be on its way.
	leastIdle = 250 * time.Millisecond
	// idlePoll is the interval at which to look for a connection that has been idle long
	// enough to close.
	idlePoll = 50 * time.Millisecond
)

// limitedListener has a limited number of connections. To accept another one, it closes
// the connection that has asked for nothing for longest: idle clients do not keep others
// out. The connections are not wrapped, which would keep the kernel from sending files.
type limitedListener struct {
	net.Listener
	places chan struct{}
	ended  <-chan struct{}

	mu   sync.Mutex
	idle *list.List // of idleConn, the one that has been idle for longest first
	at   map[net.Conn]*list.Element
}

type idleConn struct {
	net.Conn
	since time.Time
}

func newLimitedListener(l net.Listener, limit int, ended <-chan struct{}) *limitedListener {
	return &limitedListener{
		Listener: l, places: make(chan struct{}, limit), ended: ended,
		idle: list.New(), at: map[net.Conn]*list.Element{},
	}
}

// Accept implements net.Listener.
func (l *limitedListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	for tooManyFiles(err) && l.closeIdlest() {
		c, err = l.Listener.Accept()
	}
	if err != nil {
		return nil, err // After some, http.Server tries again.
	}
	if !l.takePlace() {
		_ = c.Close() // The client has said nothing yet.
		return nil, net.ErrClosed
	}
	return c, nil
}

// tooManyFiles reports whether an error is that no more files can be opened.
func tooManyFiles(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE)
}

// takePlace waits until there is a place. It returns false if the server ends before.
func (l *limitedListener) takePlace() bool {
	select {
	case l.places <- struct{}{}:
		return true
	default:
	}
	ticker := time.NewTicker(idlePoll)
	defer ticker.Stop()
	poll := ticker.C
	for {
		if l.closeIdlest() {
			poll = nil // One is enough.
		}
		select {
		case l.places <- struct{}{}:
			return true
		case <-poll:
		case <-l.ended:
			return false
		}
	}
}

// closeIdlest closes the connection that has been idle for longest, if that is long enough.
func (l *limitedListener) closeIdlest() bool {
	l.mu.Lock()
	first := l.idle.Front()
	if first == nil || time.Since(first.Value.(idleConn).since) < leastIdle {
		l.mu.Unlock()
		return false
	}
	c := first.Value.(idleConn).Conn
	l.forget(c)
	l.mu.Unlock()
	if t, ok := c.(*tls.Conn); ok {
		c = t.NetConn() // To say goodbye could take seconds, and Accept waits.
	}
	_ = c.Close() // This tells the client that was silent.
	return true
}

// forget takes a connection off the list of those that are idle. It must be called with
// l.mu held.
func (l *limitedListener) forget(c net.Conn) {
	if e := l.at[c]; e != nil {
		l.idle.Remove(e)
		delete(l.at, c)
	}
}

// changed is for http.Server.ConnState.
func (l *limitedListener) changed(c net.Conn, state http.ConnState) {
	l.mu.Lock()
	l.forget(c)
	if state == http.StateNew || state == http.StateIdle {
		l.at[c] = l.idle.PushBack(idleConn{c, time.Now()})
	}
	l.mu.Unlock()
	if state == http.StateClosed || state == http.StateHijacked {
		<-l.places
	}
}
