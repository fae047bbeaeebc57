package copying_test

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/copying"
)

// answering is a client whose server, at the other end of a pipe, writes with answer what
// it has to say to a request.
func answering(t *testing.T, answer func(w io.Writer)) *http.Client {
	transport := &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) {
		client, server := net.Pipe()
		go func() {
			defer server.Close()
			request, err := http.ReadRequest(bufio.NewReader(server))
			if assert.NoError(t, err) {
				assert.Equal(t, "/blob", request.URL.Path)
				answer(server)
				_, _ = io.Copy(io.Discard, server) // Until the client closes.
			}
		}()
		return client, nil
	}}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// A connection that brings nothing for a minute is broken, which may pass, before the
// answer as in it. Ten seconds before that the host is named.
func TestStalled(t *testing.T) {
	for name, c := range map[string]struct {
		answer func(w io.Writer)
		after  time.Duration
		data   string
	}{
		"no answer": {func(io.Writer) {}, time.Minute, ""},
		"in the body": {func(w io.Writer) {
			_, _ = io.WriteString(w, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n")
			for range 3 {
				time.Sleep(40 * time.Second) // Slow, and alive.
				_, _ = io.WriteString(w, "data")
			}
		}, 3 * time.Minute, "datadatadata"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client, start := answering(t, c.answer), time.Now()
				var told []time.Duration
				waiting := func(host string) {
					assert.Equal(t, "cdn.example:80", host)
					told = append(told, time.Since(start))
				}
				read := func() (data []byte, err error) {
					body, err := copying.Watched(t.Context(), "registry.example", waiting, func(ctx context.Context) (io.ReadCloser, error) {
						request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://cdn.example/blob", nil)
						require.NoError(t, err)
						response, err := client.Do(request)
						if err != nil {
							return nil, err
						}
						return response.Body, nil
					})
					if err != nil {
						return nil, err
					}
					defer func() { require.NoError(t, body.Close()) }()
					return io.ReadAll(body)
				}
				attempts := 0
				err := copying.Retry(t.Context(), 1, func(error) { attempts++ }, func() error {
					data, err := read()
					synctest.Wait()
					assert.Equal(t, c.data, string(data))
					if attempts == 0 {
						assert.Equal(t, c.after, time.Since(start))
						assert.Equal(t, []time.Duration{c.after - 10*time.Second}, told)
					}
					return err
				})
				require.EqualError(t, err, "cdn.example:80 has sent nothing for 1m0s")
				assert.Equal(t, 1, attempts)
			})
		})
	}
}

// Time counts only while something is waited for.
func TestNobodyReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		waiting := func(string) { t.Error("nothing is waited for") }
		body, err := copying.Watched(t.Context(), "registry.example", waiting, func(ctx context.Context) (io.ReadCloser, error) {
			time.Sleep(time.Hour) // As a registry may wish.
			return io.NopCloser(strings.NewReader("data")), ctx.Err()
		})
		require.NoError(t, err)
		time.Sleep(time.Hour)
		data, err := io.ReadAll(body)
		require.NoError(t, err)
		assert.Equal(t, "data", string(data))
		require.NoError(t, body.Close())
	})
}
