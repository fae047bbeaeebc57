// Package stall ends requests that bring nothing. It sees them as the hooks of
// net/http/httptrace do, from any client, and does not know their purpose.
package stall

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http/httptrace"
	"sync"
	"time"
)

// Variables, so that tests need not wait.
var (
	// Silence is how long a connection may bring nothing before it counts as broken.
	Silence = 60 * time.Second
	// Patience is the silence allowed on a connection after sending data that takes a registry
	// time to store, and if nobody can see whether it waits for a disk here.
	Patience = 5 * time.Minute
)

// silentError says that a connection has brought nothing for so long.
type silentError struct {
	host  string
	after time.Duration
}

var _ net.Error = silentError{}

// Error returns the text.
func (e silentError) Error() string {
	return fmt.Sprintf("%s has sent nothing for %v", e.host, e.after)
}

// Timeout is true: it may pass.
func (silentError) Timeout() bool { return true }

// Temporary is true.
func (silentError) Temporary() bool { return true }

// Watch ends requests that bring nothing. Time counts while a connection or an answer is
// waited for, while its header or an error's text comes, and while a body is being read or
// sent. It does not count while nobody reads a body. A registry's wish to wait a minute is
// granted.
type Watch struct {
	cancel            context.CancelCauseFunc
	waiting           func(host string)
	silence, patience time.Duration

	mu       sync.Mutex
	answer   time.Duration // how long an answer may take to begin
	rest     time.Duration // and any wait after that
	host     string        // of the connection
	asked    int           // requests that are not answered; less than 0 if an answer is there before its request counts
	returned bool          // Open or Do has: only the body is waited for, while it is read
	reading  bool          // the body is being read
	ended    bool
	clock
}

// watching returns a context for requests that are watched. Hooks of the caller see them too; a Watch around
// this one does not.
func watching(ctx context.Context, host string, waiting func(host string)) (context.Context, *Watch) {
	ctx, cancel := context.WithCancelCause(unwatched(ctx))
	w := &Watch{cancel: cancel, waiting: waiting, silence: Silence, patience: Patience, host: host}
	w.answer = w.silence
	w.rest = 2 * w.silence // An answer may be the wish that it be asked again in a minute.
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GetConn:              w.connect,
		WroteHeaders:         w.sent,
		WroteRequest:         w.sentAll,
		GotFirstResponseByte: w.answered,
	}), w
}

// Open calls open with a context for its requests, and watches the stream that it returns.
// waiting is called with the host a while before a request is ended. It may be called concurrently.
func Open(ctx context.Context, host string, waiting func(host string), open func(context.Context) (io.ReadCloser, error)) (io.ReadCloser, error) {
	ctx, w := watching(ctx, host, waiting)
	w.Moved() // It may have to wait for another's connection or token.
	r, err := open(ctx)
	if err != nil {
		err = judged(ctx, err)
		w.end()
		return nil, err
	}
	w.opened()
	return &body{ReadCloser: r, watch: w, ctx: ctx}, nil
}

// Ask calls f, which asks something and reads the answer, with a context that ends when
// nothing comes. Streams that f opens must not need the context when it has returned.
func Ask(ctx context.Context, waiting func(host string), f func(context.Context, *Watch) error) error {
	ctx, w := watching(ctx, "", waiting)
	defer w.end()
	return judged(ctx, f(ctx, w))
}

// Patient lets answers take their time.
func (w *Watch) Patient() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.answer, w.rest = w.patience, w.patience
}

// Moved says that something has been read or sent, and that it goes on.
func (w *Watch) Moved() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.start(w.rest)
}

// Rest says that nothing has to be read or sent before the next request: work meanwhile may
// take any time. Requests that are not answered yet are watched on.
func (w *Watch) Rest() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.asked > 0 {
		w.start(w.answer)
	} else {
		w.halt()
	}
}

// Sent returns a reader for the body of a request. The client reads on when it has sent the
// bytes before. When all are sent, storing them may take a time.
func (w *Watch) Sent(r io.Reader) io.Reader { return sentBody{r, w} }

// Received returns a reader for the body of an answer. Several may be read side by side.
func (w *Watch) Received(ctx context.Context, r io.Reader) io.Reader {
	w.mu.Lock()
	defer w.mu.Unlock()
	own := &Watch{cancel: w.cancel, waiting: w.waiting, silence: w.silence, host: w.host}
	return &body{ReadCloser: io.NopCloser(r), watch: own, ctx: ctx}
}

// connect takes the host that is being connected to, which may be where a registry
// redirects to.
func (w *Watch) connect(hostPort string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.host = hostPort
	if host, port, err := net.SplitHostPort(hostPort); err == nil && port == "443" {
		w.host = host
	}
}

// sentAll is called when a request has been sent, which may be after its answer has come.
func (w *Watch) sentAll(info httptrace.WroteRequestInfo) {
	w.mu.Lock()
	answered := w.asked < 0
	if info.Err == nil || answered {
		w.asked++
	}
	w.mu.Unlock()
	if !answered {
		w.sent()
	}
}

// sent is called when the headers of a request have been sent, and again for the whole
// request.
func (w *Watch) sent() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.returned || w.reading {
		w.start(w.answer)
	}
}

// answered is called when the first byte of an answer has come. While the body is being
// read, the answer is one of a request that goes on with it.
func (w *Watch) answered() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.asked--
	switch {
	case w.reading:
		w.start(w.silence)
	case !w.returned:
		w.start(w.rest)
	}
}

// opened says that there is a body, for which time counts while it is read.
func (w *Watch) opened() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.returned = true
	w.halt()
}

// setReading says whether the body is being read.
func (w *Watch) setReading(reading bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.reading = reading; reading {
		w.start(w.silence)
	} else {
		w.halt()
	}
}

// end ends the context, and ignores all later hooks of its requests.
func (w *Watch) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ended = true
	w.halt()
	if w.timer != nil {
		w.timer.Stop()
	}
	w.cancel(nil)
}

// judged returns why a request failed, which is not that its context has ended if
// it was ended for bringing nothing.
func judged(ctx context.Context, err error) error {
	var silent silentError
	if err != nil && errors.As(context.Cause(ctx), &silent) {
		return silent
	}
	return err
}

// body is the body of an answer.
type body struct {
	io.ReadCloser
	watch *Watch
	ctx   context.Context
}

// Read reads.
func (b *body) Read(p []byte) (int, error) {
	b.watch.setReading(true)
	n, err := b.ReadCloser.Read(p)
	b.watch.setReading(false)
	if err != nil && err != io.EOF {
		err = judged(b.ctx, err)
	}
	return n, err
}

// Close closes the body.
func (b *body) Close() error {
	defer b.watch.end()
	return b.ReadCloser.Close()
}

// sentBody is the body of a request.
type sentBody struct {
	io.Reader
	watch *Watch
}

// Read reads.
func (b sentBody) Read(p []byte) (int, error) {
	b.watch.sending(false) // Nobody but the reader is waited for.
	n, err := b.Reader.Read(p)
	b.watch.sending(true)
	return n, err
}

// sending says whether the body of a request is being sent, or more of it made.
func (w *Watch) sending(sending bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !sending {
		w.halt()
		return
	}
	w.answer, w.rest = w.patience, w.patience
	w.start(w.silence)
}
