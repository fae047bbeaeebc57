package async

import (
	"bytes"
	"io"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// endless is a source that never ends.
type endless struct{}

// Read implements io.Reader.
func (endless) Read(p []byte) (int, error) { return len(p), nil }

// used returns how many of all shared buffers are in use.
func used() int { return len(shared) }

// However many streams there are, each has no more than its own buffers and a share of the others,
// and all are given back.
func TestBuffersAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var readers []*Reader
		for range 50 {
			r := NewReader(t.Context(), endless{})
			_, err := r.Peek(1)
			require.NoError(t, err)
			readers = append(readers, r)
		}
		goOn := make(chan struct{})
		w := NewWriter(io.Discard, writerFunc(func(p []byte) (int, error) {
			<-goOn
			return len(p), nil
		}))
		written := make(chan struct{})
		go func() {
			defer close(written)
			_, err := w.Write(make([]byte, 20*bufferSize))
			assert.NoError(t, err)
		}()
		synctest.Wait()
		for _, r := range readers {
			assert.Len(t, r.buffers.own, ownBuffers)
		}
		assert.Len(t, w.buffers.own, ownBuffers)
		assert.Equal(t, sharedBuffers, used())
		close(goOn)
		<-written
		require.NoError(t, w.Close())
		for _, r := range readers {
			require.NoError(t, r.Close())
			assert.Empty(t, r.buffers.own)
		}
		assert.Zero(t, used())
	})
}

// A stream gets on with its own buffers, though all shared ones are in use and nobody gives one back.
func TestOwnBuffersAreEnough(t *testing.T) {
	for range sharedBuffers {
		require.True(t, lend())
	}
	require.False(t, lend())
	defer func() {
		for range sharedBuffers {
			<-shared
		}
	}()
	want := random(20*bufferSize + 3)
	var seen, first, second bytes.Buffer
	r := NewReader(t.Context(), &followed{bytes.NewReader(want), func(p []byte, err error) error {
		seen.Write(p)
		return err
	}})
	w := NewWriter(&first, &second)
	_, err := r.WriteTo(w)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	require.NoError(t, r.Close())
	for _, got := range []*bytes.Buffer{&seen, &first, &second} {
		assert.True(t, bytes.Equal(want, got.Bytes()))
	}
}

// The buffers of a source that hangs are given back when it returns, which is after Close.
func TestHangingSourceGivesItsBuffersBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := newHanging()
		r := NewReadCloser(t.Context(), &followed{io.MultiReader(bytes.NewReader(random(2*bufferSize)), source), func(_ []byte, err error) error { return err }})
		<-source.hangs
		require.NoError(t, r.Close())
		close(source.goOn)
		<-r.stopped
		assert.Empty(t, r.buffers.own)
		assert.Zero(t, used())
	})
}

// Close implements io.Closer.
func (f *followed) Close() error { return nil }
