package catalog

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"io"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/internal/compression"
	"github.com/dockerarchive/dockerarchive/internal/tarfile"
)

// stalled is an archive on a medium that hangs, once, before an offset behind
// from is read.
type stalled struct {
	io.ReaderAt
	from        int64
	once        sync.Once
	hangs, goOn chan struct{}
}

func (s *stalled) ReadAt(p []byte, off int64) (int, error) {
	if off >= s.from {
		s.once.Do(func() {
			close(s.hangs)
			<-s.goOn
		})
	}
	return s.ReaderAt.ReadAt(p, off)
}

// gzipLayers returns an archive of compressed layers, and what they unpack to.
func gzipLayers(t *testing.T, names ...string) ([]byte, [][]byte) {
	t.Helper()
	rng := rand.NewChaCha8([32]byte{})
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	contents := make([][]byte, len(names))
	for i, name := range names {
		contents[i] = make([]byte, 2<<20)
		rng.Read(contents[i])
		var compressed bytes.Buffer
		z := gzip.NewWriter(&compressed)
		_, err := z.Write(contents[i])
		require.NoError(t, err)
		require.NoError(t, z.Close())
		require.NoError(t, w.WriteHeader(&tar.Header{Name: name, Mode: 0o444, Size: int64(compressed.Len())}))
		_, err = w.Write(compressed.Bytes())
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	return archive.Bytes(), contents
}

// A blob that was closed while the medium hung is none of the next one's
// business: they must not share a decompressor.
func TestCloseWhileMediumHangs(t *testing.T) {
	archive, contents := gzipLayers(t, "good", "stalled")
	blob := func(files *tarfile.Index, name string, content []byte) Blob {
		member, err := files.Lookup(name)
		require.NoError(t, err)
		return Blob{
			Digest: digest.FromBytes(content), Size: int64(len(content)),
			file: stored{Member: member, files: files, algorithm: compression.Gzip},
		}
	}
	for range 8 { // The pool of decompressors forgets some, at random.
		synctest.Test(t, func(t *testing.T) {
			medium := &stalled{ReaderAt: bytes.NewReader(archive), from: int64(len(archive)), hangs: make(chan struct{}), goOn: make(chan struct{})}
			files, err := tarfile.NewIndex(t.Context(), medium, int64(len(archive)))
			require.NoError(t, err)
			bad := blob(files, "stalled", contents[1])
			medium.from = bad.file.Offset + 100<<10
			first, err := bad.Open(t.Context())
			require.NoError(t, err)
			<-medium.hangs // In reading ahead.
			require.NoError(t, first.Close())
			second, err := blob(files, "good", contents[0]).Open(t.Context())
			require.NoError(t, err)
			close(medium.goOn)
			got, err := io.ReadAll(second)
			require.NoError(t, err)
			assert.True(t, bytes.Equal(contents[0], got))
			require.NoError(t, second.Close())
		})
	}
}
