package tarfile

import (
	"context"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// cancelling is a file that keeps nothing, and cancels when it is written to.
type cancelling struct {
	File
	cancel  context.CancelFunc
	written int64
}

func (f *cancelling) WriteAt(p []byte, _ int64) (int, error) {
	f.cancel()
	f.written += int64(len(p))
	return len(p), nil
}

// Law 8: the copy of an archive ends with its context.
func TestWriteWithTailEndsWithItsContext(t *testing.T) {
	const size = 3 * copyPiece
	f := tempFile(t) // Most of it is a hole.
	_, err := f.WriteAt(claim(size), 0)
	require.NoError(t, err)
	require.NoError(t, f.Truncate(size+3*blockSize))
	x, err := NewIndex(t.Context(), f, size+3*blockSize)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	to := &cancelling{File: tempFile(t), cancel: cancel}
	_, err = x.WriteWithTail(ctx, to, nil)
	require.ErrorIs(t, err, context.Canceled)
	assert.EqualValues(t, copyPiece, to.written)
}
