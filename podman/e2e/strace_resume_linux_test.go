package e2e_test

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// save --resume, too, syncs an archive before it gets its name.
func TestResumedSyncsAreSeenFromOutside(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	require.NoError(t, err)
	path := filepath.Join(dir, "resumed.tar")
	assertSyncedBeforeNamed(t, dir, path, traced(t, dir, "resume", "docker:"+path))
}
