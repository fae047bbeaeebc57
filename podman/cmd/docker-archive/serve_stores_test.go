package main

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/internal/storetest"
)

// layerOf finds the first layer in a manifest.
var layerOf = regexp.MustCompile(`"layers":\s*\[\s*\{[^}]*"digest":\s*"([^"]+)"`)

// serve serves a bucket with a cache, and metrics and health show both.
func TestServeBucket(t *testing.T) {
	store := storetest.NewS3(t)
	store.Put("prod/images.tar", archiveBytes(t))
	stderr := &started{address: make(chan string, 1)}
	ctx, cancel := context.WithCancel(t.Context())
	var done sync.WaitGroup
	done.Go(func() {
		root := newRootCommand()
		root.SetOut(io.Discard)
		root.SetErr(stderr)
		root.SetArgs([]string{"serve", "--quiet", "--listen", "127.0.0.1:0", "--metrics", "127.0.0.1:0", "--cache", filepath.Join(t.TempDir(), "cache"), "--cache-size", "1G", "s3://images/prod"})
		assert.NoError(t, root.ExecuteContext(ctx))
	})
	address := <-stderr.address
	manifest, status := get(t, address+"/v2/tiny/one/manifests/v1")
	require.Equal(t, http.StatusOK, status)
	layer := layerOf.FindStringSubmatch(manifest)
	require.NotNil(t, layer, manifest)
	for range 2 {
		blob, status := get(t, address+"/v2/tiny/one/blobs/"+layer[1])
		assert.Equal(t, http.StatusOK, status)
		assert.Equal(t, layer[1], digest.FromString(blob).String())
	}
	at := regexp.MustCompile(`metrics at (\S+)/metrics\n`).FindStringSubmatch(stderr.String())
	require.NotNil(t, at)
	text, status := get(t, at[1]+"/metrics")
	assert.Equal(t, http.StatusOK, status)
	for _, want := range []string{
		"docker_archive_cache_hits_total 1", "docker_archive_cache_misses_total 1", "docker_archive_cache_evictions_total 0",
		"docker_archive_cache_blobs 1", "docker_archive_cache_limit_bytes 1000000000", "docker_archive_store_errors_total 0",
		"docker_archive_store_retries_total 0", "docker_archive_store_unreadable 0",
	} {
		assert.Contains(t, "\n"+text, "\n"+want+"\n")
	}
	assert.Regexp(t, `(?m)^docker_archive_store_requests_total [1-9]`, text)
	assert.Regexp(t, `(?m)^docker_archive_store_bytes_total [1-9]`, text)
	for path, want := range map[string]string{"/healthz": "alive\n", "/readyz": "in 1 archives\n"} {
		text, status := get(t, at[1]+path)
		assert.Equal(t, http.StatusOK, status)
		assert.True(t, strings.HasSuffix(text, want), text)
	}
	cancel()
	done.Wait()
}

// A server is not ready before it has found its archives, nor after it is told to end.
func TestReady(t *testing.T) {
	h := &health{}
	status := func() int {
		w := httptest.NewRecorder()
		h.serveReady(w, nil)
		return w.Code
	}
	assert.Equal(t, http.StatusServiceUnavailable, status())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	h.ready(ctx, nil)
	assert.Equal(t, http.StatusServiceUnavailable, status())
}

func TestServeCacheFlags(t *testing.T) {
	for _, args := range [][]string{
		{"--cache", "x", "images.tar"}, {"--cache", "x", "--cache-size", "much", "s3://images/prod"}, {"--cache", "x", "--cache-size", "0", "s3://images/prod"},
	} {
		_, _, status := command(t, append([]string{"serve"}, args...)...)
		assert.Equal(t, 2, status, args)
	}
}
