package e2e_test

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"testing"
	"testing/iotest"

	"github.com/containers/image/v5/copy"
	"github.com/containers/image/v5/types"
	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive"
	"github.com/dockerarchive/dockerarchive/errdef"
	"github.com/dockerarchive/dockerarchive/internal/fronttest"
	"github.com/dockerarchive/dockerarchive/internal/imagetest"
	"github.com/dockerarchive/dockerarchive/internal/leaktest"
)

// After any fault, anywhere, the path holds the old content, nothing is left
// beside it or running, and the next attempt succeeds.

// fault is an attempt to write an archive that is going to fail.
type fault struct {
	dir, path string
	transport types.ImageTransport
	empty     bool // there is an empty file at the path
	options   *copy.Options
}

func newFault(t testing.TB, i int) fault {
	t.Helper()
	dir := t.TempDir()
	f := fault{transport: dockerarchive.Transport, dir: dir, path: filepath.Join(dir, "archive.tar"), empty: i%3 == 0, options: &copy.Options{MaxParallelDownloads: 6}}
	if f.empty {
		require.NoError(t, os.WriteFile(f.path, nil, 0o600))
	}
	if i%2 == 0 {
		f.options = imagetest.Sequentially()
	}
	return f
}

// check checks what is left when it has failed, and tries again.
func (f fault) check(t testing.TB, m *imagetest.Image, want string) {
	t.Helper()
	if f.empty {
		require.Equal(t, []string{"archive.tar"}, imagetest.Leftovers(t, f.dir))
		require.Empty(t, imagetest.ReadFile(t, f.path))
	} else {
		require.Empty(t, imagetest.Leftovers(t, f.dir))
	}
	leaktest.None(t)
	m.Disturb = nil
	f.copy(t, m)
	require.Equal(t, want, imagetest.Sum(imagetest.ReadFile(t, f.path)))
	require.Equal(t, []string{"archive.tar"}, imagetest.Leftovers(t, f.dir))
}

func (f fault) copy(t testing.TB, m *imagetest.Image) {
	t.Helper()
	ref, err := f.transport.ParseReference(f.path)
	require.NoError(t, err)
	require.NoError(t, imagetest.Copy(t, ref, m, f.options))
}

func TestSourceFailsAnywhere(t *testing.T) {
	m := imagetest.Small(t)
	want := imagetest.Sum(imagetest.Theirs(t, imagetest.Named{Source: m.InGzip(t)}))
	for i, p := range m.Positions(int64(imagetest.Rounds(t, 100, 1000))) {
		f := newFault(t, i)
		m.Disturb = func(_ context.Context, d digest.Digest, r io.Reader) io.Reader {
			if d == p.Blob {
				return io.MultiReader(io.LimitReader(r, p.At), iotest.ErrReader(fronttest.ErrSource))
			}
			return r
		}
		ref, err := dockerarchive.NewReference(f.path, nil)
		require.NoError(t, err)
		require.ErrorIs(t, imagetest.Copy(t, ref, m, f.options), fronttest.ErrSource, "%v", p)
		f.check(t, m, want)
	}
}

func TestCancelledAnywhere(t *testing.T) {
	m := imagetest.Small(t)
	want := imagetest.Sum(imagetest.Theirs(t, imagetest.Named{Source: m.InGzip(t)}))
	for i, p := range m.Positions(int64(imagetest.Rounds(t, 100, 1000))) {
		f := newFault(t, i)
		ctx, cancel := context.WithCancel(context.Background())
		m.Disturb = func(_ context.Context, d digest.Digest, r io.Reader) io.Reader {
			if d != p.Blob {
				return r
			}
			cancelling := imagetest.ReaderFunc(func([]byte) (int, error) { cancel(); return 0, io.EOF })
			return io.MultiReader(io.LimitReader(r, p.At), cancelling, r)
		}
		ref, err := dockerarchive.NewReference(f.path, nil)
		require.NoError(t, err)
		require.ErrorIs(t, imagetest.CopyUntil(ctx, t, ref, m, f.options), context.Canceled, "%v", p)
		f.check(t, m, want)
	}
}

// Somebody else writes to the path while the archive is being made: theirs stays.
func TestTargetAppearsMeanwhile(t *testing.T) {
	m := imagetest.Small(t)
	dir := t.TempDir()
	path := filepath.Join(dir, "archive.tar")
	ref, err := dockerarchive.NewReference(path, nil)
	require.NoError(t, err)
	d := fronttest.Open(t, ref)
	fronttest.PutImage(t, d, m)
	require.NoError(t, os.WriteFile(path, []byte("theirs"), 0o600))
	require.ErrorIs(t, d.Commit(context.Background(), nil), errdef.ErrNotEmpty)
	require.NoError(t, d.Close())
	assert.Equal(t, "theirs", string(imagetest.ReadFile(t, path)))
	assert.Equal(t, []string{"archive.tar"}, imagetest.Leftovers(t, dir))
}
