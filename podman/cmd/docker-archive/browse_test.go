package main

import (
	"context"
	"io"
	"net/http"
	"net/http/cookiejar"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// printed is a standard output that tells its first line.
type printed struct {
	once sync.Once
	line chan string
}

func (p *printed) Write(b []byte) (int, error) {
	p.once.Do(func() { p.line <- strings.TrimSpace(string(b)) })
	return len(b), nil
}

// browse lets in only clients that have the address it prints.
func TestBrowse(t *testing.T) {
	stdout := &printed{line: make(chan string, 1)}
	ctx, cancel := context.WithCancel(t.Context())
	var done sync.WaitGroup
	done.Go(func() {
		root := newRootCommand()
		root.SetOut(stdout)
		root.SetErr(io.Discard)
		root.SetArgs([]string{"browse", "../../../testdata/archives/docker29.tar"})
		assert.NoError(t, root.ExecuteContext(ctx))
	})
	defer done.Wait()
	defer cancel()
	address := <-stdout.line
	require.Regexp(t, `^http://127\.0\.0\.1:\d+/\?token=\w{20,}$`, address)
	base, _, _ := strings.Cut(address, "?")
	_, status := get(t, base)
	assert.Equal(t, http.StatusForbidden, status)
	_, status = get(t, base+"v2/tiny/one/manifests/v1")
	assert.Equal(t, http.StatusForbidden, status)

	jar, err := cookiejar.New(nil)
	require.NoError(t, err)
	client := &http.Client{Jar: jar}
	ask := func(url, host string) (string, int) {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
		require.NoError(t, err)
		if host != "" {
			r.Host = host
		}
		resp, err := client.Do(r)
		require.NoError(t, err)
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		return string(body), resp.StatusCode
	}
	list, status := ask(address, "")
	require.Equal(t, http.StatusOK, status)
	assert.Contains(t, list, "tiny/one:v1")
	page := regexp.MustCompile(`href="/(image/[^"]*)"`).FindStringSubmatch(list)[1]
	body, status := ask(base+page, "")
	assert.Equal(t, http.StatusOK, status)
	assert.Contains(t, body, "docker load -i ../../../testdata/archives/docker29.tar")
	_, status = ask(base+page+"/files", "")
	assert.Equal(t, http.StatusOK, status)
	_, status = ask(base+page, "rebound.example.com")
	assert.Equal(t, http.StatusMisdirectedRequest, status)
	client.CloseIdleConnections()
}

func TestBrowseFails(t *testing.T) {
	_, errOut, status := command(t, "browse")
	assert.Equal(t, exitUsage, status)
	assert.Contains(t, errOut, "browse takes archives or directories")
	_, errOut, status = command(t, "browse", "missing.tar")
	assert.Equal(t, exitFailure, status)
	assert.Contains(t, errOut, "missing.tar")
}

// The page of serve asks for a password as the registry does, and can be left out.
func TestServePage(t *testing.T) {
	for name, args := range map[string][]string{"page": nil, "none": {"--no-web"}} {
		t.Run(name, func(t *testing.T) {
			stderr := &started{address: make(chan string, 1)}
			ctx, cancel := context.WithCancel(t.Context())
			var done sync.WaitGroup
			done.Go(func() {
				root := newRootCommand()
				root.SetOut(io.Discard)
				root.SetErr(stderr)
				root.SetArgs(append([]string{"serve", "--listen", "127.0.0.1:0", "../../../testdata/archives/docker29.tar"}, args...))
				assert.NoError(t, root.ExecuteContext(ctx))
			})
			defer done.Wait()
			defer cancel()
			address := <-stderr.address
			body, status := get(t, address+"/")
			if args == nil {
				assert.Equal(t, http.StatusOK, status)
				assert.Contains(t, body, "tiny/one:v1")
			} else {
				assert.Equal(t, http.StatusNotFound, status)
				assert.Contains(t, body, "there is nothing here but /v2/")
			}
			_, status = get(t, address+"/v2/tiny/one/manifests/v1")
			assert.Equal(t, http.StatusOK, status)
			http.DefaultClient.CloseIdleConnections()
		})
	}
}
