package blobcache

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func openCache(t *testing.T, dir string, limit int64) *Cache {
	t.Helper()
	c, err := Open(dir, limit)
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() }) // Some tests close it themselves.
	return c
}

// content returns size bytes that differ with the seed.
func content(seed byte, size int) []byte {
	return bytes.Repeat([]byte{seed, 1, 2, seed, 3}, size/5+1)[:size]
}

func from(data []byte) func(context.Context) (io.ReadCloser, error) {
	return func(context.Context) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil }
}

// read fetches a blob and reads all of it.
func read(t *testing.T, c *Cache, data []byte) {
	t.Helper()
	b, err := c.Fetch(t.Context(), digest.FromBytes(data), int64(len(data)), "here", from(data))
	require.NoError(t, err)
	got, err := io.ReadAll(b)
	require.NoError(t, err)
	assert.True(t, bytes.Equal(data, got))
	require.NoError(t, b.Close())
}

// has reports whether a blob is in the cache, and right.
func has(t *testing.T, c *Cache, data []byte) bool {
	t.Helper()
	b, err := c.Get(t.Context(), digest.FromBytes(data))
	require.NoError(t, err)
	if b == nil {
		return false
	}
	got, err := io.ReadAll(b)
	require.NoError(t, err)
	assert.True(t, bytes.Equal(data, got))
	require.NoError(t, b.Close())
	return true
}

// files returns the names and the size of the blobs in a directory.
func files(t *testing.T, dir string) (names []string, size int64) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, e := range entries {
		info, err := e.Info()
		require.NoError(t, err)
		if strings.HasPrefix(e.Name(), "sha256-") {
			names, size = append(names, e.Name()), size+info.Size()
		}
	}
	return names, size
}

// Many readers at the same time share one fetch, and read the blob while it arrives.
func TestOneFetch(t *testing.T) {
	c, data := openCache(t, t.TempDir(), 10<<20), content(1, 3<<20)
	r, w := io.Pipe()
	var opened atomic.Int32
	var readers sync.WaitGroup
	d := digest.FromBytes(data)
	half := make(chan struct{}, 50)
	for n := range 50 {
		readers.Go(func() {
			b, err := c.Fetch(t.Context(), d, int64(len(data)), "here", func(context.Context) (io.ReadCloser, error) {
				opened.Add(1)
				return r, nil
			})
			if !assert.NoError(t, err) {
				return
			}
			defer b.Close()
			start := int64(n * 1000)
			_, err = b.Seek(start, io.SeekStart)
			assert.NoError(t, err)
			got := make([]byte, int64(len(data))-start)
			_, err = io.ReadFull(b, got[:1<<20])
			assert.NoError(t, err)
			half <- struct{}{}
			_, err = io.ReadFull(b, got[1<<20:])
			assert.NoError(t, err)
			assert.True(t, bytes.Equal(data[start:], got))
		})
	}
	_, err := w.Write(data[:2<<20])
	require.NoError(t, err)
	for range 50 {
		<-half // All have read what has come.
	}
	_, err = w.Write(data[2<<20:])
	require.NoError(t, err)
	require.NoError(t, w.Close())
	readers.Wait()
	assert.EqualValues(t, 1, opened.Load())
	assert.True(t, has(t, c, data))
	s := c.Stats()
	assert.EqualValues(t, 1, s.Misses)
	assert.EqualValues(t, 50, s.Shared+s.Hits)
	assert.EqualValues(t, len(data), s.Bytes)
}

// A blob with a wrong digest is never read to its end, and never kept.
func TestWrong(t *testing.T) {
	dir := t.TempDir()
	c, data := openCache(t, dir, 10<<20), content(1, 1<<20)
	for name, wrong := range map[string][]byte{"other": content(2, 1<<20), "short": data[:1<<19], "long": append(bytes.Clone(data), 0), "empty": nil} {
		t.Run(name, func(t *testing.T) {
			b, err := c.Fetch(t.Context(), digest.FromBytes(data), int64(len(data)), "here", from(wrong))
			if err == nil {
				var got []byte
				got, err = io.ReadAll(b)
				assert.Less(t, len(got), len(data))
				require.NoError(t, b.Close())
			}
			require.ErrorIs(t, err, ErrWrong)
			assert.Zero(t, c.Stats().Bytes)
			names, _ := files(t, dir)
			assert.Empty(t, names)
		})
	}
	assert.EqualValues(t, 4, c.Stats().Wrong)
	read(t, c, data)
}

// A failed fetch fails for all who wait, and the next reader tries anew.
func TestFails(t *testing.T) {
	c, data := openCache(t, t.TempDir(), 10<<20), content(1, 1<<20)
	failure := errors.New("the store is away")
	d := digest.FromBytes(data)
	_, err := c.Fetch(t.Context(), d, int64(len(data)), "here", func(context.Context) (io.ReadCloser, error) { return nil, failure })
	require.ErrorIs(t, err, failure)
	r, w := io.Pipe()
	go func() {
		_, _ = w.Write(data[:1000])
		_ = w.CloseWithError(failure)
	}()
	b, err := c.Fetch(t.Context(), d, int64(len(data)), "here", func(context.Context) (io.ReadCloser, error) { return r, nil })
	if err == nil { // It may have failed before.
		_, err = io.ReadAll(b)
		require.NoError(t, b.Close())
	}
	require.ErrorIs(t, err, failure)
	read(t, c, data)
}

// The least recently used blobs are evicted, and never one that is being read. The cache never exceeds its limit.
func TestEviction(t *testing.T) {
	dir := t.TempDir()
	const size = 100_000
	c := openCache(t, dir, 3*size)
	a, b, d, e := content(1, size), content(2, size), content(3, size), content(4, size)
	for _, data := range [][]byte{a, b, d} {
		read(t, c, data)
	}
	require.True(t, has(t, c, a))
	read(t, c, e)
	assert.False(t, has(t, c, b))
	reading, err := c.Get(t.Context(), digest.FromBytes(a))
	require.NoError(t, err)
	for n := range byte(10) {
		read(t, c, content(10+n, size))
		_, on := files(t, dir)
		assert.LessOrEqual(t, on, int64(3*size))
	}
	assert.True(t, has(t, c, a))
	_, err = c.Fetch(t.Context(), digest.FromBytes(b), 2*size+1, "here", from(b))
	require.ErrorIs(t, err, ErrNoRoom)
	_, err = c.Fetch(t.Context(), digest.FromBytes(b), 3*size+1, "here", from(b))
	require.ErrorIs(t, err, ErrNoRoom)
	require.NoError(t, reading.Close())
	assert.EqualValues(t, 2, c.Stats().Refused)
	assert.LessOrEqual(t, c.Stats().Bytes, int64(3*size))
}

// While arriving blobs fill the cache, others have no room.
func TestFull(t *testing.T) {
	dir := t.TempDir()
	c, a, b := openCache(t, dir, 150_000), content(1, 100_000), content(2, 100_000)
	r, w := io.Pipe()
	go func() { _, _ = w.Write(a[:1000]) }()
	first, err := c.Fetch(t.Context(), digest.FromBytes(a), 100_000, "here", func(context.Context) (io.ReadCloser, error) { return r, nil })
	require.NoError(t, err)
	_, err = c.Fetch(t.Context(), digest.FromBytes(b), 100_000, "here", from(b))
	require.ErrorIs(t, err, ErrNoRoom)
	require.NoError(t, first.Close()) // Nobody reads it any more: it comes all the same.
	_, err = w.Write(a[1000:])
	require.NoError(t, err)
	require.NoError(t, w.Close())
	assert.Eventually(t, func() bool { return has(t, c, a) }, time.Minute, time.Millisecond)
	read(t, c, b)
	assert.False(t, has(t, c, a))
}

// Blobs survive a restart, in the order of their use. Blobs that were damaged meanwhile, or incomplete, do not.
func TestRestart(t *testing.T) {
	dir := t.TempDir()
	c := openCache(t, dir, 1<<20)
	a, b, d := content(1, 100_000), content(2, 100_000), content(3, 100_000)
	for _, data := range [][]byte{a, b, d} {
		read(t, c, data)
	}
	_, err := Open(dir, 1<<20)
	require.ErrorIs(t, err, ErrInUse)
	require.NoError(t, c.Close())
	now := time.Now()
	for n, data := range [][]byte{d, a, b} { // d has not been used for longest.
		require.NoError(t, os.Chtimes(c.path(digest.FromBytes(data)), now, now.Add(time.Duration(n-10)*time.Hour)))
	}
	damaged := bytes.Clone(b)
	damaged[50_000]++
	require.NoError(t, os.WriteFile(c.path(digest.FromBytes(b)), damaged, 0o600))
	half := content(4, 1000)
	require.NoError(t, os.WriteFile(c.partial(digest.FromBytes(half)), half, 0o600))
	mine := filepath.Join(dir, "mine")
	require.NoError(t, os.WriteFile(mine, nil, 0o600))

	c = openCache(t, dir, 200_000)
	assert.EqualValues(t, 200_000, c.Stats().Bytes)
	assert.True(t, has(t, c, a))
	assert.False(t, has(t, c, b), "damaged")
	assert.False(t, has(t, c, d), "no room")
	assert.False(t, has(t, c, half))
	assert.FileExists(t, mine)
	names, _ := files(t, dir)
	assert.Len(t, names, 1)
	assert.EqualValues(t, 100_000, c.Stats().Bytes)
	read(t, c, b)
}

// A file that another program removes is fetched again. A directory that cannot be written is an error.
func TestDisk(t *testing.T) {
	dir := t.TempDir()
	c, data := openCache(t, dir, 1<<20), content(1, 100_000)
	read(t, c, data)
	require.NoError(t, os.Remove(c.path(digest.FromBytes(data))))
	_, err := c.Get(t.Context(), digest.FromBytes(data))
	require.ErrorIs(t, err, ErrDisk)
	assert.Zero(t, c.Stats().Bytes)
	read(t, c, data)
	require.NoError(t, os.RemoveAll(dir))
	_, err = c.Fetch(t.Context(), digest.FromBytes(content(2, 10)), 10, "here", from(content(2, 10)))
	require.ErrorIs(t, err, ErrDisk)
	_, err = Open(filepath.Join(mineFile(t), "x"), 1)
	require.Error(t, err)
}

func mineFile(t *testing.T) string {
	path := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(path, nil, 0o600))
	return path
}

// A reader whose client has gone does not wait any longer, and Close ends all fetches.
func TestEnds(t *testing.T) {
	c, data := openCache(t, t.TempDir(), 1<<20), content(1, 1000)
	hang := func(ctx context.Context) (io.ReadCloser, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(time.Millisecond, cancel)
	_, err := c.Fetch(ctx, digest.FromBytes(data), 1000, "here", hang)
	require.ErrorIs(t, err, context.Canceled)
	var waiting sync.WaitGroup
	for range 3 {
		waiting.Go(func() {
			_, err := c.Get(t.Context(), digest.FromBytes(data), "here")
			assert.ErrorIs(t, err, context.Canceled)
		})
	}
	assert.Eventually(t, func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		e := c.entries[digest.FromBytes(data)]
		return e.users == 3
	}, time.Minute, time.Millisecond)
	require.NoError(t, c.Close())
	waiting.Wait()
	b, err := c.Get(t.Context(), digest.FromBytes(data))
	require.NoError(t, err)
	assert.Nil(t, b)
	_, err = c.Fetch(t.Context(), digest.FromBytes(data), 1000, "here", hang)
	require.ErrorIs(t, err, ErrNoRoom)
}

// Many readers of many blobs in a small cache get the right bytes, or ErrNoRoom.
func TestConcurrent(t *testing.T) {
	dir := t.TempDir()
	c := openCache(t, dir, 250_000)
	var readers sync.WaitGroup
	for n := range 16 {
		readers.Go(func() {
			for i := range 30 {
				data := content(byte((n*7+i*3)%9), 50_000+1000*((n+i)%9))
				b, err := c.Fetch(t.Context(), digest.FromBytes(data), int64(len(data)), "here", from(data))
				if errors.Is(err, ErrNoRoom) {
					continue
				}
				if !assert.NoError(t, err) {
					return
				}
				got, err := io.ReadAll(b)
				assert.NoError(t, err)
				assert.True(t, bytes.Equal(data, got))
				assert.NoError(t, b.Close())
				assert.LessOrEqual(t, c.Stats().Bytes, int64(250_000))
			}
		})
	}
	readers.Wait()
	require.NoError(t, c.Close())
	_, size := files(t, dir)
	assert.Equal(t, c.Stats().Bytes, size, fmt.Sprint(c.Stats()))
}

// An empty blob is cached, too.
func TestEmpty(t *testing.T) {
	c := openCache(t, t.TempDir(), 10)
	read(t, c, nil)
	assert.True(t, has(t, c, nil))
}

// Nobody gets bytes, or an error, of an origin that is not theirs before the blob is known to be right.
func TestOrigins(t *testing.T) {
	c, data := openCache(t, t.TempDir(), 10<<20), content(1, 1000)
	d := digest.FromBytes(data)
	r, w := io.Pipe()
	go func() { _, _ = w.Write(content(2, 500)) }()
	theirs, err := c.Fetch(t.Context(), d, 1000, "theirs", func(context.Context) (io.ReadCloser, error) { return r, nil })
	require.NoError(t, err)
	b, err := c.Get(t.Context(), d, "mine", "here")
	require.NoError(t, err)
	assert.Nil(t, b)
	_, err = c.Fetch(t.Context(), d, 1000, "mine", from(data))
	require.ErrorIs(t, err, ErrOther)
	b, err = c.Get(t.Context(), d, "mine", "theirs")
	require.NoError(t, err)
	require.NoError(t, b.Close())
	require.NoError(t, w.Close())
	_, err = io.ReadAll(theirs)
	require.ErrorIs(t, err, ErrWrong)
	require.NoError(t, theirs.Close())
	read(t, c, data)
	b, err = c.Get(t.Context(), d)
	require.NoError(t, err)
	assert.NotNil(t, b.File(), "what is right is for all")
	require.NoError(t, b.Close())
}

// Clients that go at once cannot have any number of blobs come, nor can small blobs take more room than they should.
func TestMany(t *testing.T) {
	c := openCache(t, t.TempDir(), 10<<20)
	hang := func(ctx context.Context) (io.ReadCloser, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	for n := range maxComing {
		_, err := c.Fetch(gone, digest.FromString(fmt.Sprint(n)), 1, "here", hang)
		require.ErrorIs(t, err, context.Canceled)
	}
	_, err := c.Fetch(gone, digest.FromString("one more"), 1, "here", hang)
	assert.ErrorIs(t, err, ErrNoRoom)
	require.NoError(t, c.Close())

	dir := t.TempDir()
	c = openCache(t, dir, 10<<20)
	for n := range fewBlobs + 10 {
		read(t, c, fmt.Append(nil, n))
	}
	names, _ := files(t, dir)
	assert.Len(t, names, fewBlobs)
}
