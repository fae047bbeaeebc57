package local

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Zeros are written over a hole, or it would be taken for missing data.
func TestKeepSameFillsHoles(t *testing.T) {
	raw, err := os.Create(filepath.Join(t.TempDir(), "raw"))
	require.NoError(t, err)
	f := NewFile(raw, "shown")
	defer f.Close()
	f.KeepSame()
	require.NoError(t, f.Truncate(1<<20))
	require.Zero(t, f.Written(0, 1<<20))
	zeros := make([]byte, 1<<16)
	for off := int64(0); off < 1<<18; off += 1 << 16 {
		_, err = f.WriteAt(zeros, off)
		require.NoError(t, err)
	}
	assert.EqualValues(t, 1<<18, f.Written(0, 1<<20))
}
