package s3

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/sirupsen/logrus"
	logrustest "github.com/sirupsen/logrus/hooks/test"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/internal/output"
	"github.com/dockerarchive/dockerarchive/internal/storetest"
)

const path = "s3://" + storetest.Bucket + "/dir/x.tar"

// newStore returns a store, and gives the test its own directory of records.
func newStore(t *testing.T) *storetest.Server {
	t.Helper()
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	return storetest.NewS3(t)
}

// write writes an object in pieces of odd sizes, and commits it.
func write(ctx context.Context, data []byte, create func(context.Context, string) (*output.Output, error)) error {
	o, err := create(ctx, path)
	if err != nil {
		return err
	}
	for i := 0; len(data) > 0; i++ {
		n := min(len(data), 1+i*100_003%3_000_000)
		if _, err := o.Writer().Write(data[:n]); err != nil {
			_ = o.Abort() // err says why.
			return err
		}
		data = data[n:]
	}
	return o.Commit(ctx)
}

// force returns a context to replace what is there.
func force(ctx context.Context) context.Context {
	return output.WithRemote(ctx, func(o *output.RemoteOptions) { o.Force = true })
}

// answering makes a test answer some requests itself.
func answering(s *storetest.Server, which func(*http.Request) bool, answer func(http.ResponseWriter, *http.Request)) {
	s.Before(func(w http.ResponseWriter, r *http.Request) bool {
		if !which(r) {
			return false
		}
		answer(w, r)
		return true
	})
}

// refuse refuses a part that has arrived: a client that is still sending it sees a broken connection.
func refuse(w http.ResponseWriter, r *http.Request, status int, code, message string) {
	_, _ = io.Copy(io.Discard, r.Body)
	storetest.Refuse(w, status, code, message)
}

func isPart(r *http.Request) bool { return r.URL.Query().Has("partNumber") && isArchive(r) }

func isCompletion(r *http.Request) bool {
	return r.Method == http.MethodPost && r.URL.Query().Has("uploadId") && isArchive(r)
}

func isArchive(r *http.Request) bool { return strings.HasSuffix(r.URL.Path, "/dir/x.tar") }

// An object appears at Commit, with all its bytes. Nothing else is left.
func TestUpload(t *testing.T) {
	for name, size := range map[string]int{"small": 1000, "one part": firstPart, "several parts": 3*firstPart + 12345} {
		t.Run(name, func(t *testing.T) {
			s, data := newStore(t), content(1, size)
			require.NoError(t, write(t.Context(), data, output.Create))
			assert.True(t, bytes.Equal(data, s.Object("dir/x.tar")))
			assert.Equal(t, []string{"dir/x.tar"}, s.Keys())
			assert.Empty(t, s.Uploads())
			assert.Empty(t, records(t))
		})
	}
}

// records returns the files that record this user's uploads.
func records(t *testing.T) []string {
	t.Helper()
	dir, err := os.UserCacheDir()
	require.NoError(t, err)
	found, err := filepath.Glob(filepath.Join(dir, "docker-archive", "uploads", "*"))
	require.NoError(t, err)
	return found
}

// At most inFlight parts are sent at the same time, so that memory is bounded.
func TestPartsInFlight(t *testing.T) {
	s, data := newStore(t), content(1, 10*firstPart)
	var now, most atomic.Int32
	full := make(chan struct{}) // closed when inFlight parts are on their way
	s.Before(func(_ http.ResponseWriter, r *http.Request) bool {
		if !isPart(r) {
			return false
		}
		n := now.Add(1)
		defer now.Add(-1)
		for old := most.Load(); n > old && !most.CompareAndSwap(old, n); old = most.Load() {
		}
		if n == inFlight {
			select {
			case <-full:
			default:
				close(full)
			}
		}
		<-full
		return false
	})
	require.NoError(t, write(t.Context(), data, output.Create))
	assert.Equal(t, int32(inFlight), most.Load())
	assert.True(t, bytes.Equal(data, s.Object("dir/x.tar")))
}

// An object that exists, or appears meanwhile, is not replaced.
func TestPlaceIsTaken(t *testing.T) {
	s := newStore(t)
	s.Put("dir/x.tar", []byte("other"))
	require.ErrorIs(t, write(t.Context(), content(1, 1000), output.Create), output.ErrNotEmpty)
	assert.Empty(t, s.Uploads())

	s = newStore(t)
	answering(s, isPart, func(w http.ResponseWriter, r *http.Request) {
		s.Before(nil)
		s.Put("dir/x.tar", []byte("other"))
		s.ServeHTTP(w, r)
	})
	require.ErrorIs(t, write(t.Context(), content(1, 1000), output.Create), output.ErrNotEmpty)
	assert.Equal(t, "other", string(s.Object("dir/x.tar")))
	assert.Empty(t, s.Uploads())
}

// Force replaces only the version at the beginning of the writing.
func TestForce(t *testing.T) {
	s, data := newStore(t), content(1, 1000)
	s.Put("dir/x.tar", []byte("other"))
	require.NoError(t, write(force(t.Context()), data, output.Create))
	assert.Equal(t, data, s.Object("dir/x.tar"))
	answering(s, isPart, func(w http.ResponseWriter, r *http.Request) {
		s.Before(nil)
		s.Put("dir/x.tar", []byte("a third one"))
		s.ServeHTTP(w, r)
	})
	require.ErrorIs(t, write(force(t.Context()), data, output.Create), output.ErrChanged)
	assert.Equal(t, "a third one", string(s.Object("dir/x.tar")))
}

// Parts are sent again to a store that throttles, fails or breaks off. A refusal ends the upload, which leaves nothing.
func TestPartsFail(t *testing.T) {
	s, data := newStore(t), content(1, 3*firstPart)
	var count atomic.Int32
	s.Before(func(w http.ResponseWriter, r *http.Request) bool {
		if !isPart(r) {
			return false
		}
		switch count.Add(1) {
		case 1, 5:
			refuse(w, r, http.StatusServiceUnavailable, "SlowDown", "Please reduce your request rate.")
		case 2:
			_, _ = io.CopyN(io.Discard, r.Body, 100_000)
			panic(http.ErrAbortHandler)
		case 3:
			refuse(w, r, http.StatusInternalServerError, "InternalError", "We encountered an internal error.")
		default:
			return false
		}
		return true
	})
	require.NoError(t, write(t.Context(), data, output.Create))
	assert.True(t, bytes.Equal(data, s.Object("dir/x.tar")))

	s = newStore(t)
	answering(s, isPart, func(w http.ResponseWriter, r *http.Request) {
		refuse(w, r, http.StatusForbidden, "AccessDenied", "Access Denied")
	})
	err := write(t.Context(), data, output.Create)
	require.ErrorContains(t, err, "403")
	assert.Empty(t, s.Keys())
	assert.Empty(t, s.Uploads())
	assert.Empty(t, records(t))
}

// A part that arrives damaged is sent again.
func TestPartIsChanged(t *testing.T) {
	s, data := newStore(t), content(1, 2*firstPart)
	answering(s, isPart, func(w http.ResponseWriter, r *http.Request) {
		s.Before(nil)
		body, _ := io.ReadAll(r.Body)
		body[100] ^= 1
		r.Body = io.NopCloser(bytes.NewReader(body))
		s.ServeHTTP(w, r)
	})
	require.NoError(t, write(t.Context(), data, output.Create))
	assert.True(t, bytes.Equal(data, s.Object("dir/x.tar")))
}

// If the answer to a completion is lost, the upload finds out whether the object was made.
func TestLostCompletion(t *testing.T) {
	for name, made := range map[string]bool{"made": true, "not made": false} {
		t.Run(name, func(t *testing.T) {
			s, data := newStore(t), content(1, 2*firstPart+1)
			answering(s, isCompletion, func(_ http.ResponseWriter, r *http.Request) {
				s.Before(nil)
				if made {
					s.ServeHTTP(httptest.NewRecorder(), r)
				}
				panic(http.ErrAbortHandler)
			})
			require.NoError(t, write(t.Context(), data, output.Create))
			assert.True(t, bytes.Equal(data, s.Object("dir/x.tar")))
			assert.Empty(t, s.Uploads())
			assert.Empty(t, records(t))
		})
	}
	t.Run("encrypted", func(t *testing.T) { // The ETags are no checksums then, and copied parts have none.
		s, old, fresh := newStore(t), content(1, 6<<20), content(2, 1000)
		s.Put("dir/x.tar", old)
		answering(s, isCompletion, func(_ http.ResponseWriter, r *http.Request) {
			s.Before(nil)
			s.ServeHTTP(httptest.NewRecorder(), r)
			s.Encrypt("dir/x.tar")
			panic(http.ErrAbortHandler)
		})
		require.NoError(t, write(t.Context(), fresh, func(ctx context.Context, path string) (*output.Output, error) {
			o, err := output.Open(ctx, path, false)
			if err == nil {
				o.Grow(old[6<<20-512:], 6<<20-512, 6<<20)
			}
			return o, err
		}))
		assert.True(t, bytes.Equal(append(old, fresh...), s.Object("dir/x.tar")))
	})
	t.Run("another one is there", func(t *testing.T) {
		s := newStore(t)
		answering(s, isCompletion, func(http.ResponseWriter, *http.Request) {
			s.Before(nil)
			s.Put("dir/x.tar", []byte("other"))
			panic(http.ErrAbortHandler)
		})
		require.ErrorIs(t, write(t.Context(), content(1, 1000), output.Create), output.ErrNotEmpty)
		assert.Equal(t, "other", string(s.Object("dir/x.tar")))
		assert.Empty(t, s.Uploads())
	})
}

// The probe detects a store that ignores conditions before the completion. Only Unconditional writes there.
func TestUnconditionalStore(t *testing.T) {
	s, data := newStore(t), content(1, 1000)
	s.Unconditional()
	err := write(t.Context(), data, output.Create)
	require.ErrorIs(t, err, errUnconditional)
	assert.Empty(t, s.Keys())
	assert.Empty(t, s.Uploads())
	ctx := output.WithRemote(t.Context(), func(o *output.RemoteOptions) { o.Unconditional = true })
	require.NoError(t, write(ctx, data, output.Create))
	assert.Equal(t, []string{"dir/x.tar"}, s.Keys())
	require.ErrorIs(t, write(ctx, data, output.Create), output.ErrNotEmpty)
}

// An upload that is aborted, or whose context ends, leaves nothing.
func TestGivenUp(t *testing.T) {
	s := newStore(t)
	o, err := output.Create(t.Context(), path)
	require.NoError(t, err)
	_, err = o.Writer().Write(content(1, 2*firstPart))
	require.NoError(t, err)
	assert.NotEmpty(t, records(t))
	require.NoError(t, o.Abort())
	assert.Empty(t, s.Uploads())
	assert.Empty(t, records(t))

	ctx, cancel := context.WithCancel(t.Context())
	answering(s, isPart, func(_ http.ResponseWriter, r *http.Request) {
		cancel()
		_, _ = io.Copy(io.Discard, r.Body) // Only then the server notices that the client has gone.
		<-r.Context().Done()
	})
	require.ErrorIs(t, write(ctx, content(1, 2*firstPart), output.Create), context.Canceled)
	s.Before(nil)
	assert.Empty(t, s.Keys())
	assert.Empty(t, s.Uploads())
}

// killed begins an upload and abandons it, like a killed process.
func killed(t *testing.T, ctx context.Context, data []byte) string {
	t.Helper()
	target, err := newTarget(ctx, path, output.RemoteOptions{})
	require.NoError(t, err)
	u := newUpload(ctx, target, output.RemoteOptions{Unconditional: true})
	_, err = u.Write(data)
	require.NoError(t, err)
	u.group.Wait()
	u.record.release() // The system does that when a process ends.
	target.client.close()
	return u.id
}

// The next run aborts the uploads of killed runs, warns of the uploads of others, and leaves running ones alone.
func TestLeftovers(t *testing.T) {
	logs := logrustest.NewGlobal()
	t.Cleanup(func() { logrus.StandardLogger().ReplaceHooks(logrus.LevelHooks{}) })
	s := newStore(t)
	own := killed(t, t.Context(), content(1, 2*firstPart))
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	foreign := killed(t, t.Context(), content(1, 2*firstPart))
	require.NoError(t, os.RemoveAll(os.Getenv("XDG_CACHE_HOME")))
	require.Len(t, s.Uploads(), 2)

	require.NoError(t, write(t.Context(), content(1, 1000), output.Create))
	require.Len(t, s.Uploads(), 2, "nobody knows whose they are")
	var said []string
	for _, e := range logs.AllEntries() {
		said = append(said, e.Message)
	}
	for _, id := range []string{own, foreign} {
		assert.Contains(t, strings.Join(said, "\n"), "--abort-upload "+id)
	}

	ctx := output.WithRemote(force(t.Context()), func(o *output.RemoteOptions) { o.AbortUpload = foreign })
	require.NoError(t, write(ctx, content(1, 1000), output.Create))
	assert.NotContains(t, s.Uploads(), foreign)

	mine := killed(t, t.Context(), content(1, 2*firstPart))
	busy, err := output.Create(force(t.Context()), path)
	require.NoError(t, err)
	assert.NotContains(t, s.Uploads(), mine, "it was left by a run of this user")
	_, err = busy.Writer().Write(content(1, 2*firstPart))
	require.NoError(t, err)
	require.NoError(t, write(force(t.Context()), content(2, 1000), output.Create))
	assert.Len(t, s.Uploads(), 2, "that of others, and the one that goes on")
	require.NoError(t, busy.Abort())
}

// Resuming sends only parts that the store lacks, or has with other bytes.
func TestResume(t *testing.T) {
	s, data := newStore(t), content(1, 4*firstPart+1000)
	answering(s, func(r *http.Request) bool { return isPart(r) && r.URL.Query().Get("partNumber") == "4" }, func(w http.ResponseWriter, r *http.Request) {
		for len(s.Uploads()[r.URL.Query().Get("uploadId")]) == 0 {
			runtime.Gosched() // Wait for a part.
		}
		refuse(w, r, http.StatusForbidden, "AccessDenied", "Access Denied")
	})
	require.Error(t, write(t.Context(), data, output.CreatePartial))
	there := s.Uploads()
	require.Len(t, there, 1)
	var sent sync.Map
	s.Before(func(_ http.ResponseWriter, r *http.Request) bool {
		if isPart(r) {
			sent.Store(r.URL.Query().Get("partNumber"), true)
		}
		return false
	})
	data[len(data)-1] ^= 1 // The last part differs now.
	require.NoError(t, write(t.Context(), data, output.CreatePartial))
	assert.True(t, bytes.Equal(data, s.Object("dir/x.tar")))
	for _, parts := range there {
		require.NotEmpty(t, parts)
		for _, number := range parts {
			_, again := sent.Load(strconv.Itoa(number))
			assert.Equal(t, number == 5, again, "part %d", number)
		}
	}
	assert.Empty(t, s.Uploads())
	assert.Empty(t, records(t))
}

// For the next version of an object, the store copies the bytes of the old one.
func TestSuccessor(t *testing.T) {
	copiedPart = 8 << 20
	t.Cleanup(func() { copiedPart = 128 << 20 })
	for name, kept := range map[string]int{"copied": 20<<20 + 5, "sent again": 1 << 20} {
		t.Run(name, func(t *testing.T) {
			s := newStore(t)
			old := content(1, 1<<20)
			for len(old) < kept {
				old = append(old, old...)
			}
			old = old[:kept]
			s.Put("dir/x.tar", append(bytes.Clone(old), "the rest"...))
			grow := func(ctx context.Context, path string) (*output.Output, error) {
				o, err := output.Open(ctx, path, false)
				if err == nil {
					o.Grow([]byte("THE "), int64(kept), int64(kept+8))
				}
				return o, err
			}
			fresh := content(2, 2<<20)
			require.NoError(t, write(t.Context(), fresh, grow))
			assert.True(t, bytes.Equal(append(append(old, "THE rest"...), fresh...), s.Object("dir/x.tar")))
			if kept > minPart {
				assert.Less(t, s.Received(), int64(len(fresh)+1000))
			}
			assert.Empty(t, s.Uploads())

			answering(s, isCompletion, func(w http.ResponseWriter, r *http.Request) {
				s.Before(nil)
				s.Put("dir/x.tar", []byte("other"))
				s.ServeHTTP(w, r)
			})
			require.ErrorIs(t, write(t.Context(), fresh, grow), output.ErrChanged)
			assert.Equal(t, "other", string(s.Object("dir/x.tar")))
			assert.Empty(t, s.Uploads())
		})
	}
}

// 10,000 parts suffice for 5 TB, whether the size is known or not, and are no larger than necessary.
func TestSizes(t *testing.T) {
	const most = 5 << 40
	for _, expects := range []int64{0, 1, 1 << 30, 60 << 30, 100 << 30, 1 << 40, most} {
		s := sizesFor(expects, 0)
		total, first := int64(0), s.of(1)
		for number := 1; number <= maxParts; number++ {
			size := s.of(number)
			assert.LessOrEqual(t, size, int64(maxPart))
			if total < expects {
				assert.Equal(t, first, size, "parts of an expected size are the same")
			}
			total += size
		}
		assert.GreaterOrEqual(t, total, int64(most), expects)
	}
	assert.Equal(t, int64(firstPart), sizesFor(60<<30, 0).base)
	assert.Equal(t, int64(2*firstPart), sizesFor(100<<30, 0).base)
}

// A buffer that a failed request may still be reading is not filled again.
func TestBuffers(t *testing.T) {
	s := newStore(t)
	u := begin(t, "dir/x.tar", output.RemoteOptions{Unconditional: true})
	_, err := u.Write(content(1, firstPart))
	require.NoError(t, err)
	u.group.Wait()
	assert.Len(t, u.free, 1)
	answering(s, isPart, func(w http.ResponseWriter, r *http.Request) {
		s.Before(nil)
		refuse(w, r, http.StatusServiceUnavailable, "SlowDown", "Please reduce your request rate.")
	})
	_, err = u.Write(content(1, firstPart))
	require.NoError(t, err)
	u.group.Wait()
	assert.Empty(t, u.free)
	require.NoError(t, u.Abort())
}
