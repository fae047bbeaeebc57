package serving_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/dockerarchive/dockerarchive/archive"
	"github.com/dockerarchive/dockerarchive/internal/imagetest"
	"github.com/dockerarchive/dockerarchive/internal/ranged"
	"github.com/dockerarchive/dockerarchive/internal/retry"
	"github.com/dockerarchive/dockerarchive/internal/storetest"
	"github.com/dockerarchive/dockerarchive/serving"
	_ "github.com/dockerarchive/dockerarchive/store/https"
	_ "github.com/dockerarchive/dockerarchive/store/s3"
)

// randomLayer returns an image with a layer of size bytes, which differ with the seed.
func randomLayer(t testing.TB, seed, size int) *imagetest.Image {
	data := bytes.Repeat(fmt.Appendf(nil, "layer %d of a test\n", seed), size/16+1)[:size]
	return imagetest.NewImage(t, fmt.Sprint(seed), imagetest.NewLayer(data, data, v1.MediaTypeImageLayer))
}

// impatient limits the repetitions of requests to stores to one.
func impatient(o serving.Options) serving.Options {
	o.Stores = archive.Access{Retries: 1}
	return o
}

// cached returns options with a cache.
func cached(t *testing.T) serving.Options {
	return impatient(serving.Options{CacheDir: filepath.Join(t.TempDir(), "cache"), CacheSize: 64 << 20})
}

func blobOf(m *imagetest.Image) string { return "team/app/blobs/" + m.Layers[0].Digest.String() }

// Archives in a bucket appear, change and disappear, beside those of a directory.
func TestBucket(t *testing.T) {
	store := storetest.NewS3(t)
	one, two, three := randomLayer(t, 1, 10_000), randomLayer(t, 2, 10_000), randomLayer(t, 3, 10_000)
	dir := t.TempDir()
	replace(t, filepath.Join(dir, "here.tar"), newLayout(t).add(three, "team/here:1").bytes())
	store.Put("other/x.tar", newLayout(t).add(one, "team/other:1").bytes())
	store.Put("images/notes.txt", []byte("nothing"))
	s := serveWith(t, impatient(serving.Options{}), dir, "s3://images/images")
	assert.Equal(t, three.Raw, s.get("team/here/manifests/1"))
	assert.Equal(t, http.StatusNotFound, s.status("team/other/manifests/1"))

	store.Put("images/deep/a.tar", newLayout(t).add(one, "team/app:1").bytes())
	for n := range 5 { // These take more than one page of the list.
		store.Put(fmt.Sprintf("images/b%d.tar", n), newLayout(t).add(two, fmt.Sprintf("team/b%d:1", n)).bytes())
	}
	s.Refresh(t.Context())
	assert.Equal(t, one.Raw, s.get("team/app/manifests/1"))
	assert.Equal(t, one.Layers[0].Blob, s.get(blobOf(one)))
	assert.Equal(t, two.Raw, s.get("team/b4/manifests/1"))
	ranged := s.do(http.MethodGet, "/v2/"+blobOf(one), "Range", "bytes=100-199")
	assert.Equal(t, http.StatusPartialContent, ranged.StatusCode)
	assert.Equal(t, one.Layers[0].Blob[100:200], ranged.body)

	store.Put("images/deep/a.tar", newLayout(t).add(two, "team/app:1").bytes())
	// The old object is gone: a client starts over.
	assert.Equal(t, http.StatusNotFound, s.status(blobOf(one)))
	s.Refresh(t.Context())
	assert.Equal(t, two.Raw, s.get("team/app/manifests/1"))
	store.Put("images/bad.tar", []byte("no archive"))
	store.Delete("images/deep/a.tar")
	s.Refresh(t.Context())
	assert.Equal(t, http.StatusNotFound, s.status("team/app/manifests/1"))
	assert.Contains(t, s.log.String(), "s3://images/images/bad.tar")
	assert.Equal(t, three.Raw, s.get("team/here/manifests/1"))
}

// serve checks the store for a digest that only another replica knows yet.
func TestOtherReplicaIsFaster(t *testing.T) {
	store, one := storetest.NewS3(t), randomLayer(t, 1, 10_000)
	path := "team/app/manifests/" + one.Digest().String()
	store.Put("images/old.tar", newLayout(t).add(randomLayer(t, 2, 10), "team/old:1").bytes())
	s := serveWith(t, impatient(serving.Options{}), "s3://images/images/")
	store.Put("images/new.tar", newLayout(t).add(one, "team/app:1").bytes())
	assert.EventuallyWithT(t, func(c *assert.CollectT) { assert.Equal(c, http.StatusOK, s.status(path)) }, 60e9, 50e6)
}

// serve serves a named object and a file on a server. A missing one is an error.
func TestNamedAddresses(t *testing.T) {
	store, one, two := storetest.NewS3(t), randomLayer(t, 1, 10_000), randomLayer(t, 2, 10_000)
	web := storetest.NewHTTPS(t)
	named := store.Put("any-name", newLayout(t).add(one, "team/app:1").bytes())
	address := web.Put("x.tar", newLayout(t).add(two, "team/web:1").bytes())
	o := impatient(serving.Options{})
	o.Stores.CertDir = web.CertDir
	s := serveWith(t, o, named, address+"?secret=1")
	assert.Equal(t, one.Layers[0].Blob, s.get(blobOf(one)))
	assert.Equal(t, two.Layers[0].Blob, s.get(strings.Replace(blobOf(two), "app", "web", 1)))
	web.Put("x.tar", newLayout(t).add(one, "team/web:1").bytes())
	s.Refresh(t.Context())
	assert.Equal(t, one.Raw, s.get("team/web/manifests/1"))
	assert.NotContains(t, s.log.String(), "secret")
	for _, missing := range []string{"s3://images/none.tar", web.URL + "/none.tar"} {
		_, err := serving.New(t.Context(), []string{missing}, o)
		require.ErrorContains(t, err, missing)
	}
}

// The answer breaks off if the object is replaced while it is sent, or if it is damaged.
func TestSwappedWhileSent(t *testing.T) {
	for name, options := range map[string]func(t *testing.T) serving.Options{
		"passed on": func(*testing.T) serving.Options { return impatient(serving.Options{}) }, "cached": cached,
	} {
		t.Run(name, func(t *testing.T) {
			store, one := storetest.NewS3(t), randomLayer(t, 1, 8<<20)
			data := newLayout(t).add(one, "team/app:1").bytes()
			path := store.Put("a.tar", data)
			s := serveWith(t, options(t), path)
			s.get("team/app/manifests/1")
			at := bytes.Index(data, one.Layers[0].Blob)
			broken := false
			store.Before(func(w http.ResponseWriter, r *http.Request) bool {
				var from int
				_, _ = fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &from)
				if broken || from < at {
					return false
				}
				broken = true
				w.Header().Set("ETag", r.Header.Get("If-Match"))
				w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, at+len(one.Layers[0].Blob)-1, len(data)))
				w.Header().Set("Content-Length", fmt.Sprint(at+len(one.Layers[0].Blob)-from))
				w.WriteHeader(http.StatusPartialContent)
				_, _ = w.Write(data[from : from+1<<20])
				other := bytes.Clone(data)
				other[at+5<<20]++
				store.Put("a.tar", append(other, make([]byte, 512)...))
				panic(http.ErrAbortHandler)
			})
			a := s.do(http.MethodGet, "/v2/"+blobOf(one))
			assert.Error(t, a.err)
			assert.True(t, bytes.HasPrefix(one.Layers[0].Blob, a.body))
			assert.Contains(t, s.log.String(), "it has changed while it was read")

			s.Refresh(t.Context()) // The archive that is there now is damaged.
			for range 2 {
				a = s.do(http.MethodGet, "/v2/"+blobOf(one))
				assert.Error(t, a.err)
				assert.Less(t, len(a.body), len(one.Layers[0].Blob))
			}
			assert.Equal(t, http.StatusNotFound, s.status(blobOf(one)))
		})
	}
}

// A blob that is damaged on its way, once, is requested from the store again. So are the documents of an archive.
func TestDamagedOnItsWay(t *testing.T) {
	for name, options := range map[string]func(t *testing.T) serving.Options{
		"passed on": func(*testing.T) serving.Options { return impatient(serving.Options{}) }, "cached": cached,
	} {
		t.Run(name, func(t *testing.T) {
			store, one := storetest.NewS3(t), randomLayer(t, 1, 8<<20)
			data := newLayout(t).add(one, "team/app:1").bytes()
			blob, manifest := bytes.Index(data, one.Layers[0].Blob), bytes.Index(data, one.Raw)
			path := store.Put("a.tar", data)
			damage := func(at int) {
				store.Before(func(w http.ResponseWriter, r *http.Request) bool {
					var from, to int
					_, err := fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-%d", &from, &to)
					if to = min(to, len(data)-1); err != nil || at < from || at > to {
						return false
					}
					store.Before(nil)
					damaged := bytes.Clone(data[from : to+1])
					damaged[at-from]++
					w.Header().Set("ETag", `"+`+fmt.Sprint(len(data))+`"`)
					w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, to, len(data)))
					w.WriteHeader(http.StatusPartialContent)
					_, _ = w.Write(damaged)
					return true
				})
			}
			damage(manifest + 20)
			s := serveWith(t, options(t), path)
			assert.Equal(t, one.Raw, s.get("team/app/manifests/"+one.Digest().String()))
			for range 2 { // Each time is the first one, because the blob was right in between.
				if name == "cached" {
					s = serveWith(t, options(t), path)
				}
				damage(blob + 5<<20)
				a := s.do(http.MethodGet, "/v2/"+blobOf(one))
				assert.Error(t, a.err)
				assert.Contains(t, s.log.String(), "arrived damaged")
				assert.True(t, bytes.Equal(one.Layers[0].Blob, s.get(blobOf(one))))
			}
		})
	}
}

// An archive that is replaced by something else does not cause a check of the store for each client.
func TestReplacedByNoArchive(t *testing.T) {
	store, one := storetest.NewS3(t), randomLayer(t, 1, 1<<20)
	store.Put("images/a.tar", newLayout(t).add(one, "team/app:1").bytes())
	s := serveWith(t, impatient(serving.Options{}), "s3://images/images")
	s.get("team/app/manifests/" + one.Digest().String())
	store.Put("images/a.tar", []byte("no archive"))
	_, _ = store.Count()
	start := time.Now()
	for range 50 {
		a := s.do(http.MethodGet, "/v2/"+blobOf(one))
		assert.Equal(t, http.StatusServiceUnavailable, a.StatusCode)
	}
	lists := 0
	requests, _ := store.Count()
	for _, r := range requests {
		if r == "GET " {
			lists++
		}
	}
	assert.LessOrEqual(t, lists, 2+int(time.Since(start)/time.Second))
	assert.Equal(t, 1, s.Refused())
	store.Delete("images/a.tar")
	s.Refresh(t.Context())
	assert.Zero(t, s.Refused(), "it is gone")
}

// A store that is away makes no client of another archive wait. What may be there is not said to be missing.
func TestOneStoreIsAway(t *testing.T) {
	store, one, two := storetest.NewS3(t), randomLayer(t, 1, 10_000), randomLayer(t, 2, 10_000)
	local := newLayout(t).add(two, "team/here:1").write()
	store.Put("images/a.tar", newLayout(t).add(one, "team/app:1").bytes())
	s := serveWith(t, impatient(serving.Options{}), local, "s3://images/images")
	unknown := "team/here/blobs/" + one.Layers[0].Digest.String()
	assert.Equal(t, http.StatusNotFound, s.status(unknown))

	hangs, goOn := make(chan struct{}), make(chan struct{})
	entered := sync.OnceFunc(func() { close(hangs) })
	store.Before(func(w http.ResponseWriter, r *http.Request) bool {
		entered()
		<-goOn
		storetest.Refuse(w, http.StatusServiceUnavailable, "SlowDown", "Please reduce your request rate.")
		return true
	})
	var refresh sync.WaitGroup
	refresh.Go(func() { s.Refresh(t.Context()) })
	<-hangs
	assert.Equal(t, two.Layers[0].Blob, s.get("team/here/blobs/"+two.Layers[0].Digest.String()))
	assert.Equal(t, two.Raw, s.get("team/here/manifests/"+two.Digest().String()))
	assert.Equal(t, one.Raw, s.get("team/app/manifests/1"))
	assert.Contains(t, string(s.get("team/here/referrers/"+two.Digest().String())), `"manifests":[]`)
	close(goOn)
	refresh.Wait()
	a := s.do(http.MethodGet, "/v2/"+unknown)
	assert.Equal(t, http.StatusServiceUnavailable, a.StatusCode)
	assert.Contains(t, string(a.body), "s3://images/images cannot be checked")
	store.Before(nil)
	s.Refresh(t.Context())
	assert.Equal(t, http.StatusNotFound, s.status(unknown))
}

// An archive whose manifests cannot be read is not served, until they can.
func TestManifestsCannotBeRead(t *testing.T) {
	store, one := storetest.NewS3(t), randomLayer(t, 1, 300_000)
	data := newLayout(t).add(one, "team/app:1").bytes()
	at := bytes.Index(data, one.Raw)
	path := store.Put("a.tar", data)
	store.Before(func(w http.ResponseWriter, r *http.Request) bool {
		var from, to int
		_, _ = fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-%d", &from, &to)
		refuse := from > 0 && from <= at && at <= to
		if refuse {
			storetest.Refuse(w, http.StatusServiceUnavailable, "SlowDown", "Please reduce your request rate.")
		}
		return refuse
	})
	_, err := serving.New(t.Context(), []string{path}, impatient(serving.Options{}))
	require.ErrorContains(t, err, "SlowDown")
	require.ErrorContains(t, err, path)
}

// Answers that are damaged at the same time do not make a blob damaged: only the next request tells.
func TestDamagedTogether(t *testing.T) {
	store, one := storetest.NewS3(t), randomLayer(t, 1, 1<<20)
	data := newLayout(t).add(one, "team/app:1").bytes()
	path := store.Put("a.tar", data)
	s := serveWith(t, impatient(serving.Options{}), path)
	blob := bytes.Index(data, one.Layers[0].Blob)
	const clients = 3
	var arrived sync.WaitGroup
	arrived.Add(clients)
	store.Before(func(w http.ResponseWriter, r *http.Request) bool {
		var from, to int
		if _, err := fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-%d", &from, &to); err != nil || from != blob {
			return false
		}
		arrived.Done()
		arrived.Wait()
		damaged := bytes.Clone(data[from : to+1])
		damaged[0]++
		w.Header().Set("ETag", `"+`+fmt.Sprint(len(data))+`"`)
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, to, len(data)))
		w.WriteHeader(http.StatusPartialContent)
		_, _ = w.Write(damaged)
		return true
	})
	var asked sync.WaitGroup
	for range clients {
		asked.Go(func() { assert.Error(t, s.do(http.MethodGet, "/v2/"+blobOf(one)).err) })
	}
	asked.Wait()
	store.Before(nil)
	assert.True(t, bytes.Equal(one.Layers[0].Blob, s.get(blobOf(one))))
}

// The patience with a store lasts for more than a minute.
func TestAwayForAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		reader := ranged.New(t.Context(), awayUntil{start.Add(time.Minute)}, 1<<20, retry.Policy{Times: serving.StoreRetries, Classifiers: []retry.Classifier{
			func(error) (retry.Verdict, bool) { return retry.Verdict{Retry: true}, true },
		}}, nil)
		defer reader.Close()
		stream, err := reader.Stream(t.Context(), 0, 1<<20)
		require.NoError(t, err)
		data, err := io.ReadAll(stream)
		require.NoError(t, err)
		require.NoError(t, stream.Close())
		assert.Len(t, data, 1<<20)
		assert.Less(t, time.Since(start), 2*time.Minute)
	})
}

// awayUntil is a source that answers nothing before a time.
type awayUntil struct{ back time.Time }

func (a awayUntil) Range(_ context.Context, _, n int64) (io.ReadCloser, error) {
	if time.Now().Before(a.back) {
		return nil, errors.New("away")
	}
	return io.NopCloser(bytes.NewReader(make([]byte, n))), nil
}

// Clients that want a blob at once share one fetch. The cache serves the blob from then on, also in ranges, after a
// restart, and while the store is away.
func TestCache(t *testing.T) {
	store, one, two := storetest.NewS3(t), randomLayer(t, 1, 8<<20), randomLayer(t, 2, 5<<20)
	store.Put("images/a.tar", newLayout(t).add(one, "team/app:1").add(two, "team/app:2").bytes())
	o := cached(t)
	s := serveWith(t, o, "s3://images/images")
	s.get("team/app/manifests/1")
	_, _ = store.Count()
	var clients sync.WaitGroup
	for range 20 {
		clients.Go(func() { assert.True(t, bytes.Equal(one.Layers[0].Blob, s.get(blobOf(one)))) })
	}
	clients.Wait()
	_, sent := store.Count()
	assert.Less(t, sent, int64(8<<20+1<<20))
	stats, _ := s.CacheStats()
	assert.EqualValues(t, 1, stats.Misses)
	assert.EqualValues(t, 19, stats.Hits+stats.Shared)
	small := s.do(http.MethodGet, "/v2/"+blobOf(two), "Range", "bytes=-1000")
	assert.Equal(t, two.Layers[0].Blob[5<<20-1000:], small.body)
	_, sent = store.Count()
	assert.Less(t, sent, int64(1<<20), "a little is not worth the whole blob")
	s.http.Close()
	require.NoError(t, s.Close())

	s = serveWith(t, o, "s3://images/images")
	var away atomic.Bool
	store.Before(func(w http.ResponseWriter, r *http.Request) bool {
		if away.Load() {
			storetest.Refuse(w, http.StatusServiceUnavailable, "SlowDown", "Please reduce your request rate.")
		}
		return away.Load()
	})
	away.Store(true)
	s.Refresh(t.Context())
	assert.Equal(t, one.Raw, s.get("team/app/manifests/1"))
	assert.Equal(t, one.Raw, s.get("team/app/manifests/"+one.Digest().String()))
	assert.True(t, bytes.Equal(one.Layers[0].Blob, s.get(blobOf(one))))
	assert.Equal(t, one.Layers[0].Blob[7<<20:], s.do(http.MethodGet, "/v2/"+blobOf(one), "Range", fmt.Sprintf("bytes=%d-", 7<<20)).body)
	assert.Equal(t, http.StatusOK, s.do(http.MethodHead, "/v2/"+blobOf(one)).StatusCode)
	a := s.do(http.MethodGet, "/v2/"+blobOf(two))
	assert.Equal(t, http.StatusServiceUnavailable, a.StatusCode)
	assert.Equal(t, "UNAVAILABLE", a.code(t))
	assert.NotEmpty(t, a.Header.Get("Retry-After"))
	assert.Contains(t, string(a.body), "s3://images/images/a.tar")
	assert.NotContains(t, string(a.body), "SlowDown")
	assert.Contains(t, s.log.String(), "SlowDown")
	assert.Contains(t, s.Failing()["s3://images/images"], "SlowDown")
	asked, ok := s.StoreStats()
	assert.True(t, ok)
	assert.NotZero(t, asked.Retries)

	away.Store(false)
	s.Refresh(t.Context())
	assert.Empty(t, s.Failing())
	assert.True(t, bytes.Equal(two.Layers[0].Blob, s.get(blobOf(two))))
}

// A store that throttles for a moment is asked again: the client waits.
func TestThrottled(t *testing.T) {
	store, one := storetest.NewS3(t), randomLayer(t, 1, 1<<20)
	path := store.Put("a.tar", newLayout(t).add(one, "team/app:1").bytes())
	s := serveWith(t, impatient(serving.Options{}), path)
	s.get("team/app/manifests/1")
	var refused atomic.Bool
	store.Before(func(w http.ResponseWriter, r *http.Request) bool {
		first := refused.CompareAndSwap(false, true)
		if first {
			storetest.Refuse(w, http.StatusServiceUnavailable, "SlowDown", "Please reduce your request rate.")
		}
		return first
	})
	assert.True(t, bytes.Equal(one.Layers[0].Blob, s.get(blobOf(one))))
	asked, _ := s.StoreStats()
	assert.EqualValues(t, 1, asked.Failed)
}

// serve goes on if the directory of the cache fails, or if the cache has no room.
func TestCacheFails(t *testing.T) {
	store, one := storetest.NewS3(t), randomLayer(t, 1, 5<<20)
	path := store.Put("a.tar", newLayout(t).add(one, "team/app:1").bytes())
	o := cached(t)
	s := serveWith(t, o, path)
	require.NoError(t, os.RemoveAll(o.CacheDir))
	assert.True(t, bytes.Equal(one.Layers[0].Blob, s.get(blobOf(one))))
	assert.Contains(t, s.log.String(), "the cache fails")
	o = cached(t)
	o.CacheSize = 1000
	s = serveWith(t, o, path)
	assert.True(t, bytes.Equal(one.Layers[0].Blob, s.get(blobOf(one))))
	_, err := serving.New(t.Context(), []string{path}, o)
	require.ErrorContains(t, err, "another process uses this cache")
}

// Replicas that found the archives in different orders answer the same bytes.
func TestReplicas(t *testing.T) {
	store := storetest.NewS3(t)
	subject := randomLayer(t, 0, 1000)
	put := func(n int) {
		l := newLayout(t).add(subject, "team/app:1").add(randomLayer(t, n, 1000), fmt.Sprintf("team/app:%d", n+1), "team/app:same")
		store.Put(fmt.Sprintf("images/%c.tar", 'z'-n), l.bytes())
	}
	put(1)
	early := serveWith(t, impatient(serving.Options{}), "s3://images/images")
	for n := 2; n < 10; n++ {
		put(n)
		early.Refresh(t.Context())
	}
	late := serveWith(t, impatient(serving.Options{}), "s3://images/images")
	for _, path := range []string{"_catalog", "team/app/tags/list", "team/app/manifests/same", "team/app/manifests/1", "team/app/referrers/" + subject.Digest().String()} {
		assert.Equal(t, string(early.get(path)), string(late.get(path)), path)
	}
}

// When a client goes away, its request to the store ends, unless the cache fetches the blob.
func TestClientGoes(t *testing.T) {
	store, one := storetest.NewS3(t), randomLayer(t, 1, 32<<20)
	path := store.Put("a.tar", newLayout(t).add(one, "team/app:1").bytes())
	s := serveWith(t, impatient(serving.Options{}), path)
	response, err := http.Get(s.url + "/v2/" + blobOf(one)) //nolint:noctx // It is closed.
	require.NoError(t, err)
	_, err = io.CopyN(io.Discard, response.Body, 1000)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	s.http.Close() // Waits for the request.
	_, sent := store.Count()
	assert.Less(t, sent, int64(32<<20))
}

// An archive that says that it has the blobs of another one does not come between that one and its clients,
// even if it names the same repository.
func TestOtherArchiveIsWrong(t *testing.T) {
	t.Run("first", func(t *testing.T) { otherArchiveIsWrong(t, "images/1.tar", "images/2.tar", "team/wrong:1") })
	t.Run("same repository", func(t *testing.T) {
		otherArchiveIsWrong(t, "images/2.tar", "images/1.tar", "team/wrong:1", "team/app:9")
	})
}

func otherArchiveIsWrong(t *testing.T, wrongKey, key string, names ...string) {
	store, one := storetest.NewS3(t), randomLayer(t, 1, 8<<20)
	wrong := newLayout(t).add(one, names...)
	wrong.file(blobPath(one.Layers[0].Digest), randomLayer(t, 2, 8<<20).Layers[0].Blob)
	store.Put(wrongKey, wrong.bytes())
	store.Put(key, newLayout(t).add(one, "team/app:1").bytes())
	s := serveWith(t, cached(t), "s3://images/images")
	half, goOn := make(chan struct{}), make(chan struct{})
	end := sync.OnceFunc(func() { close(goOn) })
	defer end()
	store.Before(func(w http.ResponseWriter, r *http.Request) bool {
		var from, to int
		_, _ = fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-%d", &from, &to)
		if !strings.HasSuffix(r.URL.Path, wrongKey) || to-from != 8<<20-1 {
			return false
		}
		data := wrong.bytes()
		w.Header().Set("ETag", r.Header.Get("If-Match"))
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, to, len(data)))
		w.Header().Set("Content-Length", fmt.Sprint(8<<20))
		w.WriteHeader(http.StatusPartialContent)
		_, _ = w.Write(data[from:][:4<<20])
		w.(http.Flusher).Flush()
		close(half)
		<-goOn
		_, _ = w.Write(data[from:][4<<20 : 8<<20])
		return true
	})
	var others sync.WaitGroup
	others.Go(func() {
		a := s.do(http.MethodGet, "/v2/"+strings.Replace(blobOf(one), "app", "wrong", 1))
		assert.Error(t, a.err)
	})
	<-half
	ranged := s.do(http.MethodGet, "/v2/"+blobOf(one), "Range", "bytes=0-999")
	require.Equal(t, http.StatusPartialContent, ranged.StatusCode)
	require.Equal(t, string(one.Layers[0].Blob[:1000]), string(ranged.body))
	require.True(t, bytes.Equal(one.Layers[0].Blob, s.get(blobOf(one))))
	end()
	others.Wait()
	require.True(t, bytes.Equal(one.Layers[0].Blob, s.get(blobOf(one))))
}

// A client that goes does not end a look that others want as well, and waits for no other one.
func TestLooksGoOn(t *testing.T) {
	store := storetest.NewS3(t)
	s := serveWith(t, impatient(serving.Options{}), "s3://images/images/")
	store.Put("images/new.tar", newLayout(t).add(randomLayer(t, 1, 10), "team/app:1").bytes())
	gone, cancel := context.WithCancel(t.Context())
	asked, goOn := make(chan struct{}), make(chan struct{})
	first := sync.OnceFunc(func() {
		cancel()
		close(asked)
		<-goOn
	})
	store.Before(func(http.ResponseWriter, *http.Request) bool {
		first()
		return false
	})
	var looks sync.WaitGroup
	looks.Go(func() { s.Refresh(gone) })
	<-asked
	second := make(chan struct{})
	looks.Go(func() {
		s.Refresh(gone)
		close(second)
	})
	select {
	case <-second:
	case <-time.After(10 * time.Second):
		t.Error("it waits although it wants nothing any more")
	}
	close(goOn)
	looks.Wait()
	assert.Equal(t, 1, s.Found())
}

// An object that was another one for a moment, between two looks, is opened again.
func TestChangedForAMoment(t *testing.T) {
	store := storetest.NewS3(t)
	layer := imagetest.Plain(1, 300_000)
	compressed, plain := imagetest.NewImage(t, "compressed", layer), imagetest.NewImage(t, "plain", imagetest.Plain(2, 300_000))
	l := newLayout(t)
	l.file("1.tar", imagetest.Gzipped(layer.Diff))
	l.file("2.tar", plain.Layers[0].Blob)
	l.file("1.json", compressed.Config)
	l.file("2.json", plain.Config)
	l.file("manifest.json", []byte(`[{"Config":"1.json","RepoTags":["team/app:1"],"Layers":["1.tar"]},{"Config":"2.json","RepoTags":["team/app:2"],"Layers":["2.tar"]}]`))
	s := serveWith(t, impatient(serving.Options{}), store.Put("a.tar", l.bytes()))
	assert.Equal(t, layer.Diff, s.get(blobOf(compressed)))
	var changed atomic.Bool
	store.Before(func(w http.ResponseWriter, r *http.Request) bool {
		first := r.Method == http.MethodGet && changed.CompareAndSwap(false, true)
		if first {
			storetest.Refuse(w, http.StatusPreconditionFailed, "PreconditionFailed", "It is another one.")
		}
		return first
	})
	assert.Equal(t, plain.Layers[0].Blob, s.get(blobOf(plain)))
	assert.True(t, changed.Load())
	assert.Equal(t, layer.Diff, s.get(blobOf(compressed)), "which is read by other requests")
}
