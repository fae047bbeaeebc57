package retry

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
)

// Status returns the verdict on an HTTP answer with a status that tells of a
// failure.
func Status(code int) Verdict {
	switch code {
	case http.StatusRequestTimeout, http.StatusTooManyRequests:
		return Verdict{Retry: true}
	case http.StatusNotImplemented, http.StatusHTTPVersionNotSupported:
		return Verdict{}
	}
	return Verdict{Retry: code >= http.StatusInternalServerError}
}

// ended reports whether an error is that of a context that has ended. net's and
// net/http's own timeouts only claim to be context.DeadlineExceeded, and may pass.
func ended(err error) bool {
	if errors.Is(err, context.Canceled) {
		return true
	}
	for e := range tree(err) {
		if e == context.DeadlineExceeded {
			return true
		}
	}
	return false
}

// mayPass reports whether an error may not occur the next time: one of the
// network, or of a connection that the other side gave up. Unknown errors do not
// pass, such as those of requests that cannot be sent at all.
func mayPass(err error) bool {
	var certificate *tls.CertificateVerificationError
	var plain tls.RecordHeaderError // The server does not speak TLS.
	if errors.As(err, &certificate) || errors.As(err, &plain) {
		return false // Even if that of a proxy, which is in a net.OpError.
	}
	var dns *net.DNSError
	if errors.As(err, &dns) {
		return !dns.IsNotFound
	}
	var op *net.OpError
	if errors.As(err, &op) {
		return opMayPass(op)
	}
	return connectionLost(err) || http2MayPass(err) || timedOut(err)
}

// opMayPass judges a failure on a socket by the errors that cannot pass, for the
// system's own error numbers differ between systems.
func opMayPass(op *net.OpError) bool {
	if op.Op == "remote error" { // A TLS alert: the server refuses this client.
		return false
	}
	var address *net.AddrError
	var network net.UnknownNetworkError
	return !errors.As(op.Err, &address) && !errors.As(op.Err, &network) &&
		!errors.Is(op.Err, fs.ErrNotExist) && !errors.Is(op.Err, fs.ErrPermission)
}

// connectionLost reports whether a connection ended before it should have.
func connectionLost(err error) bool {
	var request *url.Error
	if errors.As(err, &request) && errors.Is(request.Err, io.EOF) {
		return true // Before the answer; elsewhere io.EOF is an end as it should be.
	}
	return errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, syscall.ECONNRESET) ||
		errors.Is(err, syscall.ECONNABORTED) ||
		errors.Is(err, syscall.ECONNREFUSED) ||
		says(err, "net/http: HTTP/1.x transport connection broken") || // A header cut short is "malformed".
		says(err, "http: server closed idle connection") ||
		says(err, "http: unexpected EOF reading trailer")
}

// timedOut reports whether something took longer than its time limit: a dialer, a
// TLS handshake, the answer's header, the system.
func timedOut(err error) bool {
	for e := range tree(err) {
		if timeout, ok := e.(net.Error); ok && timeout.Timeout() {
			return true
		}
	}
	return false
}

// streamError has the fields of net/http's unexported HTTP/2 stream error, which
// therefore lets errors.As fill it.
type streamError struct {
	StreamID uint32
	Code     uint32
	Cause    error
}

// Error implements error.
func (e streamError) Error() string { return fmt.Sprintf("HTTP/2 stream error %d", e.Code) }

// HTTP/2 error codes that ask for another way to connect (RFC 9113, section 7).
const (
	inadequateSecurity = 0xc
	http11Required     = 0xd
)

// http2MayPass judges errors of HTTP/2. net/http neither exports nor wraps most
// of them, so that only their text tells.
func http2MayPass(err error) bool {
	var stream streamError
	if errors.As(err, &stream) {
		return stream.Code != inadequateSecurity && stream.Code != http11Required
	}
	return says(err, "http2: server sent GOAWAY ") ||
		says(err, "http2: Transport received Server's graceful shutdown GOAWAY") ||
		says(err, "http2: client conn") // "… is closed", "… not usable", "…ection lost"
}

// says reports whether an error or one that it wraps begins with a text.
func says(err error, text string) bool {
	for e := range tree(err) {
		if strings.HasPrefix(e.Error(), text) {
			return true
		}
	}
	return false
}

// tree iterates over an error and all that it wraps.
func tree(err error) iter.Seq[error] {
	return func(yield func(error) bool) { walk(err, yield) }
}

func walk(err error, yield func(error) bool) bool {
	if err == nil {
		return true
	}
	if !yield(err) {
		return false
	}
	switch e := err.(type) {
	case interface{ Unwrap() error }:
		return walk(e.Unwrap(), yield)
	case interface{ Unwrap() []error }:
		for _, wrapped := range e.Unwrap() {
			if !walk(wrapped, yield) {
				return false
			}
		}
	}
	return true
}
