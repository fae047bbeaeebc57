package serving_test

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/internal/imagetest"
	"github.com/dockerarchive/dockerarchive/serving"
)

// A layer goes from the file to the socket without passing through this process, for
// archives of any form.
func TestKernelSendsFiles(t *testing.T) {
	content := bytes.Repeat([]byte("not all the same"), 1<<17)
	for n := 0; n < len(content); n += 4096 {
		copy(content[n:], strconv.Itoa(n))
	}
	layer := imagetest.NewLayer(content, content, v1.MediaTypeImageLayer)
	img := imagetest.NewImage(t, "it", layer)
	archive := newLayout(t).add(img, "team/app:1").bytes()
	docker, _ := compressedLayers(t, layer, layer.Diff)
	dir := t.TempDir()
	for name, path := range map[string]string{
		"OCI layout":    newLayout(t).add(img, "team/app:1").write(),
		"docker layout": docker,
		"parts":         filepath.Join(dir, "parts.tar.000"),
		"compressed":    filepath.Join(dir, "images.tar.gz"),
	} {
		t.Run(name, func(t *testing.T) {
			switch name {
			case "parts":
				writeParts(t, filepath.Join(dir, "parts.tar"), archive)
			case "compressed": // The unpacked file has no name.
				if runtime.GOOS != "linux" {
					return
				}
				require.NoError(t, os.WriteFile(path, imagetest.Gzipped(archive), 0o600))
			}
			target := "/v2/team/app/blobs/" + layer.Digest.String()
			body, sent := watchSending(t, path, target, "")
			assert.True(t, bytes.Equal(content, body))
			assert.Greater(t, sent, int64(len(body)-4096), "all but what goes with the header")
			body, sent = watchSending(t, path, target, "bytes=500000-1900000")
			assert.True(t, bytes.Equal(content[500_000:1_900_001], body))
			assert.Greater(t, sent, int64(len(body)-4096))
		})
	}
}

// watchSending asks for a range of a blob, and returns it and how many bytes of it
// the kernel was asked to send from a file.
func watchSending(t *testing.T, path, target, byteRange string) (body []byte, sent int64) {
	s, err := serving.New(t.Context(), []string{path}, serving.Options{})
	require.NoError(t, err)
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	l := &watchedListener{Listener: tcp}
	ctx, cancel := context.WithCancel(t.Context())
	var done sync.WaitGroup
	done.Go(func() { assert.NoError(t, serving.Serve(ctx, l, s, "", "", time.Minute)) })
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+tcp.Addr().String()+target, nil)
	require.NoError(t, err)
	if byteRange != "" {
		request.Header.Set("Range", byteRange)
	}
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	body, err = io.ReadAll(response.Body)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	cancel()
	done.Wait()
	require.NoError(t, s.Close())
	return body, l.sent.Load()
}

// watchedListener counts what its connections are asked to send from files.
type watchedListener struct {
	net.Listener
	sent atomic.Int64
}

func (l *watchedListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	return &watchedConn{c, &l.sent}, err
}

type watchedConn struct {
	net.Conn
	sent *atomic.Int64
}

func (c *watchedConn) ReadFrom(r io.Reader) (int64, error) {
	limited, ok := r.(*io.LimitedReader)
	if ok {
		_, ok = limited.R.(syscall.Conn) // Package net looks for this.
	}
	n, err := io.Copy(struct{ io.Writer }{c.Conn}, r)
	if ok {
		c.sent.Add(n)
	}
	return n, err
}
