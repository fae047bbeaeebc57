// Package fronttest helps test the front: Writers, their inputs, and their archives.
package fronttest

import (
	"context"
	"path/filepath"
	"testing"

	"github.com/containers/image/v5/types"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive"
	"github.com/dockerarchive/dockerarchive/internal/imagetest"
)

// New returns a Writer and where its archive will be.
func New(t testing.TB, options *dockerarchive.WriterOptions) (*dockerarchive.Writer, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "archive.tar")
	w := To(t, path, options)
	t.Cleanup(func() { require.NoError(t, w.Abort()) })
	return w, path
}

// To returns a Writer of an archive at path.
func To(t testing.TB, path string, options *dockerarchive.WriterOptions) *dockerarchive.Writer {
	t.Helper()
	w, err := dockerarchive.NewWriterContext(t.Context(), imagetest.Isolated(), path, options)
	require.NoError(t, err)
	return w
}

// Reference returns a reference of a Writer to an image of that name.
func Reference(t testing.TB, w *dockerarchive.Writer, name string) types.ImageReference {
	t.Helper()
	ref, err := w.NewReference(imagetest.Tagged(t, name))
	require.NoError(t, err)
	return ref
}

// Open returns the destination of a reference. It is closed when the test ends.
func Open(t testing.TB, ref types.ImageReference) types.ImageDestination {
	t.Helper()
	d, err := ref.NewImageDestination(context.Background(), imagetest.Isolated())
	require.NoError(t, err)
	t.Cleanup(func() { d.Close() })
	return d
}

// Plan returns the options of a Writer that is told which images will come.
func Plan(t testing.TB, images ...*imagetest.Image) *dockerarchive.WriterOptions {
	t.Helper()
	o := &dockerarchive.WriterOptions{}
	for _, m := range images {
		var p dockerarchive.Plan
		require.NoError(t, p.AddManifest(m.Raw))
		o.Plan = append(o.Plan, p)
	}
	return o
}
