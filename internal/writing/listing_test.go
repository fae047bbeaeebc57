package writing

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/errdef"
	"github.com/dockerarchive/dockerarchive/internal/catalog"
	"github.com/dockerarchive/dockerarchive/internal/layout"
	"github.com/dockerarchive/dockerarchive/internal/output"
	"github.com/dockerarchive/dockerarchive/internal/tarfile"
)

// countedReads counts the bytes that are read of an archive.
type countedReads struct {
	io.ReaderAt
	mu    sync.Mutex
	reads int
	bytes int
}

// ReadAt implements io.ReaderAt.
func (c *countedReads) ReadAt(p []byte, off int64) (int, error) {
	c.mu.Lock()
	c.reads++
	c.bytes += len(p)
	c.mu.Unlock()
	return c.ReaderAt.ReadAt(p, off)
}

// manyImages returns images of three entries each.
func manyImages(t testing.TB, n int) []*testImage {
	images := make([]*testImage, n)
	for i := range images {
		images[i] = newImage(t, fmt.Sprintf("app%d", i), zipped(byte(i), 600+i))
	}
	return images
}

func load(t testing.TB, r io.ReaderAt, size int) (*tarfile.Index, *catalog.Catalog) {
	t.Helper()
	index, err := tarfile.NewIndex(t.Context(), r, int64(size))
	require.NoError(t, err)
	c, err := catalog.Load(t.Context(), index)
	require.NoError(t, err)
	return index, c
}

// An archive of many images is opened by a few reads, and described by two more an image, also if it
// has grown.
func TestListingSavesReads(t *testing.T) {
	const count = 500
	images := manyImages(t, count+1)
	data := written(t, layouts["oci"], images[:count]...)
	grown := added(t, data, images[count:]...)
	for name, archive := range map[string][]byte{"new": data, "grown": grown} {
		t.Run(name, func(t *testing.T) {
			r := &countedReads{ReaderAt: bytes.NewReader(archive)}
			_, c := load(t, r, len(archive))
			t.Logf("opening: %d reads, %d bytes of %d", r.reads, r.bytes, len(archive))
			assert.LessOrEqual(t, r.reads, 5)
			assert.LessOrEqual(t, r.bytes, 2<<20)
			r.reads = 0
			for _, img := range c.Images() {
				_, err := c.Describe(t.Context(), img)
				require.NoError(t, err)
			}
			assert.LessOrEqual(t, r.reads, 2*len(c.Images()))
			found, err := c.Claims(t.Context())
			require.NoError(t, err)
			assert.Empty(t, found.Problems)
		})
	}
}

// added returns an archive with more images, each added by itself.
func added(t testing.TB, archive []byte, images ...*testImage) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "archive.tar")
	require.NoError(t, os.WriteFile(path, archive, 0o600))
	for _, m := range images {
		out, err := output.Open(t.Context(), path, false)
		require.NoError(t, err)
		e, err := ReadExisting(t.Context(), out, []layout.Layout{layouts["oci"]})
		require.NoError(t, err)
		a, err := New(t.Context(), out, path, Options{Layout: layouts["oci"], Existing: e})
		require.NoError(t, err)
		require.NoError(t, write(a, m))
	}
	return read(t, path)
}

// The listing of an archive matches its headers, however it came about.
func TestListingIsTrue(t *testing.T) {
	images := manyImages(t, 20)
	var stream bytes.Buffer
	require.NoError(t, write(newTestStream(t, layouts["oci"], nil, &stream), images...))
	path := filepath.Join(t.TempDir(), "archive.tar")
	archives := map[string][]byte{
		"file":          written(t, layouts["oci"], images...),
		"stream":        stream.Bytes(),
		"grown":         added(t, written(t, layouts["oci"], images[:12]...), images[12:]...),
		"grown to have": added(t, written(t, layouts["oci"], images[:3]...), images[3:]...),
	}
	require.NoError(t, os.WriteFile(path, archives["grown"], 0o600))
	out, err := output.Open(t.Context(), path, false)
	require.NoError(t, err)
	_, err = Remove(t.Context(), out, path, []string{"example.com/app3:1"}, false, []layout.Layout{layouts["oci"]})
	require.NoError(t, err)
	archives["removed from"] = read(t, path)
	assert.Equal(t, archives["file"], archives["stream"])
	for name, archive := range archives {
		t.Run(name, func(t *testing.T) {
			index, c := load(t, bytes.NewReader(archive), len(archive))
			require.NotNil(t, index.Notes(), "the listing is read")
			require.NoError(t, index.CheckListing(t.Context()))
			found, err := c.Claims(t.Context())
			require.NoError(t, err)
			assert.Empty(t, found.Problems)
		})
	}
	few := written(t, layouts["oci"], images[:3]...)
	assert.NotContains(t, string(few), tarfile.ListingName)
	assert.NotContains(t, string(written(t, layouts["docker"], images...)), tarfile.ListingName)
}

// A listing is not believed: an entry that stands elsewhere is not read, and verifying reports
// unlisted entries.
func TestListingIsAHint(t *testing.T) {
	images := manyImages(t, 20)
	data := written(t, layouts["oci"], images...)
	manifest := images[7].Top()
	name := []byte("blobs/sha256/" + manifest.Descriptor.Digest.Encoded())
	header := bytes.Index(data, append(name, 0))
	require.Positive(t, header)

	t.Run("another header", func(t *testing.T) {
		changed := bytes.Clone(data)
		copy(changed[header:], "blobs/sha256/"+images[8].Top().Config.Digest.Encoded())
		_, c := load(t, bytes.NewReader(changed), len(changed))
		img, _, err := c.Choose("example.com/app7:1", -1, nil)
		require.NoError(t, err)
		_, _, err = img.Manifest(t.Context(), nil)
		require.ErrorIs(t, err, errdef.ErrDamaged)
		require.ErrorContains(t, err, "there is something else")
		found, err := c.Claims(t.Context())
		require.NoError(t, err)
		assert.NotEmpty(t, found.Problems)
		img, _, err = c.Choose("example.com/app6:1", -1, nil)
		require.NoError(t, err)
		_, _, err = img.Manifest(t.Context(), nil)
		require.NoError(t, err, "others are read")
	})
	for what, changed := range map[string][]byte{
		"appended to": append(bytes.Clone(data), make([]byte, 512)...),
		"cut":         data[:len(data)-512],
	} {
		t.Run(what, func(t *testing.T) {
			index, err := tarfile.NewIndex(t.Context(), bytes.NewReader(changed), int64(len(changed)))
			require.NoError(t, err)
			assert.Nil(t, index.Notes(), "the headers are read")
		})
	}
	t.Run("another sum", func(t *testing.T) {
		changed := bytes.Clone(data)
		at := bytes.LastIndex(changed, []byte("docker-archive entries 1"))
		require.Positive(t, at)
		changed[at-600]++ // The SHA-256 is another one.
		index, err := tarfile.NewIndex(t.Context(), bytes.NewReader(changed), int64(len(changed)))
		require.NoError(t, err)
		assert.Nil(t, index.Notes())
	})
}

// The notes in a listing about images are used only if all documents agree with them.
func TestListingOfOtherConfigs(t *testing.T) {
	images := manyImages(t, 20)
	data := written(t, layouts["oci"], images...)
	index, err := tarfile.NewIndex(t.Context(), bytes.NewReader(data), int64(len(data)))
	require.NoError(t, err)
	content, err := index.ReadFile(tarfile.ListingName, 1<<20)
	require.NoError(t, err)
	start := bytes.LastIndex(data, content)
	raw := func(d digest.Digest) []byte {
		hash, err := hex.DecodeString(d.Encoded())
		require.NoError(t, err)
		return hash
	}
	var length int
	_, err = fmt.Sscanf(string(content[len(content)-512:]), "docker-archive entries 1 %d ", &length)
	require.NoError(t, err)
	ours, other := images[7].Top(), images[8].Top()
	forged := bytes.Clone(content)
	at := bytes.LastIndex(forged, slices.Concat(raw(ours.Descriptor.Digest), raw(ours.Config.Digest)))
	require.Positive(t, at)
	copy(forged[at+32:], raw(other.Config.Digest))
	copy(forged[len(forged)-512:], fmt.Sprintf("docker-archive entries 1 %d %x\n", length, sha256.Sum256(forged[:length])))
	changed := bytes.Clone(data)
	copy(changed[start:], forged)
	forgedIndex, c := load(t, bytes.NewReader(changed), len(changed))
	require.NotNil(t, forgedIndex.Notes(), "the listing is read")
	require.Len(t, c.Images(), len(images))
	for n, img := range c.Images() {
		warnings, err := img.Settle(t.Context())
		require.NoError(t, err)
		assert.Empty(t, warnings)
		assert.True(t, img.NamesConfig(images[n].Top().Config.Digest))
	}
}

// The context ends opening by the listing as well.
func TestListingEndsWithContext(t *testing.T) {
	data := written(t, layouts["oci"], manyImages(t, 20)...)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := tarfile.NewIndex(ctx, bytes.NewReader(data), int64(len(data)))
	require.ErrorIs(t, err, context.Canceled)
}
