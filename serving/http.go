package serving

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"time"
)

// Limits for clients of a server that Serve runs.
const (
	maxConnections = 1024 // at most, of up to 40 KB each, with TLS
	maxHeaderBytes = 64 << 10
	headerTimeout  = 10 * time.Second
	idleTimeout    = 60 * time.Second
)

// Serve answers requests on a listener until ctx ends, or it fails, and closes it.
// When ctx has ended, requests that are being answered have as long as grace to end;
// they are cut off then. It has no more than 1,024 connections at once, fewer if the
// process may not open as many files: to accept another one, it closes the connection
// that has been idle for longest. It also closes each connection that is idle for a
// minute. With certFile and keyFile, unless both are empty, it uses TLS. Errors go to
// package log, except that the other end of a connection fails to begin with TLS.
func Serve(ctx context.Context, l net.Listener, h http.Handler, certFile, keyFile string, grace time.Duration) error {
	server := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		// Every answer is the handler's, with its headers.
		DisableGeneralOptionsHandler: true,
		ErrorLog:                     log.New(withoutHandshakes{log.Writer()}, log.Prefix(), log.Flags()),
	}
	ended := make(chan error, 1)
	shutDown := func() {
		graceful, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
		defer cancel()
		err := server.Shutdown(graceful)
		if errors.Is(err, context.DeadlineExceeded) {
			err = server.Close()
		}
		ended <- err
	}
	stop := context.AfterFunc(ctx, shutDown)
	limited := newLimitedListener(l, connectionLimit(), ctx.Done())
	server.ConnState = limited.changed
	var err error
	if certFile != "" || keyFile != "" {
		err = server.ServeTLS(limited, certFile, keyFile)
	} else {
		err = server.Serve(limited)
	}
	if stop() {
		if ctx.Err() == nil {
			return errors.Join(err, server.Close())
		}
		shutDown() // limited saw the end of the context before AfterFunc did.
	}
	return <-ended
}

// withoutHandshakes is the log of an http.Server without TLS handshakes that failed:
// any client that connects, or is closed for others, could fill it with these.
type withoutHandshakes struct{ io.Writer }

// Write implements io.Writer.
func (w withoutHandshakes) Write(p []byte) (int, error) {
	if bytes.Contains(p, []byte("http: TLS handshake error")) {
		return len(p), nil
	}
	return w.Writer.Write(p)
}

// responseWriter counts the bytes sent, and gives up on clients that do not read
// them.
type responseWriter struct {
	http.ResponseWriter
	patience time.Duration
	status   int
	bytes    int64
}

// pieceSize is how many bytes a client has to read within the patience.
const pieceSize = 256 << 10

// Unwrap is for http.ResponseController.
func (w *responseWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// WriteHeader implements http.ResponseWriter.
func (w *responseWriter) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

// Write implements io.Writer.
func (w *responseWriter) Write(p []byte) (int, error) {
	w.begin()
	n, err := w.ResponseWriter.Write(p)
	w.bytes += int64(n)
	return n, err
}

// ReadFrom implements io.ReaderFrom: the kernel sends blobs that are stored in files.
func (w *responseWriter) ReadFrom(r io.Reader) (int64, error) {
	w.begin()
	limited, _ := r.(*io.LimitedReader)
	if limited == nil {
		return io.Copy(struct{ io.Writer }{w}, r)
	}
	blob, ok := limited.R.(*stored)
	if !ok {
		if from, ok := limited.R.(expecting); ok {
			from.expect(limited.N)
		}
		return io.Copy(struct{ io.Writer }{w}, r)
	}
	var total int64
	for limited.N > 0 {
		w.extend()
		n, err := blob.sendTo(w.ResponseWriter, min(limited.N, pieceSize))
		total, limited.N, w.bytes = total+n, limited.N-n, w.bytes+n
		if err != nil || n == 0 {
			return total, err
		}
	}
	return total, nil
}

// expecting is a reader that requests as many bytes as expect announces.
type expecting interface{ expect(n int64) }

func (w *responseWriter) begin() {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	w.extend()
}

// extend lets the client have its time from now on.
func (w *responseWriter) extend() {
	// If the deadline cannot be set here, the caller has to limit the time.
	_ = http.NewResponseController(w.ResponseWriter).SetWriteDeadline(time.Now().Add(w.patience))
}
