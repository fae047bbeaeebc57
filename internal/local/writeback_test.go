package local

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The system is told to begin while there is more to write, and only if it matters.
func TestWriteBackEarly(t *testing.T) {
	real := startWriteBack
	defer func() { startWriteBack = real }()
	for _, early := range []bool{true, false} {
		asked := make(chan struct{}, 1)
		startWriteBack = func(f *os.File) {
			real(f)
			asked <- struct{}{}
		}
		raw, err := os.Create(filepath.Join(t.TempDir(), "raw"))
		require.NoError(t, err)
		f := NewFile(raw, "shown")
		if early {
			f.WriteBackEarly()
		}
		chunk := make([]byte, writeBackEvery/2)
		_, err = f.WriteAt(chunk, 0)
		require.NoError(t, err)
		assert.Empty(t, asked, "too little")
		_, err = f.WriteAt(chunk, 1)
		require.NoError(t, err)
		if early {
			<-asked
		}
		assert.Empty(t, asked)
		require.NoError(t, f.Sync())
		require.NoError(t, f.Close())
		require.Error(t, f.Sync())
	}
}
