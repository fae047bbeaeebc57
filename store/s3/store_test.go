package s3

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/internal/input"
	"github.com/dockerarchive/dockerarchive/internal/ranged"
	"github.com/dockerarchive/dockerarchive/internal/storetest"
	"github.com/dockerarchive/dockerarchive/internal/webclient"
)

func openStore(t *testing.T, path string) input.Store {
	t.Helper()
	s, err := input.OpenStore(t.Context(), "s3", path, input.Access{})
	require.NoError(t, err)
	t.Cleanup(s.Close)
	return s
}

// A list has all objects below an address, from all pages, even after a page that failed.
func TestList(t *testing.T) {
	server := storetest.NewS3(t)
	var want []string
	for _, key := range []string{"team/a:b.tar", "team/b.tar", "team/deep/c.tar", "team/d.tar", "team/e.tar", "team/f.tar", "team/g.tar"} {
		server.Put(key, content(1, 10))
	}
	server.Put("teamwork.tar", content(1, 10))
	requests := 0
	server.Before(func(w http.ResponseWriter, r *http.Request) bool {
		if requests++; requests == 2 {
			storetest.Refuse(w, http.StatusServiceUnavailable, "SlowDown", "Please reduce your request rate.")
		}
		return requests == 2
	})
	meter := &webclient.Meter{}
	store := openStore(t, "s3://images/team")
	found, err := store.List(webclient.WithMeter(t.Context(), meter), "s3://images/team")
	require.NoError(t, err)
	for _, info := range found {
		assert.EqualValues(t, 10, info.Size)
		assert.NotEmpty(t, info.Version)
		want = append(want, info.Address)
	}
	assert.Equal(t, []string{"s3://images/team/a%3Ab.tar", "s3://images/team/b.tar", "s3://images/team/d.tar", "s3://images/team/deep/c.tar", "s3://images/team/e.tar", "s3://images/team/f.tar", "s3://images/team/g.tar"}, want)
	assert.EqualValues(t, []int64{4, 1, 1}, []int64{meter.Requests.Load(), meter.Failed.Load(), meter.Retries.Load()})
	assert.Positive(t, meter.Bytes.Load())
	all, err := store.List(t.Context(), "s3://images")
	require.NoError(t, err)
	assert.Len(t, all, 8)
	_, err = store.List(t.Context(), "s3://other")
	require.Error(t, err)
}

// An object that is replaced is another version, and one that is gone does not exist.
func TestStat(t *testing.T) {
	server := storetest.NewS3(t)
	path := server.Put("x.tar", content(1, 10))
	store := openStore(t, path)
	one, err := store.Stat(t.Context(), path)
	require.NoError(t, err)
	assert.Equal(t, input.Info{Address: path, Size: 10, Version: one.Version}, one)
	server.Put("x.tar", content(2, 10))
	two, err := store.Stat(t.Context(), path)
	require.NoError(t, err)
	assert.NotEqual(t, one.Version, two.Version)
	server.Delete("x.tar")
	for _, gone := range []string{path, "s3://images", "s3://images/"} {
		_, err = store.Stat(t.Context(), gone)
		require.ErrorIs(t, err, fs.ErrNotExist)
	}
}

// A stream is one request. It resumes where an answer broke off, and ends when there is another version.
func TestStream(t *testing.T) {
	server, data := storetest.NewS3(t), content(1, 5<<20)
	path := server.Put("x.tar", data)
	remote, err := openStore(t, path).Open(t.Context(), path)
	require.NoError(t, err)
	reader := remote.(*ranged.Reader)
	server.Count()
	stream := func() ([]byte, error) {
		r, err := reader.Stream(t.Context(), 100, 4<<20)
		require.NoError(t, err)
		read, err := io.ReadAll(r)
		require.NoError(t, r.Close())
		return read, err
	}
	read, err := stream()
	require.NoError(t, err)
	assert.True(t, bytes.Equal(data[100:100+4<<20], read))
	requests, _ := server.Count()
	assert.Len(t, requests, 1)

	broken := 0
	server.Before(func(w http.ResponseWriter, r *http.Request) bool {
		if broken++; broken > 2 {
			return false
		}
		from, to, _, ok := ranged.ContentRange("bytes " + r.Header.Get("Range")[len("bytes="):] + "/9999999")
		require.True(t, ok)
		w.Header().Set("ETag", `"+5242880"`)
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, to-1, len(data)))
		w.WriteHeader(http.StatusPartialContent)
		_, _ = w.Write(data[from : from+1<<20])
		panic(http.ErrAbortHandler)
	})
	read, err = stream()
	require.NoError(t, err)
	assert.True(t, bytes.Equal(data[100:100+4<<20], read))
	assert.Equal(t, 3, broken)

	r, err := reader.Stream(t.Context(), 0, 5<<20)
	require.NoError(t, err)
	_, err = io.CopyN(io.Discard, r, 10)
	require.NoError(t, err)
	require.NoError(t, r.Close())
	server.Before(nil)
	server.Put("x.tar", content(2, 5<<20))
	_, err = reader.Stream(t.Context(), 0, 10)
	require.ErrorIs(t, err, ranged.ErrChanged)
	_, err = reader.Stream(t.Context(), 0, 5<<20+1)
	require.ErrorContains(t, err, "not all within")
}
