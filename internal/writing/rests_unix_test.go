//go:build unix

package writing

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/internal/output"
	"github.com/dockerarchive/dockerarchive/internal/tarfile"
)

// writtenFile notes how much is written, and how far.
type writtenFile struct {
	tarfile.File
	bytes, end int64
}

func (f *writtenFile) WriteAt(p []byte, off int64) (int, error) {
	f.bytes += int64(len(p))
	f.end = max(f.end, off+int64(len(p)))
	return f.File.WriteAt(p, off)
}

// A layer that is decompressed and was not complete goes to the gap that was left for it,
// so that nothing has to be moved.
func TestRestsLeaveGaps(t *testing.T) {
	layers := []testLayer{randomLayer(1, 400_000), randomLayer(2, 300_000), randomLayer(3, 200_000)}
	m := newImage(t, "m", layers...)
	l := layouts["docker"]
	want := written(t, l, m)
	for missing := range layers[:2] {
		left := append([]byte{}, want[:3*512+900_000+2*512]...)
		start := missing * (512 + 400_384) // Blocks of 512.
		clear(left[start : start+512+len(layers[missing].diff)])
		path := filepath.Join(t.TempDir(), "archive.tar")
		require.NoError(t, os.WriteFile(path+output.PartialSuffix, left, 0o600))
		out, err := output.CreatePartial(t.Context(), path)
		require.NoError(t, err)
		file := &writtenFile{File: out.File()}
		a, err := newArchive(t.Context(), out, tarfile.NewFileWriter(file, 0, t.TempDir()), path, Options{
			Layout: l, Plan: plan(m), ReadEnd: endsOf(layers), Rests: func(digest.Digest) bool { return true },
		})
		require.NoError(t, err)
		for i, layer := range layers {
			assert.Equal(t, i != missing, a.Assume(layer.digest(), int64(len(layer.blob)), digest.FromBytes(layer.diff)))
		}
		require.NoError(t, write(a, m))
		assert.Equal(t, want, read(t, path))
		assert.LessOrEqual(t, file.end, int64(len(want)), "nothing was written behind")
		assert.Less(t, file.bytes, int64(len(layers[missing].diff)+20_000), "nothing was moved")
	}
}
