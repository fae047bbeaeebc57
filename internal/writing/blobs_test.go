package writing

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"io"
	"slices"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/internal/tarfile"
)

var someDigest = digest.FromString("some blob")

// found is the result of find.
type found struct {
	blob  receivedBlob
	ok    bool
	err   error
	after time.Duration
}

// findLater looks for a blob in a goroutine.
func findLater(ctx context.Context, s *blobSet, owner Owner) <-chan found {
	c := make(chan found, 1)
	go func() {
		start := time.Now()
		blob, ok, err := s.find(ctx, owner, someDigest)
		c <- found{blob, ok, err, time.Since(start)}
	}()
	return c
}

// Find waits a limited time for an owner that has promised a blob and does not
// deliver it, and then the next one has promised it.
func TestClaimsExpire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newBlobSet()
		_, ok, err := s.find(t.Context(), "one", someDigest)
		require.NoError(t, err)
		require.False(t, ok)
		two := findLater(t.Context(), s, "two")
		synctest.Wait()
		three := findLater(t.Context(), s, "three")
		waits := []found{<-two, <-three}
		slices.SortFunc(waits, func(a, b found) int { return cmp.Compare(a.after, b.after) })
		assert.Equal(t, []found{{after: claimPatience}, {after: 2 * claimPatience}}, waits)

		// In the end it comes from the first of them, and the others have nothing to do.
		_, known, err := s.begin(t.Context(), "one", someDigest)
		require.NoError(t, err)
		require.False(t, known)
		four := findLater(t.Context(), s, "four")
		s.release("two") // Not theirs any more.
		s.release("three")
		time.Sleep(5 * claimPatience)
		synctest.Wait()
		assert.Empty(t, four, "a blob that has begun is waited for")
		blob := receivedBlob{&storedBlob{digest: someDigest}, 7}
		s.end(someDigest, blob, true)
		assert.Equal(t, found{blob, true, nil, 5 * claimPatience}, <-four)
		assert.Empty(t, s.claims)
	})
}

// Patience does not run out while the blob arrives, though it began to be waited
// for before that.
func TestClaimsThatBeginDoNotExpire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newBlobSet()
		_, _, err := s.find(t.Context(), "one", someDigest)
		require.NoError(t, err)
		two := findLater(t.Context(), s, "two")
		synctest.Wait()
		_, _, err = s.begin(t.Context(), "one", someDigest)
		require.NoError(t, err)
		time.Sleep(10 * claimPatience)
		synctest.Wait()
		require.Empty(t, two)
		blob := receivedBlob{&storedBlob{digest: someDigest}, 7}
		s.end(someDigest, blob, true)
		assert.Equal(t, found{blob, true, nil, 10 * claimPatience}, <-two)
	})
}

// A claim ends at once when it is released, when its blob fails, or with the
// waiting caller's context.
func TestClaimsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, begun := range []bool{false, true} {
			s := newBlobSet()
			_, _, err := s.find(t.Context(), "one", someDigest)
			require.NoError(t, err)
			if begun {
				_, _, err := s.begin(t.Context(), "one", someDigest)
				require.NoError(t, err)
			}
			ctx, cancel := context.WithCancelCause(t.Context())
			gone := errors.New("gone")
			impatient, two := findLater(ctx, s, "impatient"), findLater(t.Context(), s, "two")
			synctest.Wait()
			cancel(gone)
			assert.Equal(t, found{err: gone}, <-impatient)
			s.release("somebody")
			synctest.Wait()
			assert.Empty(t, two)
			s.release("one")
			synctest.Wait()
			if begun {
				assert.Empty(t, two, "what has begun is not released")
				s.end(someDigest, receivedBlob{}, false)
			}
			assert.Equal(t, found{}, <-two)
			assert.Equal(t, "two", s.claims[someDigest].owner)
		}
	})
}

// A blob that is on its way is not delivered twice, from any owner.
func TestBeginWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newBlobSet()
		_, known, err := s.begin(t.Context(), "one", someDigest)
		require.NoError(t, err)
		require.False(t, known)
		done := make(chan bool)
		go func() {
			_, known, err := s.begin(t.Context(), "two", someDigest)
			assert.NoError(t, err)
			done <- known
		}()
		synctest.Wait()
		s.end(someDigest, receivedBlob{&storedBlob{}, 1}, true)
		assert.True(t, <-done)
	})
}

// An existing blob is not read again: under the digest by which it was received, or
// that of its content, and also if the digest was not known before.
func TestPutOfWhatIsThere(t *testing.T) {
	unread := iotest.ErrReader(errors.New("read though it is there"))
	for name, l := range layouts {
		a := newTestArchive(t, l, nil)
		z := zipped(1, 3000)
		d, size, err := a.Put(t.Context(), "test", bytes.NewReader(z.blob), "", -1)
		require.NoError(t, err)
		assert.Equal(t, z.digest(), d)
		assert.EqualValues(t, len(z.blob), size)
		known := map[digest.Digest]int{z.digest(): len(z.blob)}
		if l.Unpacks() {
			known[digest.FromBytes(z.diff)] = len(z.diff)
		}
		for d, n := range known {
			size, ok, err := a.Find(t.Context(), "other", d)
			require.NoError(t, err)
			assert.True(t, ok, name)
			assert.EqualValues(t, n, size, name)
			_, size, err = a.Put(t.Context(), "other", unread, d, -1)
			require.NoError(t, err)
			assert.EqualValues(t, n, size, name)
		}
	}
}

// Bytes after the end of compressed data are not part of the layer, but an error.
// In a layer stored as it is received, they are allowed.
func TestTrailingBytes(t *testing.T) {
	for _, trailing := range [][]byte{[]byte("x"), []byte("\x1f\x8b"), bytes.Repeat([]byte("junk"), 50_000)} {
		l := zipped(1, 3000)
		l.blob = append(bytes.Clone(l.blob), trailing...)
		a := newTestArchive(t, layouts["docker"], nil)
		require.Error(t, put(a.Archive, l), "%.10q", trailing)
		_, ok, err := a.Find(t.Context(), "test", l.digest())
		require.NoError(t, err)
		assert.False(t, ok)
		require.NoError(t, put(newTestArchive(t, layouts["oci"], nil).Archive, l))
	}
}

// A blob that fails, at any byte, leaves nothing, and it may come again.
func TestPutFails(t *testing.T) {
	failure := errors.New("no luck")
	for _, l := range layouts {
		for _, layer := range []testLayer{plain(1, 3000), zipped(1, 3000)} {
			m := newImage(t, "m", layer)
			want := written(t, l, m)
			a := newTestArchive(t, l, nil)
			for at := 0; at <= len(layer.blob); at += max(1, len(layer.blob)/7) {
				r := io.MultiReader(bytes.NewReader(layer.blob[:at]), iotest.ErrReader(failure))
				_, _, err := a.Put(t.Context(), "test", r, layer.digest(), -1)
				require.ErrorIs(t, err, failure)
			}
			for _, size := range []int64{0, int64(len(layer.blob)) - 1, int64(len(layer.blob)) + 1} {
				_, _, err := a.Put(t.Context(), "test", bytes.NewReader(layer.blob), layer.digest(), size)
				require.Error(t, err, "announced as %d bytes", size)
			}
			require.NoError(t, write(a.Archive, m))
			assert.True(t, bytes.Equal(want, read(t, a.path)))
		}
	}
}

// A caller that completes a blob may be writing to a pipe that nobody drains:
// others wait for that no longer than their contexts last.
func TestAddEndsWithItsContext(t *testing.T) {
	s := newBlobSet()
	require.NoError(t, s.adding.acquire(t.Context()))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := s.add(ctx, storedBlob{digest: digest.FromString("x")}, func() (*tarfile.Entry, error) { return nil, nil })
	require.ErrorIs(t, err, context.Canceled)
	s.adding.release()
	_, err = s.add(t.Context(), storedBlob{digest: digest.FromString("x")}, func() (*tarfile.Entry, error) { return nil, nil })
	require.NoError(t, err)
}
