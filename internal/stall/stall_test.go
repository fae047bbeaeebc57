package stall_test

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/internal/retry"
	"github.com/dockerarchive/dockerarchive/internal/stall"
)

// answering is a client whose server, at the other end of a pipe, answers a request by
// calling answer.
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
// answer as in it. From the first byte of an answer on, its header and the text of an error
// have two minutes. The host is named 50 seconds after anything came.
func TestStalled(t *testing.T) {
	says := func(text string) func(io.Writer) {
		return func(w io.Writer) { _, _ = io.WriteString(w, text) }
	}
	for name, c := range map[string]struct {
		answer func(w io.Writer)
		after  time.Duration
		told   time.Duration
		data   string
		err    string
	}{
		"no answer":     {func(io.Writer) {}, time.Minute, 50 * time.Second, "", "1m0s"},
		"one byte":      {says("H"), 2 * time.Minute, 50 * time.Second, "", "2m0s"},
		"half a header": {says("HTTP/1.1 200 OK\r\nContent-Le"), 2 * time.Minute, 50 * time.Second, "", "2m0s"},
		"a header that goes on and on": {func(w io.Writer) {
			for _, err := io.WriteString(w, "HTTP/1.1 200 OK\r\n"); err == nil; _, err = io.WriteString(w, "X: y\r\n") {
				time.Sleep(30 * time.Second)
			}
		}, 2 * time.Minute, 50 * time.Second, "", "2m0s"},
		"body of a 404": {says("HTTP/1.1 404 Not Found\r\nContent-Length: 100\r\n\r\n"), 2 * time.Minute, 50 * time.Second, "", "2m0s"},
		"in the body": {func(w io.Writer) {
			_, _ = io.WriteString(w, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n")
			for range 3 {
				time.Sleep(40 * time.Second) // Slow, and alive.
				_, _ = io.WriteString(w, "data")
			}
		}, 3 * time.Minute, 2*time.Minute + 50*time.Second, "datadatadata", "1m0s"},
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
					body, err := stall.Open(t.Context(), "registry.example", waiting, func(ctx context.Context) (io.ReadCloser, error) {
						request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://cdn.example/blob", nil)
						require.NoError(t, err)
						response, err := client.Do(request)
						if err != nil {
							return nil, err
						}
						if response.StatusCode != http.StatusOK { // Clients of registries read why.
							defer response.Body.Close()
							_, err := io.ReadAll(response.Body)
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
				err := retry.Policy{Times: 1}.Do(t.Context(), func(error) { attempts++ }, func() error {
					data, err := read()
					synctest.Wait()
					assert.Equal(t, c.data, string(data))
					if attempts == 0 {
						assert.Equal(t, c.after, time.Since(start))
						assert.Equal(t, []time.Duration{c.told}, told)
					}
					return err
				})
				require.EqualError(t, err, "cdn.example:80 has sent nothing for "+c.err)
				assert.Equal(t, 1, attempts)
				time.Sleep(time.Minute) // The server finds out.
			})
		})
	}
}

// A registry's wish to wait is granted, and time does not count while nobody reads.
func TestNobodyReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		told := 0
		body, err := stall.Open(t.Context(), "registry.example", func(string) { told++ }, func(ctx context.Context) (io.ReadCloser, error) {
			time.Sleep(time.Minute) // As a registry may wish.
			return io.NopCloser(strings.NewReader("data")), ctx.Err()
		})
		require.NoError(t, err)
		time.Sleep(time.Hour)
		data, err := io.ReadAll(body)
		require.NoError(t, err)
		assert.Equal(t, "data", string(data))
		require.NoError(t, body.Close())
		assert.Equal(t, 1, told)
	})
}

// Opening may need a token that somebody else asks for.
func TestNothingIsAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		_, err := stall.Open(t.Context(), "registry.example", func(string) {}, func(ctx context.Context) (io.ReadCloser, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		})
		require.EqualError(t, err, "registry.example has sent nothing for 2m0s")
		assert.Equal(t, 2*time.Minute, time.Since(start))
	})
}

// A caller that is told of the wait, and does not return, keeps nobody: neither the end of a silent request, nor one
// that goes on, nor Close.
func TestWaitingBlocks(t *testing.T) {
	open := func(t *testing.T, waiting func(string), after time.Duration) io.ReadCloser {
		r, err := stall.Open(t.Context(), "registry.example", waiting, func(ctx context.Context) (io.ReadCloser, error) {
			return contextBody{ctx, after}, nil
		})
		require.NoError(t, err)
		return r
	}
	for name, slow := range map[string]time.Duration{"silent": time.Hour, "slow": 55 * time.Second} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, blocks := context.WithCancel(t.Context())
				r := open(t, func(string) { <-ctx.Done() }, slow)
				start := time.Now()
				_, err := r.Read(make([]byte, 1))
				if slow == time.Hour {
					require.ErrorContains(t, err, "registry.example has sent nothing for 1m0s")
					assert.LessOrEqual(t, time.Since(start), 2*time.Minute)
				} else {
					require.NoError(t, err)
					assert.Equal(t, slow, time.Since(start))
				}
				require.NoError(t, r.Close())
				blocks()
			})
		})
	}
}

// contextBody brings a byte after a time, unless its context ends.
type contextBody struct {
	ctx   context.Context
	after time.Duration
}

func (b contextBody) Read(p []byte) (int, error) {
	select {
	case <-time.After(b.after):
		return copy(p, "x"), nil
	case <-b.ctx.Done():
		return 0, b.ctx.Err()
	}
}

func (contextBody) Close() error { return nil }

// A Watch does not wait for requests of another one inside it, nor for an answer that came before the hook of its
// request did. Hooks of the caller see all.
func TestNested(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := answering(t, func(w io.Writer) { _, _ = io.WriteString(w, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndata") })
		nothing := func(host string) { t.Errorf("%s is waited for", host) }
		answered := 0
		ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{GotFirstResponseByte: func() { answered++ }})
		err := stall.Ask(ctx, nothing, func(ctx context.Context, w *stall.Watch) error {
			body, err := stall.Open(ctx, "registry.example", nothing, func(ctx context.Context) (io.ReadCloser, error) {
				request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://cdn.example/blob", nil)
				require.NoError(t, err)
				response, err := client.Do(request)
				if err != nil {
					return nil, err
				}
				return response.Body, nil
			})
			require.NoError(t, err)
			time.Sleep(time.Hour) // A disk, say, is slow.
			data, err := io.ReadAll(body)
			require.NoError(t, err)
			assert.Equal(t, "data", string(data))
			require.NoError(t, body.Close())
			late := httptrace.ContextClientTrace(ctx)
			late.GotFirstResponseByte()
			late.WroteRequest(httptrace.WroteRequestInfo{})
			w.Rest()
			time.Sleep(time.Hour)
			return ctx.Err()
		})
		require.NoError(t, err)
		assert.Equal(t, 2, answered)
	})
}

// An answer may take long if the caller says so, or if something was sent for it.
func TestPatience(t *testing.T) {
	for name, c := range map[string]struct {
		ask  func(w *stall.Watch) io.Reader
		want time.Duration
	}{
		"a question":    {func(*stall.Watch) io.Reader { return nil }, time.Minute},
		"a manifest":    {func(w *stall.Watch) io.Reader { w.Patient(); return nil }, 5 * time.Minute},
		"a blob":        {func(w *stall.Watch) io.Reader { return w.Sent(strings.NewReader("data")) }, 5 * time.Minute},
		"a slow source": {func(w *stall.Watch) io.Reader { return w.Sent(&slow{left: 3}) }, 30*time.Minute + 5*time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client, start := answering(t, func(io.Writer) {}), time.Now()
				err := stall.Ask(t.Context(), func(string) {}, func(ctx context.Context, w *stall.Watch) error { return put(ctx, client, c.ask(w)) })
				require.ErrorContains(t, err, "cdn.example:80 has sent nothing for ")
				assert.Equal(t, c.want, time.Since(start))
			})
		})
	}
}

// slow takes ten minutes for a byte.
type slow struct{ left int }

func (s *slow) Read(p []byte) (int, error) {
	if s.left == 0 {
		return 0, io.EOF
	}
	s.left--
	time.Sleep(10 * time.Minute)
	return copy(p, "x"), nil
}

func put(ctx context.Context, client *http.Client, body io.Reader) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodPut, "http://cdn.example/blob", body)
	if err != nil {
		return err
	}
	response, err := client.Do(request)
	if err == nil {
		err = response.Body.Close()
	}
	return err
}

// A request that the other side no longer reads is broken, after a minute.
func TestNobodyTakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		transport := &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) {
			client, server := net.Pipe()
			go func() { _, _ = server.Read(make([]byte, 1)) }()
			return client, nil
		}}
		defer transport.CloseIdleConnections()
		start := time.Now()
		err := stall.Ask(t.Context(), func(string) {}, func(ctx context.Context, w *stall.Watch) error {
			return put(ctx, &http.Client{Transport: transport}, w.Sent(strings.NewReader(strings.Repeat("data", 1<<20))))
		})
		require.EqualError(t, err, "cdn.example:80 has sent nothing for 1m0s")
		assert.Equal(t, time.Minute, time.Since(start))
	})
}

// A request that moves is not broken, however long it takes; nor is one that has ended.
func TestMoves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nothing := func(string) { t.Error("nothing is waited for") }
		err := stall.Ask(t.Context(), nothing, func(ctx context.Context, w *stall.Watch) error {
			for range 100 {
				w.Moved()
				time.Sleep(40 * time.Second)
			}
			return ctx.Err()
		})
		require.NoError(t, err)
		time.Sleep(time.Hour)
	})
}

// If several bodies are read side by side, one that brings nothing ends all.
func TestReceived(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		silent, _ := io.Pipe()
		err := stall.Ask(t.Context(), func(string) {}, func(ctx context.Context, w *stall.Watch) error {
			go func() { _, _ = w.Received(ctx, silent).Read(make([]byte, 1)) }()
			_, err := io.Copy(io.Discard, w.Received(ctx, &slow{left: 0}))
			require.NoError(t, err)
			<-ctx.Done()
			return ctx.Err()
		})
		require.ErrorContains(t, err, " has sent nothing for 1m0s")
		require.NoError(t, silent.Close())
	})
}

// A caller that has its answer may work on that for any time, but its other requests are
// watched on.
func TestRest(t *testing.T) {
	for name, answers := range map[string]bool{"nothing more is asked": true, "one is not answered": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client := answering(t, func(w io.Writer) {
					if answers {
						_, _ = io.WriteString(w, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
					}
				})
				told := 0
				err := stall.Ask(t.Context(), func(string) { told++ }, func(ctx context.Context, w *stall.Watch) error {
					w.Patient()
					asked := make(chan error, 1)
					go func() {
						request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://registry.example/blob", nil)
						require.NoError(t, err)
						response, err := client.Do(request)
						if err == nil {
							err = response.Body.Close()
						}
						asked <- err
					}()
					synctest.Wait()
					w.Rest()
					time.Sleep(time.Hour)
					return <-asked
				})
				if answers {
					require.NoError(t, err)
					assert.Zero(t, told)
					return
				}
				require.EqualError(t, err, "registry.example:80 has sent nothing for 5m0s")
				assert.Equal(t, 1, told)
			})
		})
	}
}
