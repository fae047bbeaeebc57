package catalog

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/errdef"
	"github.com/dockerarchive/dockerarchive/internal/tarfile"
)

var errDisk = errors.New("the disk is broken")

// disk is an archive on a disk to which something happens.
type disk struct {
	*bytes.Reader
	end int64 // reading at or after it returns err
	err error
}

func (d *disk) ReadAt(p []byte, off int64) (int, error) {
	if rest := d.end - off; rest < int64(len(p)) {
		n, err := d.Reader.ReadAt(p[:max(rest, 0)], off)
		if err == nil {
			err = d.err
		}
		return n, err
	}
	return d.Reader.ReadAt(p, off)
}

// load makes a docker archive of one image of layers, stored as they are given.
func load(t testing.TB, diffIDs []digest.Digest, layers ...[]byte) (*Catalog, *disk) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	add := func(name string, content []byte) {
		require.NoError(t, w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(content))}))
		_, err := w.Write(content)
		require.NoError(t, err)
	}
	config, err := json.Marshal(map[string]any{"rootfs": map[string]any{"diff_ids": diffIDs}})
	require.NoError(t, err)
	add("config.json", config)
	item := manifestItem{Config: "config.json"}
	for n := range layers {
		item.Layers = append(item.Layers, string(rune('a'+n)))
	}
	table, err := json.Marshal([]manifestItem{item})
	require.NoError(t, err)
	add("manifest.json", table)
	for n, l := range layers {
		add(item.Layers[n], l)
	}
	require.NoError(t, w.Close())
	d := &disk{Reader: bytes.NewReader(b.Bytes()), end: int64(b.Len()), err: io.EOF}
	files, err := tarfile.NewIndex(t.Context(), d, d.Size())
	require.NoError(t, err)
	c, err := Load(t.Context(), files)
	require.NoError(t, err)
	return c, d
}

// incompressible is long enough that half of it says nothing of the end.
func incompressible() []byte {
	var b strings.Builder
	for d := digest.FromString(""); b.Len() < 100<<10; d = digest.FromString(d.String()) {
		b.WriteString(d.String())
	}
	return []byte(b.String())
}

func gzipped(t testing.TB, data []byte) []byte {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, err := w.Write(data)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return b.Bytes()
}

// TestArchiveChangesWhileItIsRead cuts an archive that has been opened, and lets
// its disk fail: only one of them is the archive's fault.
func TestArchiveChangesWhileItIsRead(t *testing.T) {
	content := incompressible()
	id := digest.FromBytes(content)
	for name, stored := range map[string][]byte{"plain": content, "gzip": gzipped(t, content)} {
		for _, failure := range []error{io.EOF, errDisk} {
			c, d := load(t, []digest.Digest{id}, stored)
			img := c.Images()[0]
			blob, err := img.Blob(t.Context(), id)
			require.NoError(t, err)
			unharmed := d.end
			f, err := c.files.Lookup("a")
			require.NoError(t, err)
			d.end, d.err = f.Offset+f.Size/2, failure
			for way, open := range map[string]func(context.Context) (io.ReadCloser, error){
				"Open":         blob.Open,
				"OpenVerified": blob.OpenVerified,
				"OpenUnpacked": func(ctx context.Context) (io.ReadCloser, error) { return blob.OpenUnpacked(ctx, id) },
			} {
				stream, err := open(t.Context())
				require.NoError(t, err)
				_, err = io.ReadAll(stream)
				assert.ErrorContains(t, err, "a", "%s %s", name, way)
				if failure == errDisk {
					assert.ErrorIs(t, err, errDisk, "%s %s", name, way)
					assert.NotErrorIs(t, err, errdef.ErrDamaged, "%s %s", name, way)
				} else {
					assert.ErrorIs(t, err, errdef.ErrDamaged, "%s %s", name, way)
				}
				require.NoError(t, stream.Close())
			}
			if failure == errDisk {
				d.end = f.Offset // Not even its first bytes.
				_, err = blob.OpenUnpacked(t.Context(), id)
				assert.ErrorIs(t, err, errDisk)
			}
			d.end = unharmed
			stream, err := blob.OpenVerified(t.Context())
			require.NoError(t, err)
			got, err := io.ReadAll(stream)
			require.NoError(t, err)
			assert.Equal(t, len(content), len(got))
			require.NoError(t, stream.Close())
		}
	}
}

// TestMissingBytes says how many bytes of a blob are missing.
func TestMissingBytes(t *testing.T) {
	id := digest.FromString("twelve bytes")
	c, d := load(t, []digest.Digest{id}, []byte("twelve bytes"))
	blob, err := c.Images()[0].Blob(t.Context(), id)
	require.NoError(t, err)
	f, err := c.files.Lookup("a")
	require.NoError(t, err)
	d.end = f.Offset + 5
	stream, err := blob.Open(t.Context())
	require.NoError(t, err)
	data, err := io.ReadAll(stream)
	assert.Equal(t, "twelv", string(data))
	require.EqualError(t, err, "reading a: 7 bytes are missing: unexpected EOF")
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	require.NoError(t, stream.Close())
}

// TestTinyLayers reads layers that are shorter than what tells how they are
// compressed.
func TestTinyLayers(t *testing.T) {
	for _, content := range []string{"", "x", "12345"} {
		id := digest.FromString(content)
		c, _ := load(t, []digest.Digest{id}, []byte(content))
		blob, err := c.Images()[0].Blob(t.Context(), id)
		require.NoError(t, err)
		for _, open := range []func(context.Context) (io.ReadCloser, error){
			blob.Open, blob.OpenVerified,
			func(ctx context.Context) (io.ReadCloser, error) { return blob.OpenUnpacked(ctx, id) },
		} {
			stream, err := open(t.Context())
			require.NoError(t, err)
			data, err := io.ReadAll(stream)
			require.NoError(t, err)
			assert.Equal(t, content, string(data))
			require.NoError(t, stream.Close())
		}
	}
}

// TestMeasuring finds out what only reading a layer tells, and stops when its
// context ends.
func TestMeasuring(t *testing.T) {
	content := incompressible()
	id := digest.FromBytes(content)
	c, d := load(t, []digest.Digest{id}, gzipped(t, content))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := c.Images()[0].Blob(ctx, id)
	require.ErrorIs(t, err, context.Canceled)
	end := d.end
	d.end, d.err = d.end-4096, errDisk
	_, err = c.Images()[0].Blob(t.Context(), id)
	require.ErrorIs(t, err, errDisk)
	require.ErrorContains(t, err, "reading a: ")
	require.NotErrorIs(t, err, errdef.ErrDamaged)
	d.end = end
	blob, err := c.Images()[0].Blob(t.Context(), id)
	require.NoError(t, err)
	assert.Equal(t, int64(len(content)), blob.Size)
	require.NoError(t, c.layers.known[c.mustLookup(t, "a").Offset].measure(t.Context(), true))
	assert.Equal(t, id, c.layers.known[c.mustLookup(t, "a").Offset].diffID)
	d.end = 0 // Known sizes and digests are not read again.
	again, err := c.Images()[0].Blob(t.Context(), id)
	require.NoError(t, err)
	assert.Equal(t, blob, again)
}

func (c *Catalog) mustLookup(t testing.TB, name string) tarfile.Member {
	f, err := c.files.Lookup(name)
	require.NoError(t, err)
	return f
}
