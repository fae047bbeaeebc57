//go:build interop && interopall

package interop

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// servedBucket is a bucket that serve serves, with two images of one layer of 8 MB.
type servedBucket struct {
	store  objectStore
	blobs  [2]string // the paths of the layers
	layers [2][]byte
	dir    string
}

func newServedBucket(t *testing.T) *servedBucket {
	t.Helper()
	b := &servedBucket{store: startVersitygw(t), dir: t.TempDir()}
	for n := range b.blobs {
		content, archive := filepath.Join(b.dir, "content"), filepath.Join(b.dir, fmt.Sprintf("%d.tar", n))
		data := make([]byte, 8<<20)
		_, _ = rand.Read(data) // Never fails.
		require.NoError(t, os.WriteFile(content, data, 0o600))
		dockerArchive(t).run(t, "make", "-q", "--compress", "none", "--add", content+":/data", "--set-platform", "linux/amd64", "-t", fmt.Sprintf("team/app:%d", n), "-o", archive)
		b.store.put(t, fmt.Sprintf("prod/%d.tar", n), archive)
		address := startServe(t, "--quiet", archive)
		var manifest imgspecv1.Manifest
		_, body := fetchServed(t, address, "/v2/team/app/manifests/"+fmt.Sprint(n))
		require.NoError(t, json.Unmarshal(body, &manifest))
		b.blobs[n] = "/v2/team/app/blobs/" + manifest.Layers[0].Digest.String()
		_, b.layers[n] = fetchServed(t, address, b.blobs[n])
	}
	return b
}

// serve serves the bucket through a proxy with a script.
func (b *servedBucket) serve(t *testing.T, s script, args ...string) (address string, d *daemon) {
	t.Helper()
	return startServeAs(t, b.store.faulty(t, s).command(t), append(append([]string{"--quiet"}, args...), b.store.path("prod"))...)
}

// fetchServed returns the status and the body of an answer, nil if the body breaks off.
func fetchServed(t *testing.T, address, path string) (int, []byte) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+address+path, nil)
	require.NoError(t, err)
	request.Header["Accept"] = []string{imgspecv1.MediaTypeImageManifest, imgspecv1.MediaTypeImageIndex}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, nil
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		return answer.StatusCode, nil
	}
	return answer.StatusCode, body
}

// TestServeAwayForAMinute serves while the store refuses, or does not answer, for a minute. What is cached is served. A
// client that wants more waits for it, and everything works afterwards.
func TestServeAwayForAMinute(t *testing.T) {
	t.Parallel()
	b := newServedBucket(t)
	for name, f := range map[string]fault{
		"throttled": {refuse: http.StatusServiceUnavailable},
		"away":      {upload: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var away atomic.Bool
			address, _ := b.serve(t, func(*http.Request) fault {
				if away.Load() {
					return f
				}
				return fault{}
			}, "--cache", t.TempDir())
			status, body := fetchServed(t, address, b.blobs[0])
			require.Equal(t, http.StatusOK, status)
			require.True(t, bytes.Equal(b.layers[0], body))
			away.Store(true)
			start := time.Now()
			back := time.AfterFunc(time.Minute, func() { away.Store(false) })
			defer back.Stop()
			waits := make(chan []byte, 1)
			go func() {
				_, body := fetchServed(t, address, b.blobs[1])
				waits <- body
			}()
			for time.Since(start) < 45*time.Second {
				asked := time.Now()
				status, body := fetchServed(t, address, b.blobs[0])
				assert.Equal(t, http.StatusOK, status)
				assert.True(t, bytes.Equal(b.layers[0], body))
				assert.Less(t, time.Since(asked), 10*time.Second)
				time.Sleep(time.Second) // Clients come all the time.
			}
			assert.True(t, bytes.Equal(b.layers[1], <-waits))
			t.Logf("a client waited for %v", time.Since(start).Round(time.Second))
		})
	}
}

// TestServeCrowd has 128 clients pull two blobs at once, some of which go away, from a store that breaks answers off.
func TestServeCrowd(t *testing.T) {
	t.Parallel()
	b := newServedBucket(t)
	for name, args := range map[string][]string{"passed on": nil, "cached": {"--cache", t.TempDir()}} {
		t.Run(name, func(t *testing.T) {
			address, _ := b.serve(t, every(9, reads, fault{broken: true, bytes: 1 << 20}), args...)
			var clients sync.WaitGroup
			for n := range 128 {
				clients.Go(func() {
					if n%4 == 3 {
						answer, err := http.Get("http://" + address + b.blobs[n%2]) //nolint:noctx // It is closed.
						if assert.NoError(t, err) {
							_, _ = io.CopyN(io.Discard, answer.Body, int64(n)<<10)
							_ = answer.Body.Close()
						}
						return
					}
					status, body := fetchServed(t, address, b.blobs[n%2])
					assert.Equal(t, http.StatusOK, status)
					assert.True(t, bytes.Equal(b.layers[n%2], body))
				})
			}
			clients.Wait()
		})
	}
}

// TestServeKilled kills serve while it fills its cache, 20 times. It starts again with the same cache, and never serves
// wrong bytes.
func TestServeKilled(t *testing.T) {
	t.Parallel()
	b := newServedBucket(t)
	cache := t.TempDir()
	for n := range 20 {
		address, d := b.serve(t, every(1, reads, fault{delay: 5 * time.Millisecond}), "--cache", cache)
		var clients sync.WaitGroup
		for m := range 4 {
			clients.Go(func() {
				if _, body := fetchServed(t, address, b.blobs[m%2]); body != nil {
					assert.True(t, bytes.Equal(b.layers[m%2], body))
				}
			})
		}
		time.Sleep(time.Duration(n) * 4 * time.Millisecond) // A kill comes at any time.
		d.die(t)
		clients.Wait()
	}
	address, _ := b.serve(t, func(*http.Request) fault { return fault{} }, "--cache", cache)
	for m := range b.blobs {
		_, body := fetchServed(t, address, b.blobs[m])
		assert.True(t, bytes.Equal(b.layers[m], body))
	}
	partial, err := filepath.Glob(filepath.Join(cache, "*.partial"))
	require.NoError(t, err)
	assert.Empty(t, partial)
}

// TestServeDiskFails serves with a cache whose disk is full, or whose directory is deleted.
func TestServeDiskFails(t *testing.T) {
	t.Parallel()
	b := newServedBucket(t)
	whole := func(t *testing.T, address string) {
		t.Helper()
		for range 2 {
			for n := range b.blobs {
				status, body := fetchServed(t, address, b.blobs[n])
				assert.Equal(t, http.StatusOK, status)
				assert.True(t, bytes.Equal(b.layers[n], body))
			}
		}
	}
	t.Run("full", func(t *testing.T) {
		mount := debian(t, "mount")
		full := t.TempDir()
		mount.run(t, "-t", "tmpfs", "-o", "size=4m", "tmpfs", full)
		address, d := b.serve(t, func(*http.Request) fault { return fault{} }, "--cache", full)
		whole(t, address)
		d.die(t)
		debian(t, "umount").run(t, full)
	})
	t.Run("deleted", func(t *testing.T) {
		cache := filepath.Join(t.TempDir(), "cache")
		address, _ := b.serve(t, func(*http.Request) fault { return fault{} }, "--cache", cache)
		_, _ = fetchServed(t, address, b.blobs[0])
		require.NoError(t, os.RemoveAll(cache))
		whole(t, address)
	})
}
