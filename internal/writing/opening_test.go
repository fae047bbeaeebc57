package writing

import (
	"archive/tar"
	"bufio"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/internal/layout"
	"github.com/dockerarchive/dockerarchive/internal/output"
)

// Law 6: to open an archive that is going to be changed takes a fixed amount of memory
// for each of its entries, and work in proportion to their number.
func TestLaw6OpeningManyEntries(t *testing.T) {
	const few, many = 10_000, 100_000
	l := layouts["oci"]
	archive := written(t, l, newImage(t, "m", plain(1, 100)))
	_, small := opened(t, l, withEntries(t, archive, few))
	kept, large := opened(t, l, withEntries(t, archive, many))
	assert.Less(t, large, small*many/few*5/4, "bytes allocated")
	assert.Less(t, kept/many, uint64(400), "bytes kept for an entry")
}

// withEntries returns an archive with so many entries more at its start.
func withEntries(t *testing.T, archive []byte, n int) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "archive.tar")
	f, err := os.Create(path)
	require.NoError(t, err)
	defer f.Close()
	var header bytes.Buffer
	w := tar.NewWriter(&header)
	require.NoError(t, w.WriteHeader(&tar.Header{Name: strings.Repeat("9", 6) + strings.Repeat("0", 6) + "/of a layer", Typeflag: tar.TypeReg, Mode: 0o444}))
	b := bufio.NewWriter(f)
	for i := range n {
		// Names with the same sum of bytes, so that one checksum is right for all.
		copy(header.Bytes(), fmt.Sprintf("%06d%06d", i, 999_999-i))
		_, err := b.Write(header.Bytes())
		require.NoError(t, err)
	}
	_, err = b.Write(archive)
	require.NoError(t, err)
	require.NoError(t, b.Flush())
	return path
}

// opened opens an archive to change it, and returns how much memory that keeps, and
// how much it has used in total.
func opened(t *testing.T, l layout.Layout, path string) (kept, used uint64) {
	t.Helper()
	out, err := output.Open(t.Context(), path, false)
	require.NoError(t, err)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	e, err := ReadExisting(t.Context(), out, []layout.Layout{l})
	require.NoError(t, err)
	runtime.GC()
	runtime.ReadMemStats(&after)
	require.Len(t, e.Catalog().Images(), 1)
	require.NoError(t, out.Abort())
	return after.HeapAlloc - min(before.HeapAlloc, after.HeapAlloc), after.TotalAlloc - before.TotalAlloc
}
