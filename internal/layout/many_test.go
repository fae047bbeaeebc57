package layout

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/internal/image"
)

// allocated returns how many bytes f allocates, which is how much it works: it looks at nothing
// that it does not put somewhere.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// An image may get tens of thousands of names, one at a time: as much is done for the last
// as for the first.
func TestAddManyNames(t *testing.T) {
	for kind, read := range map[string]func(old Archive) (Table, error){
		"image":        func(Archive) (Table, error) { return OCI{Metadata: plainMetadata()}.NewTable(), nil },
		"docker":       func(Archive) (Table, error) { return Docker{Metadata: plainMetadata()}.NewTable(), nil },
		"names change": func(old Archive) (Table, error) { return OCI{Metadata: plainMetadata()}.ReadTable(old) },
	} {
		t.Run(kind, func(t *testing.T) {
			few, many := bytesForName(t, read, kind == "names change", 250), bytesForName(t, read, kind == "names change", 1000)
			t.Logf("%d, then %d bytes for a name", few, many)
			assert.Less(t, many, 2*few) // Four times as much if each name looks at all others.
		})
	}
}

// bytesForName returns the bytes allocated for each name, if one image gets so many names, or
// they move to it.
func bytesForName(t *testing.T, read func(old Archive) (Table, error), move bool, count int) uint64 {
	t.Helper()
	var listed []string
	for n := range count {
		listed = append(listed, fmt.Sprintf(`{"digest":"sha256:%s","annotations":{"io.containerd.image.name":"example.com/app:%d"}}`, otherHex, n))
	}
	table, err := read(oldArchive{
		"index.json":    `{"manifests":[` + strings.Join(listed, ",") + `]}`,
		"manifest.json": `[]`,
	})
	require.NoError(t, err)
	var images []*image.Image
	for n := range count {
		images = append(images, testImage(t, "one", fmt.Sprintf("example.com/app:%d", n)))
	}
	bytes := allocated(func() {
		for _, img := range images {
			if move {
				require.NoError(t, table.Remove(t.Context(), table.Taken(img), false))
			}
			assert.Empty(t, table.SameTags(img))
			require.NoError(t, table.Add(img))
		}
	})
	tail := tailOf(t, table)
	assert.Equal(t, count, strings.Count(tail["manifest.json"], "example.com/app:"))
	assert.Contains(t, []int{0, count}, strings.Count(tail["index.json"], containerdName))
	assert.NotContains(t, tail["index.json"], otherHex)
	return bytes / uint64(count)
}
