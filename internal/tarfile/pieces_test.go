package tarfile

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/internal/local"
)

// inPieces is a File of several files of a few bytes.
type inPieces struct {
	files []*local.File
	size  int64
}

func newPieces(t *testing.T, number int, size int64) *inPieces {
	p := &inPieces{size: size}
	for i := range number {
		f, err := os.Create(filepath.Join(t.TempDir(), fmt.Sprint(i)))
		require.NoError(t, err)
		t.Cleanup(func() { f.Close() })
		p.files = append(p.files, local.NewFile(f, f.Name()))
	}
	return p
}

func (p *inPieces) Piece(off int64) (*local.File, int64, int64, error) {
	if off >= p.size*int64(len(p.files)) {
		return nil, 0, 0, io.ErrShortWrite
	}
	return p.files[off/p.size], off % p.size, p.size - off%p.size, nil
}

func (p *inPieces) each(b []byte, off int64, do func(f *local.File, b []byte, at int64) (int, error)) (int, error) {
	done := 0
	for done < len(b) {
		f, at, n, err := p.Piece(off + int64(done))
		if err != nil {
			return done, err
		}
		m, err := do(f, b[done:][:min(n, int64(len(b)-done))], at)
		if done += m; err != nil && err != io.EOF || m == 0 {
			return done, err
		}
	}
	return done, nil
}

func (p *inPieces) ReadAt(b []byte, off int64) (int, error) {
	return p.each(b, off, (*local.File).ReadAt)
}

func (p *inPieces) WriteAt(b []byte, off int64) (int, error) {
	return p.each(b, off, (*local.File).WriteAt)
}

func (p *inPieces) Truncate(int64) error { return nil }

// Ranges are moved between files in pieces, and within one, wherever they begin and end.
func TestMoveAcrossPieces(t *testing.T) {
	data := []byte("0123456789abcdefghijklmnopqrstuvwxyz")
	whole := newPieces(t, 1, 1000)
	_, err := whole.WriteAt(data, 0)
	require.NoError(t, err)
	for _, from := range []int64{0, 3, 7, 10} {
		for _, to := range []int64{0, 1, 7, 13, 20, 40} {
			for _, n := range []int64{0, 1, 4, 7, 15, 20} {
				p := newPieces(t, 12, 7)
				_, err := p.WriteAt(bytes.Repeat([]byte("."), 84), 0)
				require.NoError(t, err)
				// From one file.
				require.NoError(t, moveRange(p, to, whole.files[0], from, n))
				got := make([]byte, n)
				_, err = p.ReadAt(got, to)
				require.NoError(t, err)
				assert.Equal(t, string(data[from:from+n]), string(got))
				// Within the pieces, where they may overlap.
				_, err = p.WriteAt(data, 0)
				require.NoError(t, err)
				require.NoError(t, moveRange(p, to, p, from, n))
				_, err = p.ReadAt(got, to)
				require.NoError(t, err)
				assert.Equal(t, string(data[from:from+n]), string(got), "%d bytes from %d to %d", n, from, to)
			}
		}
	}
	p := newPieces(t, 2, 7)
	require.ErrorIs(t, moveRange(p, 0, whole.files[0], 0, 15), io.ErrShortWrite)
	done, err := kernelCopyPieces(p, 14, whole.files[0], 0, 1)
	require.ErrorIs(t, err, io.ErrShortWrite)
	assert.Zero(t, done)
	done, err = kernelCopyPieces(whole.files[0], 0, p, 14, 1)
	require.ErrorIs(t, err, io.ErrShortWrite)
	assert.Zero(t, done)
}
