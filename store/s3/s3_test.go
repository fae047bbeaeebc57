package s3

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/internal/address"
	"github.com/dockerarchive/dockerarchive/internal/input"
	"github.com/dockerarchive/dockerarchive/internal/naming"
	"github.com/dockerarchive/dockerarchive/internal/ranged"
	"github.com/dockerarchive/dockerarchive/internal/storetest"
)

func TestMain(m *testing.M) {
	policy.FirstDelay = time.Millisecond
	os.Exit(m.Run())
}

func content(seed uint64, size int) []byte {
	data := make([]byte, size)
	random := rand.NewChaCha8([32]byte{byte(seed)})
	_, _ = random.Read(data) // Never fails.
	return data
}

func openPath(t *testing.T, path string) (*input.File, error) {
	t.Helper()
	file, err := input.Open(t.Context(), path, input.Options{TempDir: t.TempDir()})
	if err == nil {
		t.Cleanup(func() { assert.NoError(t, file.Close()) })
	}
	return file, err
}

func mustOpen(t *testing.T, path string) *input.File {
	t.Helper()
	file, err := openPath(t, path)
	require.NoError(t, err)
	return file
}

// Reads at any place and of any length return the right bytes, and all requests are for one version.
func TestRanges(t *testing.T) {
	s, data := storetest.NewS3(t), content(1, 3<<20)
	file := mustOpen(t, s.Put("x.tar", data))
	var versions atomic.Int32
	s.Before(func(_ http.ResponseWriter, r *http.Request) bool {
		if r.Header.Get("If-Match") != "" {
			versions.Add(1)
		}
		return false
	})
	require.NoError(t, iotest.TestReader(io.NewSectionReader(file, 1000, 70_000), data[1000:71_000]))
	for range 100 {
		off := rand.IntN(len(data))
		p := make([]byte, 1+rand.IntN(min(len(data)-off, 300_000)))
		_, err := file.ReadAt(p, int64(off))
		require.NoError(t, err)
		require.True(t, bytes.Equal(data[off:off+len(p)], p), "%d bytes at %d", len(p), off)
	}
	requests, _ := s.Count()
	assert.Len(t, requests, 1+int(versions.Load()), "all but the first name the version")
}

// A key may have any character; characters that would end it are escaped.
func TestKeys(t *testing.T) {
	s := storetest.NewS3(t)
	for _, key := range []string{"a:b.tar", "100%.tar", "a b.tar", "ä/ö?.tar", "a+b&c=d#e.tar", "%41.tar", "a//b.tar"} {
		s.Put(key, content(1, 1000))
		path := address.ObjectPath(storetest.Bucket, key)
		again, name, _ := naming.Split(path + ":app:1")
		assert.Equal(t, path, again)
		assert.Equal(t, "app:1", name)
		assert.Equal(t, int64(1000), mustOpen(t, path).Size(), path)
	}
}

// Another version is an error, also for later reads.
func TestChanges(t *testing.T) {
	for name, change := range map[string]func(*storetest.Server){
		"another one":   func(s *storetest.Server) { s.Put("x.tar", content(2, 2<<20)) },
		"a shorter one": func(s *storetest.Server) { s.Put("x.tar", content(2, 100)) },
		"no If-Match": func(s *storetest.Server) {
			s.Put("x.tar", content(2, 2<<20))
			s.Before(func(_ http.ResponseWriter, r *http.Request) bool {
				r.Header.Del("If-Match")
				return false
			})
		},
		"none": func(s *storetest.Server) {
			s.Before(func(w http.ResponseWriter, _ *http.Request) bool {
				storetest.Refuse(w, http.StatusNotFound, "NoSuchKey", "gone")
				return true
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := storetest.NewS3(t)
			file := mustOpen(t, s.Put("x.tar", content(1, 2<<20)))
			change(s)
			_, err := file.ReadAt(make([]byte, 10), 1<<20)
			require.ErrorIs(t, err, ranged.ErrChanged)
			_, err = file.ReadAt(make([]byte, 10), 0)
			require.ErrorIs(t, err, ranged.ErrChanged, "what is known of the old one is not given any more")
		})
	}
}

// A request to a store that is busy, breaks off or closes connections is repeated, and resumes where it broke.
func TestBreaks(t *testing.T) {
	s, data := storetest.NewS3(t), content(1, 2<<20)
	file := mustOpen(t, s.Put("x.tar", data))
	var count atomic.Int32
	s.Before(func(w http.ResponseWriter, r *http.Request) bool {
		switch n := count.Add(1); {
		case n > 6:
			return false
		case n%3 == 0:
			storetest.Refuse(w, http.StatusServiceUnavailable, "SlowDown", "Please reduce your request rate.")
			return true
		case n%3 == 1:
			panic(http.ErrAbortHandler)
		}
		var from, to int
		_, err := fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-%d", &from, &to)
		assert.NoError(t, err)
		w.Header().Set("ETag", r.Header.Get("If-Match"))
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, to, len(data)))
		w.Header().Set("Content-Length", fmt.Sprint(to+1-from))
		w.WriteHeader(http.StatusPartialContent)
		_, _ = w.Write(data[from : from+(to+1-from)/2])
		panic(http.ErrAbortHandler)
	})
	p := make([]byte, 1<<20)
	_, err := file.ReadAt(p, 1<<20)
	require.NoError(t, err)
	assert.True(t, bytes.Equal(data[1<<20:], p))
	assert.Greater(t, count.Load(), int32(6))
}

// A store that stays busy gets six requests. Then the error has its answer.
func TestBusy(t *testing.T) {
	s := storetest.NewS3(t)
	s.Before(func(w http.ResponseWriter, _ *http.Request) bool {
		storetest.Refuse(w, http.StatusServiceUnavailable, "SlowDown", "Please reduce your request rate.")
		return true
	})
	_, err := openPath(t, s.Put("x.tar", content(1, 1000)))
	require.EqualError(t, err, "opening s3://images/x.tar: the store answers 503 Service Unavailable (SlowDown): Please reduce your request rate.")
	requests, _ := s.Count()
	assert.Len(t, requests, 6)
}

// Errors name the cause, and such requests are not repeated.
func TestRefusals(t *testing.T) {
	s := storetest.NewS3(t)
	_, err := openPath(t, "s3://images/none.tar")
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.EqualError(t, err, "opening s3://images/none.tar: the store answers 404 Not Found (NoSuchKey): The specified key does not exist.")
	_, err = openPath(t, s.Put("empty.tar", nil))
	require.ErrorContains(t, err, "the object is empty")
	s.Count()
	for _, c := range []struct {
		status     int
		code, text string
	}{
		{http.StatusForbidden, "AccessDenied", "the store answers 403 Forbidden (AccessDenied): no"},
		{http.StatusMovedPermanently, "PermanentRedirect", "the bucket is in the region eu-central-1: set AWS_REGION"},
	} {
		s.Before(func(w http.ResponseWriter, _ *http.Request) bool {
			w.Header().Set(regionHeader, "eu-central-1")
			w.Header().Set("Location", "http://127.0.0.1:1/")
			storetest.Refuse(w, c.status, c.code, "no")
			return true
		})
		_, err := openPath(t, "s3://images/x.tar")
		require.ErrorContains(t, err, c.text)
		assert.Equal(t, c.status == http.StatusForbidden, errors.Is(err, fs.ErrPermission))
		requests, _ := s.Count()
		assert.Len(t, requests, 1, c.code)
	}
	for _, path := range []string{"s3://images", "s3://images/", "s3:///x.tar", "s3://images/a%zz.tar"} {
		_, err := openPath(t, path)
		require.ErrorContains(t, err, "opening "+path+": ")
	}
}

// Settings are those of the AWS tools.
func TestSettings(t *testing.T) {
	const signed = "AWS4-HMAC-SHA256 Credential=%s/"
	for name, c := range map[string]struct {
		env  map[string]string
		want string // how the Authorization header begins
	}{
		"environment": {map[string]string{}, fmt.Sprintf(signed, "test")},
		"anonymous":   {map[string]string{noSignRequest: "true", "AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}, ""},
		"shared file": {map[string]string{"AWS_PROFILE": "other", "AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}, fmt.Sprintf(signed, "shared")},
	} {
		t.Run(name, func(t *testing.T) {
			s := storetest.NewS3(t)
			path := s.Put("x.tar", content(1, 1000))
			file := filepath.Join(t.TempDir(), "credentials")
			require.NoError(t, os.WriteFile(file, []byte("[other]\naws_access_key_id = shared\naws_secret_access_key = s\n"), 0o600))
			t.Setenv("AWS_SHARED_CREDENTIALS_FILE", file)
			for name, value := range c.env {
				t.Setenv(name, value)
			}
			// The endpoint for S3 alone takes precedence.
			t.Setenv("AWS_ENDPOINT_URL_S3", s.URL)
			t.Setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
			t.Setenv("AWS_REGION", "")
			s.Before(func(_ http.ResponseWriter, r *http.Request) bool {
				got := r.Header.Get("Authorization")
				assert.Equal(t, c.want, got[:min(len(got), len(c.want))])
				assert.Equal(t, c.want == "", got == "")
				return false
			})
			mustOpen(t, path)
		})
	}
	storetest.NewS3(t)
	t.Setenv(noSignRequest, "perhaps")
	_, err := openPath(t, "s3://images/x.tar")
	require.ErrorContains(t, err, `AWS_NO_SIGN_REQUEST is "perhaps"`)
}

// Without credentials the error says how to do without.
func TestNoCredentials(t *testing.T) {
	storetest.NewS3(t)
	t.Setenv("AWS_ACCESS_KEY_ID", "")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "")
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	_, err := openPath(t, "s3://images/x.tar")
	require.ErrorContains(t, err, "no credentials for the store (AWS_NO_SIGN_REQUEST=true asks without)")
}
