package copying

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http/httptrace"
	"sync"
	"time"

	"github.com/containers/image/v5/docker"
	"github.com/containers/image/v5/types"
)

const (
	// stalledAfter is how long a connection may bring nothing before it counts as broken.
	stalledAfter = 60 * time.Second
	// waitingAfter is how long it has brought nothing when that is told.
	waitingAfter = 50 * time.Second
)

// stalledError says that a connection has brought nothing for stalledAfter.
type stalledError struct{ host string }

var _ net.Error = stalledError{}

// Error returns the text.
func (e stalledError) Error() string {
	return fmt.Sprintf("%s has sent nothing for %v", e.host, stalledAfter)
}

// Timeout is true: it may pass.
func (stalledError) Timeout() bool { return true }

// Temporary is true.
func (stalledError) Temporary() bool { return true }

// isRegistry reports whether what a source has comes over connections that are to be
// watched. A daemon may take its time before it answers, and a pipe too.
func isRegistry(src types.ImageSource) bool {
	return src.Reference().Transport().Name() == docker.Transport.Name()
}

// watch ends a request that brings nothing. Time counts only while an answer is waited
// for or the body is being read: not while a registry's wish to wait is granted, nor while
// nobody reads.
type watch struct {
	cancel  context.CancelCauseFunc
	waiting func(host string)

	mu      sync.Mutex
	host    string        // of the connection
	reading bool          // the body is being read
	timers  []*time.Timer // while time counts
}

// watched calls open with a context for its requests, and watches over what it returns.
// waiting is called with the host a while before a request is ended.
func watched(ctx context.Context, host string, waiting func(host string), open func(context.Context) (io.ReadCloser, error)) (io.ReadCloser, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	w := &watch{cancel: cancel, waiting: waiting, host: host}
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GetConn:              w.connect,
		WroteRequest:         func(httptrace.WroteRequestInfo) { w.start() },
		GotFirstResponseByte: w.answered,
	})
	body, err := open(ctx)
	w.stop() // Of a request that failed.
	if err != nil {
		err = judged(ctx, err)
		cancel(nil)
		return nil, err
	}
	return &watchedBody{ReadCloser: body, watch: w, ctx: ctx}, nil
}

// connect takes the host that is being connected to, which may be where a registry
// redirects to.
func (w *watch) connect(hostPort string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.host = hostPort
	if host, port, err := net.SplitHostPort(hostPort); err == nil && port == "443" {
		w.host = host
	}
}

// answered is called when an answer begins. While the body is being read, that is one of
// a request that goes on with it.
func (w *watch) answered() {
	w.mu.Lock()
	reading := w.reading
	w.mu.Unlock()
	if w.stop(); reading {
		w.start()
	}
}

// setReading says whether the body is being read.
func (w *watch) setReading(reading bool) {
	w.mu.Lock()
	w.reading = reading
	w.mu.Unlock()
	if w.stop(); reading {
		w.start()
	}
}

// start has time count from now on.
func (w *watch) start() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stopTimers()
	host := w.host
	w.timers = []*time.Timer{
		time.AfterFunc(waitingAfter, func() { w.waiting(host) }),
		time.AfterFunc(stalledAfter, func() { w.cancel(stalledError{host}) }),
	}
}

// stop has time count no more.
func (w *watch) stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stopTimers()
}

func (w *watch) stopTimers() {
	for _, t := range w.timers {
		t.Stop()
	}
	w.timers = nil
}

// judged returns why a request failed, which is not that its context has ended if
// it was ended for bringing nothing.
func judged(ctx context.Context, err error) error {
	var stalled stalledError
	if errors.As(context.Cause(ctx), &stalled) {
		return stalled
	}
	return err
}

// watchedBody is the body of an answer.
type watchedBody struct {
	io.ReadCloser
	watch *watch
	ctx   context.Context
}

// Read reads.
func (b *watchedBody) Read(p []byte) (int, error) {
	b.watch.setReading(true)
	n, err := b.ReadCloser.Read(p)
	b.watch.setReading(false)
	if err != nil && err != io.EOF {
		err = judged(b.ctx, err)
	}
	return n, err
}

// Close closes the body.
func (b *watchedBody) Close() error {
	defer b.watch.cancel(nil)
	return b.ReadCloser.Close()
}
