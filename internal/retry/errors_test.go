package retry

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// get returns the error of a GET, or that of reading its answer.
func get(t *testing.T, client *http.Client, url string) error {
	t.Helper()
	res, err := client.Get(url)
	if err == nil {
		defer res.Body.Close() // It has been read.
		_, err = io.Copy(io.Discard, res.Body)
	}
	require.Error(t, err)
	t.Logf("%v (%T)", err, errors.Unwrap(err))
	return err
}

func judged(t *testing.T, want bool, err error) {
	t.Helper()
	assert.Equal(t, want, Policy{}.Judge(err).Retry, "%v", err)
	assert.Equal(t, want, Policy{}.Judge(fmt.Errorf("%w: %w", errForGood, err)).Retry, "%v, wrapped", err)
}

// listen answers each connection with handle, and returns the address.
func listen(t *testing.T, handle func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer c.Close() // A client sees it, or not.
				handle(c)
			})
		}
	})
	t.Cleanup(func() {
		l.Close() // Ends the loop.
		wg.Wait()
	})
	return l.Addr().String()
}

// answer returns a handler that reads a request and answers with a text.
func answer(text string) func(net.Conn) {
	return func(c net.Conn) {
		if _, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
			io.WriteString(c, text) // A client sees whether it arrived.
		}
	}
}

func TestConnectionEnds(t *testing.T) {
	for name, text := range map[string]string{
		"before the answer": "",
		"in the header":     "HTTP/1.1 200 OK\r\nContent-",
		"in the body":       "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345",
		"in a chunk":        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n123",
		"in the last chunk": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
			judged(t, true, get(t, client, "http://"+listen(t, answer(text))))
		})
	}
	t.Run("by a reset", func(t *testing.T) {
		address := listen(t, func(c net.Conn) {
			answer("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n")(c)
			assert.NoError(t, c.(*net.TCPConn).SetLinger(0))
		})
		err := get(t, &http.Client{Transport: &http.Transport{}}, "http://"+address)
		require.ErrorAs(t, err, new(*net.OpError))
		judged(t, true, err)
	})
}

// net/http reports what the server does between two requests on a connection
// only if it cannot send the second one again.
func TestConnectionEndsIdle(t *testing.T) {
	address := listen(t, func(c net.Conn) {
		answer("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")(c)
		io.Copy(io.Discard, io.LimitReader(c, 1)) // The second one.
	})
	client := &http.Client{Transport: &http.Transport{MaxConnsPerHost: 1}}
	res, err := client.Post("http://"+address, "", nil)
	require.NoError(t, err)
	res.Body.Close() // Empty.
	_, err = client.Post("http://"+address, "", io.LimitReader(neverEnding{}, 1<<20))
	require.Error(t, err)
	t.Log(err)
	judged(t, true, err)
	judged(t, true, &url.Error{Op: "Get", URL: "http://x", Err: errors.New("http: server closed idle connection")})
}

type neverEnding struct{}

func (neverEnding) Read(p []byte) (int, error) { return len(p), nil }

func TestEOFElsewhere(t *testing.T) {
	judged(t, false, io.EOF)
	judged(t, false, fmt.Errorf("layer: %w", io.EOF))
	judged(t, true, io.ErrUnexpectedEOF)
}

func TestDialing(t *testing.T) {
	dial := func(network, address string) error {
		_, err := (&net.Dialer{}).DialContext(t.Context(), network, address)
		require.Error(t, err)
		return err
	}
	t.Run("refused", func(t *testing.T) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		require.NoError(t, l.Close())
		err = get(t, http.DefaultClient, "http://"+l.Addr().String())
		require.ErrorAs(t, err, new(*net.OpError))
		judged(t, true, err)
		judged(t, true, syscall.ECONNREFUSED)
	})
	t.Run("timeout", func(t *testing.T) {
		_, err := (&net.Dialer{Timeout: 1}).DialContext(t.Context(), "tcp", "127.0.0.1:1")
		require.ErrorIs(t, err, context.DeadlineExceeded, "which is not that of our context")
		judged(t, true, err)
	})
	judged(t, false, dial("tcp", "127.0.0.1"))
	judged(t, false, dial("tcp9", "127.0.0.1:1"))
	socket := filepath.Join(t.TempDir(), "socket")
	judged(t, false, dial("unix", socket))
	judged(t, false, &net.OpError{Op: "dial", Net: "unix", Err: os.NewSyscallError("connect", syscall.EACCES)})
	judged(t, false, &fs.PathError{Op: "open", Path: "x", Err: syscall.ENOENT})
}

func TestErrorNumbers(t *testing.T) {
	for _, number := range []error{syscall.ECONNRESET, syscall.ECONNABORTED, syscall.ECONNREFUSED, syscall.ETIMEDOUT} {
		judged(t, true, number)
		judged(t, true, os.NewSyscallError("read", number))
		judged(t, true, &net.OpError{Op: "read", Net: "tcp", Err: os.NewSyscallError("read", number)})
	}
	judged(t, true, &net.OpError{Op: "write", Net: "tcp", Err: os.NewSyscallError("write", syscall.EPIPE)})
	judged(t, false, &fs.PathError{Op: "write", Path: "|1", Err: syscall.EPIPE})
	judged(t, false, &fs.PathError{Op: "write", Path: "x", Err: syscall.ENOSPC})
}

func TestNames(t *testing.T) {
	judged(t, false, &net.OpError{Op: "dial", Net: "tcp", Err: &net.DNSError{Err: "no such host", Name: "x.invalid", IsNotFound: true}})
	judged(t, true, &net.OpError{Op: "dial", Net: "tcp", Err: &net.DNSError{Err: "server misbehaving", Name: "x.invalid", IsTemporary: true}})
	judged(t, true, &net.DNSError{Err: "i/o timeout", Name: "x.invalid", IsTimeout: true})
}

func TestTimeouts(t *testing.T) {
	block := make(chan struct{})
	silent := listen(t, func(net.Conn) { <-block })
	t.Cleanup(func() { close(block) }) // Before listen's.
	t.Run("TLS handshake", func(t *testing.T) {
		err := get(t, &http.Client{Transport: &http.Transport{TLSHandshakeTimeout: 1}}, "https://"+silent)
		require.ErrorContains(t, err, "TLS handshake timeout")
		judged(t, true, err)
	})
	t.Run("answer", func(t *testing.T) {
		err := get(t, &http.Client{Transport: &http.Transport{ResponseHeaderTimeout: 1}}, "http://"+silent)
		require.ErrorContains(t, err, "awaiting response headers")
		judged(t, true, err)
	})
	t.Run("client", func(t *testing.T) {
		judged(t, true, get(t, &http.Client{Timeout: 1, Transport: &http.Transport{}}, "http://"+silent))
	})
	t.Run("context", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 1)
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+silent, nil)
		require.NoError(t, err)
		_, err = http.DefaultClient.Do(req)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		judged(t, false, err)
	})
	judged(t, false, context.Canceled)
	judged(t, false, &url.Error{Op: "Get", Err: context.Canceled})
	judged(t, true, os.ErrDeadlineExceeded)
}

func TestTLS(t *testing.T) {
	server := httptest.NewTLSServer(http.NotFoundHandler())
	defer server.Close()
	server.Config.ErrorLog = discard
	t.Run("certificate", func(t *testing.T) {
		judged(t, false, get(t, &http.Client{Transport: &http.Transport{}}, server.URL))
	})
	t.Run("a proxy's certificate", func(t *testing.T) {
		proxy, err := url.Parse(server.URL)
		require.NoError(t, err)
		err = get(t, &http.Client{Transport: &http.Transport{Proxy: http.ProxyURL(proxy)}}, "http://registry.invalid")
		require.ErrorAs(t, err, new(*net.OpError))
		judged(t, false, err)
	})
	t.Run("alert", func(t *testing.T) {
		config := server.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
		config.MaxVersion = tls.VersionTLS10
		config.MinVersion = tls.VersionTLS10
		err := get(t, &http.Client{Transport: &http.Transport{TLSClientConfig: config}}, server.URL)
		require.ErrorAs(t, err, new(*net.OpError))
		judged(t, false, err)
	})
	plain := httptest.NewServer(http.NotFoundHandler())
	defer plain.Close()
	t.Run("none", func(t *testing.T) {
		judged(t, false, get(t, &http.Client{Transport: &http.Transport{}}, "https://"+plain.Listener.Addr().String()))
	})
	t.Run("none at the proxy", func(t *testing.T) {
		proxy := &url.URL{Scheme: "https", Host: plain.Listener.Addr().String()}
		err := get(t, &http.Client{Transport: &http.Transport{Proxy: http.ProxyURL(proxy)}}, "http://registry.invalid")
		require.ErrorAs(t, err, new(*net.OpError))
		judged(t, false, err)
	})
}

func TestRequestsThatCannotBeSent(t *testing.T) {
	for _, u := range []string{"ftp://127.0.0.1/", "http://", "http://%zz/"} {
		judged(t, false, get(t, http.DefaultClient, u))
	}
	endless := httptest.NewServer(http.RedirectHandler("/", http.StatusFound))
	defer endless.Close()
	judged(t, false, get(t, endless.Client(), endless.URL))
}

func TestStatus(t *testing.T) {
	for code, want := range map[int]bool{
		400: false, 401: false, 403: false, 404: false, 407: false, 408: true, 409: false, 429: true, 499: false,
		500: true, 501: false, 502: true, 503: true, 504: true, 505: false, 520: true,
	} {
		assert.Equal(t, Verdict{Retry: want}, Status(code), code)
	}
}

func TestSaysWithinTrees(t *testing.T) {
	gone := errors.New("http2: client connection lost")
	judged(t, true, errors.Join(errForGood, fmt.Errorf("x: %w", gone)))
	judged(t, true, errors.Join(gone, errForGood))
	judged(t, true, errors.Join(errors.Join(errForGood, gone), errForGood))
	judged(t, true, errors.New("http2: Transport received Server's graceful shutdown GOAWAY"))
	judged(t, false, errors.New("x: "+gone.Error()))
	judged(t, false, emptyWrapper{})
	judged(t, false, errors.Join(errForGood, fmt.Errorf("%w", context.DeadlineExceeded), &net.DNSError{IsTimeout: true}))
}

type emptyWrapper struct{}

func (emptyWrapper) Error() string { return "empty" }
func (emptyWrapper) Unwrap() error { return nil }
