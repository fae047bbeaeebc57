package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/VictoriaMetrics/metrics"
	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/podman/internal/imagetest"
)

// A started is a standard error that tells when the server has an address.
type started struct {
	buffer
	once    sync.Once
	address chan string
}

// Metrics are at an address of their own, and nowhere else.
func TestServeMetrics(t *testing.T) {
	stderr := &started{address: make(chan string, 1)}
	ctx, cancel := context.WithCancel(t.Context())
	var done sync.WaitGroup
	done.Go(func() {
		root := newRootCommand()
		root.SetOut(io.Discard)
		root.SetErr(stderr)
		root.SetArgs([]string{"serve", "--quiet", "--listen", "127.0.0.1:0", "--metrics", "127.0.0.1:0", "../../../testdata/archives/docker29.tar"})
		assert.NoError(t, root.ExecuteContext(ctx))
	})
	address := <-stderr.address
	manifest, status := get(t, address+"/v2/tiny/one/manifests/v1")
	assert.Equal(t, http.StatusOK, status)
	notFound, status := get(t, address+"/metrics")
	assert.Equal(t, http.StatusNotFound, status)
	at := regexp.MustCompile(`metrics at (\S+)\n`).FindStringSubmatch(stderr.String())
	require.NotNil(t, at)
	text, status := get(t, at[1])
	assert.Equal(t, http.StatusOK, status)
	for _, want := range []string{
		`docker_archive_requests_total{code="200"} 1`, `docker_archive_requests_total{code="404"} 1`,
		fmt.Sprintf("docker_archive_sent_bytes_total %d", len(manifest)+len(notFound)),
		"docker_archive_images 1", "docker_archive_archives 1", "docker_archive_errors_total 0", "process_resident_memory_bytes ",
	} {
		assert.Contains(t, "\n"+text, "\n"+want)
	}
	_, status = get(t, strings.TrimSuffix(at[1], "/metrics")+"/v2/")
	assert.Equal(t, http.StatusNotFound, status)
	cancel()
	done.Wait()
}

func get(t *testing.T, url string) (body string, status int) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	require.NoError(t, err)
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	b, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	return string(b), response.StatusCode
}

func TestCountedErrors(t *testing.T) {
	m := serveMetrics{metrics.NewSet()}
	var out bytes.Buffer
	log := slog.New(m.countErrors(slog.NewTextHandler(&out, nil)))
	log.Warn("archive cannot be read")
	log.Error("a blob that was sent is damaged")
	assert.Contains(t, out.String(), "damaged")
	out.Reset()
	m.WritePrometheus(&out)
	assert.Contains(t, out.String(), "docker_archive_errors_total 1\n")
}

var servingAt = regexp.MustCompile(`serving at (\S+)\n`)

func (s *started) Write(p []byte) (int, error) {
	n, err := s.buffer.Write(p)
	if m := servingAt.FindStringSubmatch(s.String()); m != nil {
		s.once.Do(func() { s.address <- m[1] })
	}
	return n, err
}

func TestServe(t *testing.T) {
	users := filepath.Join(t.TempDir(), "users")
	// The password is "secret", at the least cost.
	require.NoError(t, os.WriteFile(users, []byte("anna:$2a$04$6NFZ7IZFBBYpQtW.YtfIB./I.2YEjjOPPFf8egzDgMkE8hvkWnqOK\n"), 0o600))
	stderr := &started{address: make(chan string, 1)}
	var stdout buffer
	ctx, cancel := context.WithCancel(t.Context())
	var done sync.WaitGroup
	done.Go(func() {
		root := newRootCommand()
		root.SetOut(&stdout)
		root.SetErr(stderr)
		root.SetArgs([]string{"serve", "--listen", "127.0.0.1:0", "--htpasswd", users, "../../../testdata/archives/docker29.tar"})
		assert.NoError(t, root.ExecuteContext(ctx))
	})
	url := <-stderr.address + "/v2/tiny/one/manifests/v1"
	for _, c := range []struct {
		password string
		status   int
	}{{"wrong", http.StatusUnauthorized}, {"secret", http.StatusOK}} {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
		require.NoError(t, err)
		request.SetBasicAuth("anna", c.password)
		response, err := http.DefaultClient.Do(request)
		require.NoError(t, err)
		body, err := io.ReadAll(response.Body)
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
		assert.Equal(t, c.status, response.StatusCode)
		if c.status == http.StatusOK {
			assert.Equal(t, digest.FromBytes(body).String(), response.Header.Get("Docker-Content-Digest"))
		}
	}
	cancel()
	done.Wait()
	assert.Regexp(t, `(?m)^127\.0\.0\.1 - anna \[[^]]+\] "GET /v2/tiny/one/manifests/v1" 200 \d+ [0-9.]+s$`, stdout.String())
	assert.Contains(t, stderr.String(), "docker29.tar")
}

func TestServeFails(t *testing.T) {
	nobody := filepath.Join(t.TempDir(), "nobody")
	require.NoError(t, os.WriteFile(nobody, nil, 0o600))
	for want, args := range map[string][]string{
		"--tls-cert and --tls-key":            {"--tls-cert", "x", "a.tar"},
		"there is no user":                    {"--htpasswd", nobody, "a.tar"},
		"reading the users":                   {"--htpasswd", "missing", "a.tar"},
		"missing.tar":                         {"--listen", "127.0.0.1:0", "missing.tar"},
		"nonsense":                            {"--listen", "nonsense", "a.tar"},
		"no-port":                             {"--listen", "127.0.0.1:0", "--metrics", "no-port", "a.tar"},
		"serve takes archives or directories": {},
		"../../../testdata/oci/index.json":    {"--listen", "127.0.0.1:0", "../../../testdata/oci/index.json"},
	} {
		root := newRootCommand()
		var out bytes.Buffer
		root.SetOut(&out)
		root.SetErr(&out)
		root.SetArgs(append([]string{"serve"}, args...))
		require.ErrorContains(t, root.ExecuteContext(t.Context()), want)
	}
}

// Compressed archives are unpacked where --tmpdir says.
func TestServeTmpdir(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir()) // Set back in the end.
	packed := imagetest.WriteFile(t, imagetest.Gzipped(imagetest.ReadFile(t, "../../../testdata/archives/docker29.tar")))
	_, errOut, status := command(t, "serve", "--listen", "127.0.0.1:0", "--tmpdir", imagetest.NoDir(t), packed)
	assert.Equal(t, exitFailure, status)
	assert.Contains(t, errOut, "missing")
	assert.Contains(t, errOut, "Choose another directory with --tmpdir")
}
