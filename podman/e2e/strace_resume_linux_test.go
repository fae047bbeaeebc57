package e2e_test

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// What save --resume writes is synced before it gets its name, too.
func TestResumedSyncsAreSeenFromOutside(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	require.NoError(t, err)
	path := filepath.Join(dir, "resumed.tar")
	assertSyncedBeforeNamed(t, dir, path, traced(t, dir, "resume", "docker:"+path))
}
