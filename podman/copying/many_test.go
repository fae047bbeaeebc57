package copying_test

import (
	"fmt"
	"path/filepath"
	"runtime"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/types"

	dockerarchive "github.com/dockerarchive/dockerarchive/podman"
	"github.com/dockerarchive/dockerarchive/podman/copying"
	"github.com/dockerarchive/dockerarchive/podman/internal/imagetest"
	"github.com/dockerarchive/dockerarchive/progress"
)

// Tens of thousands of names of one image are saved and compacted with as much work for
// the last as for the first, and without a goroutine for each. Work is counted as the bytes
// that are allocated for it: code that copies a table for each name allocates more.
func TestManyNames(t *testing.T) {
	few, many := bytesForNames(t, 250), bytesForNames(t, 1000)
	for what, bytes := range many {
		t.Logf("%s: %d, then %d bytes for a name", what, few[what], bytes)
		assert.Less(t, bytes, 2*few[what], what) // Four times as much if each name looks at all others.
	}
}

// bytesForNames returns the bytes that are allocated for each of count names of one image, by
// operation.
func bytesForNames(t *testing.T, count int) map[string]uint64 {
	t.Helper()
	bytes := map[string]uint64{}
	trust, m := imagetest.Trusting(t), imagetest.Small(t)
	var images []copying.SaveImage
	for n := range count {
		name, err := reference.ParseNormalizedNamed(fmt.Sprintf("example.com/app:%d", n))
		require.NoError(t, err)
		images = append(images, copying.SaveImage{Source: m, Name: name})
	}
	var mu sync.Mutex
	goroutines := 0
	look := func(progress.Event) {
		mu.Lock()
		defer mu.Unlock()
		goroutines = max(goroutines, runtime.NumGoroutine())
	}
	counted := func(what string, f func() error) {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		require.NoError(t, f(), what)
		runtime.ReadMemStats(&after)
		bytes[what] = (after.TotalAlloc - before.TotalAlloc) / uint64(count)
	}
	for _, transport := range []types.ImageTransport{dockerarchive.ImageTransport, dockerarchive.Transport} {
		file := filepath.Join(t.TempDir(), "many.tar")
		reading := copying.Reading{SourceCtx: imagetest.Isolated(), Progress: look}
		counted("save to "+transport.Name(), func() error {
			_, err := copying.Save(t.Context(), trust, file, images, &copying.SaveOptions{Reading: reading, Transport: transport, NoSync: true})
			return err
		})
		counted("compact "+transport.Name(), func() error {
			return copying.Compact(t.Context(), trust, file, &copying.ChangeOptions{Ctx: imagetest.Isolated(), NoSync: true})
		})
		r, err := dockerarchive.NewReaderContext(t.Context(), imagetest.Isolated(), file)
		require.NoError(t, err)
		list, err := r.List()
		require.NoError(t, err)
		names := 0
		for _, refs := range list {
			names += len(refs)
		}
		assert.Equal(t, count, names)
		require.NoError(t, r.Close())
	}
	assert.Less(t, goroutines, 200)
	return bytes
}
