package serving_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/internal/imagetest"
	"github.com/dockerarchive/dockerarchive/serving"
)

// Connections on which nothing is asked are closed.
func TestIdleConnections(t *testing.T) {
	img := imagetest.NewImage(t, "it", imagetest.Plain(1, 100))
	inMemory(t, img, func(t *testing.T, l *pipes, _ func() error) {
		begun := time.Now()
		_, err := io.Copy(io.Discard, l.dial())
		require.NoError(t, err)
		assert.Equal(t, 10*time.Second, time.Since(begun), "if nothing ever was")
		c := l.dial()
		pullOver(t, c, img)
		begun = time.Now()
		_, err = io.Copy(io.Discard, c)
		require.NoError(t, err)
		assert.Equal(t, time.Minute, time.Since(begun))
	})
}

// pullOver pulls a layer over a connection.
func pullOver(t *testing.T, c net.Conn, img *imagetest.Image) {
	t.Helper()
	ask(t, c, img)
	response, err := http.ReadResponse(bufio.NewReader(c), nil)
	require.NoError(t, err)
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	assert.Equal(t, img.Layers[0].Blob, body)
}

// A client that asks for something waits for no idle client, however many these are, and
// nobody takes the place of a client that is being answered.
func TestManyIdleConnections(t *testing.T) {
	const many = 10_000
	limit := serving.MaxConnections()
	img := imagetest.NewImage(t, "it", imagetest.Plain(1, 1_000_000))
	inMemory(t, img, func(t *testing.T, l *pipes, _ func() error) {
		begun := time.Now()
		reading := l.dial()
		ask(t, reading, img)
		synctest.Wait()
		var idle []net.Conn
		for range many {
			idle = append(idle, l.dial())
		}
		pullOver(t, l.dial(), img)
		response, err := http.ReadResponse(bufio.NewReader(reading), nil)
		require.NoError(t, err)
		body, err := io.ReadAll(response.Body)
		require.NoError(t, err)
		assert.Equal(t, img.Layers[0].Blob, body)
		synctest.Wait()
		closed := 0
		for ; isClosed(idle[closed]); closed++ {
		}
		assert.Equal(t, many-limit+2, closed, "those that were idle for longest")
		assert.Less(t, time.Since(begun), 5*time.Second, "before the first ones are closed for doing nothing")
		require.NoError(t, reading.Close())
	})
}

// isClosed reports whether the other end of a pipe is.
func isClosed(c net.Conn) bool { return c.SetReadDeadline(time.Now()) != nil }

// If clients that ask for something take all places, others wait for the first that has got
// its answer, and have some time to ask. They do not hold up the end of the server.
func TestBusyConnections(t *testing.T) {
	limit := serving.MaxConnections()
	img := imagetest.NewImage(t, "it", imagetest.Plain(1, 10))
	inMemory(t, img, func(t *testing.T, l *pipes, stop func() error) {
		var busy []net.Conn
		for range limit {
			c := l.dial()
			ask(t, c, img) // And nothing is read.
			busy = append(busy, c)
		}
		synctest.Wait()
		var others sync.WaitGroup
		others.Go(func() {
			begun := time.Now()
			c := l.dial()
			time.Sleep(1200 * time.Millisecond) // It has a place for the last 200 ms only.
			pullOver(t, c, img)
			assert.Less(t, time.Since(begun), 2*time.Second)
		})
		time.Sleep(time.Millisecond)
		others.Go(func() { pullOver(t, l.dial(), img) })
		time.Sleep(time.Second)
		require.NoError(t, busy[0].Close())
		others.Wait()

		c := l.dial() // Takes the last one's place.
		ask(t, c, img)
		synctest.Wait()
		waiting := l.dial()
		var stopping sync.WaitGroup
		stopping.Go(func() { assert.NoError(t, stop()) })
		time.Sleep(time.Second)
		assert.True(t, isClosed(waiting))
		for _, c := range append(busy, c) {
			require.NoError(t, c.Close())
		}
		stopping.Wait()
	})
}

// scarce is a listener of a process that may not open more than a number of files.
type scarce struct {
	*pipes
	mu   sync.Mutex
	left int
}

func (s *scarce) Accept() (net.Conn, error) {
	c, err := s.pipes.Accept()
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.left == 0 {
		go func() { // It is still there the next time.
			select {
			case s.conns <- c:
			case <-s.ended:
			}
		}()
		return nil, &net.OpError{Op: "accept", Err: syscall.EMFILE}
	}
	s.left--
	return &scarceConn{Conn: c, listener: s}, nil
}

type scarceConn struct {
	net.Conn
	once     sync.Once
	listener *scarce
}

func (c *scarceConn) Close() error {
	c.once.Do(func() {
		c.listener.mu.Lock()
		defer c.listener.mu.Unlock()
		c.listener.left++
	})
	return c.Conn.Close()
}

// Nobody waits for idle connections when no more files can be opened.
func TestIdleConnectionsTakeAllFiles(t *testing.T) {
	img := imagetest.NewImage(t, "it", imagetest.Plain(1, 100))
	path := newLayout(t).add(img, "team/app:1").write()
	synctest.Test(t, func(t *testing.T) {
		s, err := serving.New(t.Context(), []string{path}, serving.Options{})
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		l := &scarce{pipes: newPipes(), left: 100}
		var done sync.WaitGroup
		done.Go(func() { assert.NoError(t, serving.Serve(ctx, l, s, "", "", time.Minute)) })
		begun := time.Now()
		for range 1000 {
			l.dial()
		}
		pullOver(t, l.dial(), img)
		assert.Less(t, time.Since(begun), 9*time.Second, "before the first ones are closed for doing nothing")
		cancel()
		done.Wait()
		require.NoError(t, s.Close())
	})
}

// Nobody waits until idle clients have been told, with TLS, that their connection is closed.
func TestIdleConnectionsWithTLS(t *testing.T) {
	img := imagetest.NewImage(t, "it", imagetest.Plain(1, 100))
	path := newLayout(t).add(img, "team/app:1").write()
	certFile, keyFile := writeCertificate(t)
	synctest.Test(t, func(t *testing.T) {
		s, err := serving.New(t.Context(), []string{path}, serving.Options{})
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		l := &scarce{pipes: newPipes(), left: 2}
		var done sync.WaitGroup
		done.Go(func() { assert.NoError(t, serving.Serve(ctx, l, s, certFile, keyFile, time.Minute)) })
		var conns []net.Conn
		dial := func() net.Conn {
			conns = append(conns, l.dial())
			return tls.Client(conns[len(conns)-1], &tls.Config{InsecureSkipVerify: true})
		}
		for range 2 {
			pullOver(t, dial(), img)
		}
		time.Sleep(time.Second) // They are idle for long enough.
		begun := time.Now()
		pullOver(t, dial(), img)
		assert.Less(t, time.Since(begun), 2*time.Second, "nobody reads what ends the others")
		for _, c := range conns {
			require.NoError(t, c.Close())
		}
		synctest.Wait() // http.Server closes connections with a mutex held, at which fake time stands still.
		cancel()
		done.Wait()
		require.NoError(t, s.Close())
	})
}

// writeCertificate writes a certificate and its key.
func writeCertificate(t *testing.T) (certFile, keyFile string) {
	t.Helper()
	server := httptest.NewTLSServer(http.NotFoundHandler())
	defer server.Close()
	certificate := server.TLS.Certificates[0]
	key, err := x509.MarshalPKCS8PrivateKey(certificate.PrivateKey)
	require.NoError(t, err)
	dir := t.TempDir()
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	require.NoError(t, os.WriteFile(certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate.Certificate[0]}), 0o600))
	require.NoError(t, os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}), 0o600))
	return certFile, keyFile
}
