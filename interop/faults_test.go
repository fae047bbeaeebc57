//go:build interop

package interop

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A fault is how one request to a store goes wrong. Its zero value is none.
type fault struct {
	refuse int           // the status of an answer that the store has not given
	code   string        // of that answer; "" is SlowDown
	after  int           // seconds, for the Retry-After of that answer
	delay  time.Duration // before anything else
	before func()        // called before the store gets the request
	upload bool          // the connection breaks when the store should get the request
	broken bool          // the connection breaks after so many bytes of the answer
	short  bool          // the answer ends after so many bytes as if that were all
	wrong  bool          // the byte behind so many is another one
	bytes  int64
}

// A script says what goes wrong with a request. Scripts are called concurrently.
type script func(*http.Request) fault

// faulty returns the store behind a proxy, which does wrong what a script says. The proxy passes on the Host header,
// because signatures cover it. Commands use the proxy; the test's own client does not.
func (s objectStore) faulty(t *testing.T, script script) objectStore {
	t.Helper()
	target, err := url.Parse(s.endpoint)
	require.NoError(t, err)
	proxy := &httputil.ReverseProxy{
		Transport: &http.Transport{MaxIdleConnsPerHost: 16},
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.Out.Host = r.In.Host
		},
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f := script(r)
		time.Sleep(f.delay)
		if f.before != nil {
			f.before()
		}
		switch {
		case f.upload:
			_, _ = io.CopyN(io.Discard, r.Body, f.bytes) // The connection ends anyway.
			panic(http.ErrAbortHandler)
		case f.refuse != 0:
			_, _ = io.Copy(io.Discard, r.Body) // As for most stores, which read all of a request.
			w.Header().Set("Content-Type", "application/xml")
			if f.after > 0 {
				w.Header().Set("Retry-After", fmt.Sprint(f.after))
			}
			w.WriteHeader(f.refuse)
			fmt.Fprintf(w, "<Error><Code>%s</Code><Message>as the test wants it</Message></Error>", cmp.Or(f.code, "SlowDown"))
			return
		}
		proxy.ServeHTTP(&faultyWriter{ResponseWriter: w, fault: f, left: f.bytes}, r)
	}))
	t.Cleanup(server.Close)
	s.env = append(append([]string{}, s.env...), "AWS_ENDPOINT_URL="+server.URL)
	return s
}

// faultyWriter does wrong what a fault says about an answer.
type faultyWriter struct {
	http.ResponseWriter
	fault
	left int64
}

// WriteHeader implements http.ResponseWriter.
func (w *faultyWriter) WriteHeader(status int) {
	if w.short {
		w.Header().Del("Content-Length")
	}
	w.ResponseWriter.WriteHeader(status)
}

// Write implements io.Writer.
func (w *faultyWriter) Write(p []byte) (int, error) {
	n := int64(len(p))
	switch {
	case n < w.left || !w.broken && !w.short && !w.wrong:
		w.left -= n
		return w.ResponseWriter.Write(p)
	case w.wrong && w.left >= 0:
		if w.left < n {
			p = bytes.Clone(p)
			p[w.left] ^= 1
		}
		w.left -= n
		return w.ResponseWriter.Write(p)
	case w.wrong:
		return w.ResponseWriter.Write(p)
	}
	if w.left > 0 {
		_, _ = w.ResponseWriter.Write(p[:w.left])
		_ = http.NewResponseController(w.ResponseWriter).Flush()
	}
	w.left = 0
	if w.broken {
		panic(http.ErrAbortHandler)
	}
	return len(p), nil // The rest is missing.
}

// every returns a script that has a fault for each request number n, 2n and so on of those that match.
func every(n int64, matches func(*http.Request) bool, f fault) script {
	var count atomic.Int64
	return func(r *http.Request) fault {
		if !matches(r) || count.Add(1)%n != 0 {
			return fault{}
		}
		return f
	}
}

// inTurn returns a script that uses several scripts in turn, each for one of the faults.
func inTurn(n int64, matches func(*http.Request) bool, faults ...fault) script {
	var mu sync.Mutex
	next := 0
	pick := every(n, matches, fault{refuse: 1})
	return func(r *http.Request) fault {
		if pick(r).refuse == 0 {
			return fault{}
		}
		mu.Lock()
		defer mu.Unlock()
		next++
		return faults[next%len(faults)]
	}
}

// reads matches requests that read an object.
func reads(r *http.Request) bool { return r.Method == http.MethodGet && r.Header.Get("Range") != "" }

// anything matches all requests.
func anything(*http.Request) bool { return true }
