package async

import (
	"bytes"
	"compress/gzip"
	"io"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/internal/compression"
)

// endless is a source that never ends.
type endless struct{}

// Read implements io.Reader.
func (endless) Read(p []byte) (int, error) { return len(p), nil }

// lent returns how many of all shared buffers are in use.
func lent() int { return len(lentToReaders) + len(lentToWriters) }

// However many streams there are, each has no more than its own buffers and a share of the others,
// and all are given back.
func TestBuffersAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var readers []*Reader
		for range 50 {
			r := NewReader(t.Context(), endless{})
			_, err := io.CopyN(io.Discard, r, (waiting+2)*bufferSize)
			require.NoError(t, err)
			readers = append(readers, r)
		}
		goOn := make(chan struct{})
		written := 0
		w := NewWriter(io.Discard, writerFunc(func(p []byte) (int, error) {
			if written++; written > waiting+1 {
				<-goOn
			}
			return len(p), nil
		}))
		done := make(chan struct{})
		go func() {
			defer close(done)
			_, err := w.Write(make([]byte, 50*bufferSize))
			assert.NoError(t, err)
		}()
		synctest.Wait()
		for _, r := range readers {
			assert.Len(t, r.buffers.own, ownBuffers)
		}
		assert.Len(t, w.buffers.own, ownBuffers)
		assert.Len(t, lentToReaders, sharedByReaders)
		assert.Len(t, lentToWriters, sharedByWriters)
		close(goOn)
		<-done
		require.NoError(t, w.Close())
		for _, r := range readers {
			require.NoError(t, r.Close())
			assert.Empty(t, r.buffers.own)
		}
		assert.Zero(t, lent())
	})
}

// Streams that wait from the beginning, for their turn to be written, leave all shared buffers to
// the one that they wait for, whatever their unpackers take in before they give anything out.
func TestWaitingStreamsShareNothing(t *testing.T) {
	for _, algorithm := range []compression.Algorithm{compression.None, compression.Gzip, compression.Zstd} {
		blob := packed(t, random(20*bufferSize), algorithm)
		synctest.Test(t, func(t *testing.T) {
			turn := make(chan struct{})
			var all sync.WaitGroup
			for range 3 {
				all.Go(func() {
					r := NewReader(t.Context(), bytes.NewReader(blob))
					unpacked, err := compression.NewReader(r, algorithm)
					if !assert.NoError(t, err) {
						return
					}
					w := NewWriter(io.Discard, writerFunc(func(p []byte) (int, error) {
						<-turn
						return len(p), nil
					}))
					_, err = io.Copy(w, unpacked)
					assert.NoError(t, err)
					assert.NoError(t, w.Close())
					assert.NoError(t, unpacked.Close())
					assert.NoError(t, r.Close())
				})
			}
			synctest.Wait()
			assert.Zero(t, lent(), algorithm)
			close(turn)
			all.Wait()
			assert.Zero(t, lent(), algorithm)
		})
	}
}

// packed returns data that is compressed, and no smaller.
func packed(t *testing.T, data []byte, algorithm compression.Algorithm) []byte {
	t.Helper()
	var out bytes.Buffer
	var w io.WriteCloser
	var err error
	switch algorithm {
	case compression.None:
		return data
	case compression.Gzip:
		w, err = gzip.NewWriterLevel(&out, gzip.HuffmanOnly)
		require.NoError(t, err)
	default:
		w, err = zstd.NewWriter(&out)
		require.NoError(t, err)
	}
	_, err = w.Write(data)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return out.Bytes()
}

// A stream gets on with its own buffers, though all shared ones are in use and nobody gives one back.
func TestOwnBuffersAreEnough(t *testing.T) {
	for _, tokens := range []chan struct{}{lentToReaders, lentToWriters} {
		for range cap(tokens) {
			tokens <- struct{}{}
		}
		defer func() {
			for range cap(tokens) {
				<-tokens
			}
		}()
	}
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
		r := NewReadCloser(t.Context(), &followed{io.MultiReader(bytes.NewReader(random(bufferSize)), source), func(_ []byte, err error) error { return err }})
		<-source.hangs
		require.NoError(t, r.Close())
		close(source.goOn)
		<-r.stopped
		assert.Empty(t, r.buffers.own)
		assert.Zero(t, lent())
	})
}

// Close implements io.Closer.
func (f *followed) Close() error { return nil }
