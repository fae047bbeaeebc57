package tarfile

import (
	"archive/tar"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// largestWrite is a file that notes how much is written at once.
type largestWrite struct {
	File
	most int
}

// WriteAt implements io.WriterAt.
func (f *largestWrite) WriteAt(p []byte, off int64) (int, error) {
	f.most = max(f.most, len(p))
	return f.File.WriteAt(p, off)
}

// Law 6: an image of 30,000 layers has 90,000 small entries, which take 90 MB. They are not
// in memory at once as they are written.
func TestLaw6SmallEntriesAreWrittenInPieces(t *testing.T) {
	small := make([]Small, 20_000)
	for n := range small {
		small[n] = Small{Header: &tar.Header{Typeflag: tar.TypeReg, Name: fmt.Sprintf("%d/json", n), Mode: 0o444}, Data: []byte("{}")}
	}
	path := filepath.Join(t.TempDir(), "archive.tar")
	created, err := os.Create(path)
	require.NoError(t, err)
	defer created.Close()
	f := &largestWrite{File: created}
	w := NewFileWriter(f, 0, t.TempDir())
	require.NoError(t, w.Seal(t.Context(), nil, nil, List(small...)))
	require.NoError(t, w.Close(t.Context()))
	assert.LessOrEqual(t, f.most, smallUnit)
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.Len(t, data, 20_000*1024+1024)
	index, err := NewIndex(t.Context(), strings.NewReader(string(data)), int64(len(data)))
	require.NoError(t, err)
	assert.True(t, index.Has("19999/json"))
}
