package archive_test

import (
	"bytes"
	"errors"
	"sync"
	"testing"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/archive"
	"github.com/dockerarchive/dockerarchive/errdef"
)

// awayReader reads an archive from a store that may be away. It counts its failures.
type awayReader struct {
	*bytes.Reader
	mu       sync.Mutex
	away     bool
	failures int
}

var errAway = errors.New("the store is away")

func (r *awayReader) ReadAt(p []byte, off int64) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.away {
		r.failures++
		return 0, errAway
	}
	return r.Reader.ReadAt(p, off)
}

func (r *awayReader) Failures() (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.failures, errAway
}

func (r *awayReader) set(away bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.away = away
}

// A manifest that cannot be read now is no reason to take another image of the same name, nor is it remembered.
func TestStoreIsAway(t *testing.T) {
	p, other := partsOf(t, "one"), partsOf(t, "two")
	b := newTarball(t).blobs(p).blobs(other)
	named := p.manifest
	named.Annotations = map[string]string{"io.containerd.image.name": "docker.io/library/a:b"}
	b.json("index.json", v1.Index{Manifests: []v1.Descriptor{named}})
	it := item{Config: "blobs/sha256/" + other.configDigest.Encoded(), RepoTags: []string{"a:b"}}
	for _, d := range other.digests {
		it.Layers = append(it.Layers, "blobs/sha256/"+d.Encoded())
	}
	data := b.json("manifest.json", []item{it}).close()
	r := &awayReader{Reader: bytes.NewReader(data)}
	a, err := archive.New(t.Context(), r, int64(len(data)))
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, a.Close()) })
	img, err := a.Find("a:b")
	require.NoError(t, err)

	r.set(true)
	_, err = img.Manifest(t.Context())
	require.ErrorIs(t, err, errAway)
	assert.NotErrorIs(t, err, errdef.ErrDamaged)
	r.set(false)
	manifest, err := img.Manifest(t.Context())
	require.NoError(t, err)
	assert.Equal(t, ociBlob(t, p.manifest.Digest), manifest.Data)
}
