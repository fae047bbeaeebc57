package serving

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/archive"
	"github.com/dockerarchive/dockerarchive/internal/input"
)

// oneArchive is a store with one archive. It calls before, if that is not nil, with the number of each read.
type oneArchive struct {
	input.Store
	data   []byte
	reads  atomic.Int64
	before func(read int64) error
}

// oneFile is readable until the context ends that it was opened with.
type oneFile struct {
	*bytes.Reader
	store *oneArchive
	ctx   context.Context
}

const oneAddress = "s3://images/a.tar"

// newOneArchive returns a store with an archive of so many images.
func newOneArchive(t *testing.T, images int) (*oneArchive, *stores) {
	t.Helper()
	var data bytes.Buffer
	w := tar.NewWriter(&data)
	add := func(name, text string) {
		require.NoError(t, w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(text))}))
		_, err := w.Write([]byte(text))
		require.NoError(t, err)
	}
	blob := func(text string) digest.Digest {
		d := digest.FromString(text)
		add("blobs/sha256/"+d.Encoded(), text)
		return d
	}
	config := blob("{}")
	var list []string
	for n := range images {
		manifest := fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":%q,"size":2,"digest":%q},"layers":[],"annotations":{"n":"%d"}}`,
			v1.MediaTypeImageManifest, v1.MediaTypeImageConfig, config, n)
		list = append(list, fmt.Sprintf(`{"mediaType":%q,"size":%d,"digest":%q}`, v1.MediaTypeImageManifest, len(manifest), blob(manifest)))
	}
	add(v1.ImageLayoutFile, `{"imageLayoutVersion":"1.0.0"}`)
	add(v1.ImageIndexFile, `{"schemaVersion":2,"manifests":[`+strings.Join(list, ",")+`]}`)
	require.NoError(t, w.Close())
	store := &oneArchive{data: data.Bytes()}
	return store, &stores{opened: map[string]input.Store{"s3://images": store}}
}

// opened opens the archive, and counts reads anew.
func (s *oneArchive) opened(t *testing.T, all *stores) *opened {
	t.Helper()
	s.before = nil
	a, err := all.openArchive(t.Context(), archive.Opener{}, oneAddress)
	require.NoError(t, err)
	o := &opened{path: oneAddress, images: make([][]string, len(a.All()))}
	newPool(1, archive.Opener{}, all).add(o, a)
	t.Cleanup(func() { o.pool.drop(o) })
	s.reads.Store(0)
	return o
}

// Open implements input.Store.
func (s *oneArchive) Open(ctx context.Context, _ string) (input.Remote, error) {
	return &oneFile{bytes.NewReader(s.data), s, ctx}, nil
}

// ReadAt implements io.ReaderAt.
func (f *oneFile) ReadAt(p []byte, off int64) (int, error) {
	if err := f.ctx.Err(); err != nil {
		return 0, err
	}
	read := f.store.reads.Add(1)
	if f.store.before != nil {
		if err := f.store.before(read); err != nil {
			return 0, err
		}
	}
	return f.Reader.ReadAt(p, off)
}

// Close implements io.Closer.
func (f *oneFile) Close() error { return nil }

// A client that goes away just when an archive has been opened for it leaves no archive that nobody can read.
func TestClientGoesWhileOpening(t *testing.T) {
	store, all := newOneArchive(t, 1)
	a, err := all.openArchive(t.Context(), archive.Opener{}, oneAddress)
	require.NoError(t, err)
	require.NoError(t, a.Close())
	last := store.reads.Load()
	for at := range last {
		ctx, end := context.WithCancel(t.Context())
		store.reads.Store(0)
		store.before = func(read int64) error {
			if read == at+1 {
				end()
			}
			return nil
		}
		a, err = all.openArchive(ctx, archive.Opener{}, oneAddress)
		assert.ErrorIs(t, err, context.Canceled, "read %d of %d", at+1, last)
		assert.Nil(t, a)
	}
}

// A client that goes away while manifests are read does not leave the archive without some of them.
func TestCanceledWhileListing(t *testing.T) {
	store, all := newOneArchive(t, 40)
	o := store.opened(t, all)
	ctx, end := context.WithCancel(t.Context())
	store.before = func(read int64) error {
		if read == 20 {
			end()
		}
		return nil
	}
	_, err := o.list(ctx, nil)
	require.ErrorIs(t, err, context.Canceled)
	store.before = nil
	images, err := o.list(t.Context(), nil)
	require.NoError(t, err)
	for n, found := range images {
		assert.Len(t, found, 1, "image %d", n)
	}
}

// A store that fails while manifests are read is not asked for all others: the patience with each would add up to
// hours, in which no other archive is opened.
func TestStoreFailsWhileListing(t *testing.T) {
	store, all := newOneArchive(t, 40)
	o := store.opened(t, all)
	away := errors.New("away")
	store.before = func(int64) error { return away }
	reports := 0
	_, err := o.list(t.Context(), func(string, error) { reports++ })
	require.ErrorIs(t, err, away)
	assert.Equal(t, 1, reports)
	assert.LessOrEqual(t, store.reads.Load(), int64(maxListing))
}
