package serving_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"log"
	"net"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/internal/imagetest"
	"github.com/dockerarchive/dockerarchive/serving"
)

// pipes is a listener whose connections are in memory, for fake time.
type pipes struct {
	conns chan net.Conn
	once  sync.Once
	ended chan struct{}
}

func newPipes() *pipes { return &pipes{conns: make(chan net.Conn), ended: make(chan struct{})} }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.ended:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.ended) })
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.TCPAddr{} }

func (p *pipes) dial() net.Conn {
	client, server := net.Pipe()
	p.conns <- server
	return client
}

// inMemory has a test talk to a Server in fake time.
func inMemory(t *testing.T, img *imagetest.Image, test func(t *testing.T, l *pipes, stop func() error)) {
	inMemoryAt(t, newLayout(t).add(img, "team/app:1").write(), test)
}

func inMemoryAt(t *testing.T, path string, test func(t *testing.T, l *pipes, stop func() error)) {
	synctest.Test(t, func(t *testing.T) {
		s, err := serving.New(t.Context(), []string{path}, serving.Options{})
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		l := newPipes()
		done := make(chan error, 1)
		go func() { done <- serving.Serve(ctx, l, s, "", "", 20*time.Second) }()
		stopped := sync.OnceValue(func() error {
			cancel()
			return <-done
		})
		test(t, l, stopped)
		require.NoError(t, stopped())
		require.NoError(t, s.Close())
	})
}

// ask sends a request for a layer, without reading the answer.
func ask(t *testing.T, c net.Conn, img *imagetest.Image) {
	_, err := io.WriteString(c, "GET /v2/team/app/blobs/"+img.Layers[0].Digest.String()+" HTTP/1.1\r\nHost: test\r\n\r\n")
	require.NoError(t, err)
}

// A client that reads a byte a second is cut off; one that is slow but not that slow is not.
func TestSlowClients(t *testing.T) {
	img := imagetest.NewImage(t, "it", imagetest.Plain(1, 4_000_000))
	inMemory(t, img, func(t *testing.T, l *pipes, _ func() error) {
		c := l.dial()
		ask(t, c, img)
		begun := time.Now()
		n := 0
		for one := make([]byte, 1); ; n++ {
			time.Sleep(time.Second)
			if _, err := c.Read(one); err != nil {
				break
			}
		}
		assert.Less(t, n, 100)
		assert.Less(t, time.Since(begun), 2*time.Minute)

		c = l.dial()
		ask(t, c, img)
		response, err := http.ReadResponse(bufio.NewReaderSize(slowly{c}, 16), nil)
		require.NoError(t, err)
		begun = time.Now()
		body, err := io.ReadAll(response.Body)
		require.NoError(t, err)
		assert.Equal(t, img.Layers[0].Blob, body)
		assert.Greater(t, time.Since(begun), time.Minute, "longer than a piece may take")
		require.NoError(t, c.Close())
	})
}

// So is one to whom a layer is sent that is unpacked meanwhile.
func TestSlowClientOfUnpackedLayer(t *testing.T) {
	content := bytes.Repeat([]byte("more than is read ahead "), 1<<19)
	layer := imagetest.NewLayer(content, content, v1.MediaTypeImageLayer)
	path, img := compressedLayers(t, layer, imagetest.Gzipped(layer.Diff))
	inMemoryAt(t, path, func(t *testing.T, l *pipes, _ func() error) {
		c := l.dial()
		ask(t, c, img)
		response, err := http.ReadResponse(bufio.NewReaderSize(slowly{c}, 16), nil)
		require.NoError(t, err)
		begun := time.Now()
		body, err := io.ReadAll(response.Body)
		require.NoError(t, err)
		assert.True(t, bytes.Equal(layer.Diff, body))
		assert.Greater(t, time.Since(begun), 20*time.Second, "longer than a header may take")
		require.NoError(t, c.Close())
	})
}

// The server does not wait for a client that promises a body and does not send
// it.
func TestSlowBody(t *testing.T) {
	img := imagetest.NewImage(t, "it", imagetest.Plain(1, 100))
	inMemory(t, img, func(t *testing.T, l *pipes, _ func() error) {
		c := l.dial()
		begun := time.Now()
		_, err := io.WriteString(c, "PUT /v2/team/app/manifests/1 HTTP/1.1\r\nHost: test\r\nContent-Length: 1000\r\n\r\n{")
		require.NoError(t, err)
		_, err = io.Copy(io.Discard, c)
		require.NoError(t, err)
		assert.Less(t, time.Since(begun), time.Minute)
	})
}

// slowly waits before it reads.
type slowly struct{ io.Reader }

func (s slowly) Read(p []byte) (int, error) {
	time.Sleep(500 * time.Millisecond)
	return s.Reader.Read(p)
}

// A blob that is being sent when the server is stopped is sent to its end.
func TestGracefulStop(t *testing.T) {
	img := imagetest.NewImage(t, "it", imagetest.Plain(1, 1_000_000))
	inMemory(t, img, func(t *testing.T, l *pipes, stop func() error) {
		c := l.dial()
		ask(t, c, img)
		response, err := http.ReadResponse(bufio.NewReader(c), nil)
		require.NoError(t, err)
		var stopping sync.WaitGroup
		stopping.Go(func() { assert.NoError(t, stop()) })
		synctest.Wait()
		body, err := io.ReadAll(response.Body)
		require.NoError(t, err)
		assert.Equal(t, img.Layers[0].Blob, body)
		stopping.Wait()
	})
	inMemory(t, img, func(t *testing.T, l *pipes, stop func() error) {
		c := l.dial()
		ask(t, c, img)
		synctest.Wait()
		begun := time.Now()
		require.NoError(t, stop(), "although a client does not read")
		assert.Equal(t, 20*time.Second, time.Since(begun))
		require.NoError(t, c.Close())
	})
}

// Only users that are allowed to get anything, and every request is logged.
func TestAuthorization(t *testing.T) {
	var mu sync.Mutex
	var accesses []serving.Access
	img := imagetest.NewImage(t, "it")
	path := newLayout(t).add(img, "team/app:1").write()
	s := serveWith(t, serving.Options{
		Authorize: func(_ context.Context, l serving.Login) error {
			if l.User == "anna" && l.Password == "secret" && l.Remote != "" {
				return nil
			}
			return serving.ErrDenied
		},
		Access: func(a serving.Access) {
			mu.Lock()
			defer mu.Unlock()
			accesses = append(accesses, a)
		},
	}, path)
	for _, target := range []string{"/v2/", "/v2/team/app/manifests/1", "/v2/_catalog", "/"} {
		a := s.do("GET", target)
		assert.Equal(t, http.StatusUnauthorized, a.StatusCode, target)
		assert.Equal(t, "UNAUTHORIZED", a.code(t))
		assert.Contains(t, a.Header.Get("WWW-Authenticate"), "Basic realm=")
	}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.url+"/v2/team/app/manifests/1?ns=", nil)
	require.NoError(t, err)
	request.SetBasicAuth("anna", "secret")
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	assert.Equal(t, http.StatusOK, response.StatusCode)

	blob, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.url+"/v2/team/app/blobs/"+img.ConfigDigest().String(), nil)
	require.NoError(t, err)
	blob.SetBasicAuth("anna", "secret")
	response, err = http.DefaultClient.Do(blob)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	assert.Contains(t, response.Header.Get("Cache-Control"), "private")
	assert.NotContains(t, response.Header.Get("Cache-Control"), "public")

	require.NoError(t, s.Close())
	assert.Equal(t, http.StatusUnauthorized, s.do("GET", "/v2/").StatusCode)
	mu.Lock()
	defer mu.Unlock()
	require.Len(t, accesses, 7)
	a := accesses[4]
	assert.Equal(t, "anna", a.User)
	assert.Equal(t, "/v2/team/app/manifests/1?ns=", a.Target)
	assert.Equal(t, http.StatusOK, a.Status)
	assert.Equal(t, int64(len(body)), a.Bytes)
}

// A client that does not speak TLS cannot fill the log. A panic of the handler
// is in it.
func TestFailedHandshakesAreNotLogged(t *testing.T) {
	certFile, keyFile := writeCertificate(t)
	out := &logged{}
	defer log.SetOutput(log.Writer())
	log.SetOutput(out)
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		l := newPipes()
		panics := http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("it is broken") })
		var done sync.WaitGroup
		done.Go(func() { assert.NoError(t, serving.Serve(ctx, l, panics, certFile, keyFile, time.Minute)) })
		c := l.dial()
		_, err := io.WriteString(c, "\x00\x00\x00\x00\x00 is no TLS")
		require.NoError(t, err)
		_, err = io.Copy(io.Discard, c)
		require.NoError(t, err, "until it is closed")
		secure := tls.Client(l.dial(), &tls.Config{InsecureSkipVerify: true})
		_, err = io.WriteString(secure, "GET / HTTP/1.1\r\nHost: test\r\n\r\n")
		require.NoError(t, err)
		_, err = io.Copy(io.Discard, secure)
		require.NoError(t, err)
		cancel()
		done.Wait()
	})
	assert.NotContains(t, out.String(), "handshake")
	assert.Contains(t, out.String(), "it is broken")
}
