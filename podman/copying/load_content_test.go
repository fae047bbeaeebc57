package copying_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/errdef"
	"github.com/dockerarchive/dockerarchive/podman/copying"
	"github.com/dockerarchive/dockerarchive/podman/internal/imagetest"
	"github.com/dockerarchive/dockerarchive/progress"
)

// contentStore is a content store in memory.
type contentStore struct {
	blobs    map[digest.Digest]bool
	received []digest.Digest
	refers   map[digest.Digest][]digest.Digest
	names    map[string]digest.Digest
	unpacked map[digest.Digest]bool // configs
	// receiving, if not nil, is called when an archive comes. With an error it is not read.
	receiving func() error
}

func newContentStore() *contentStore {
	return &contentStore{blobs: map[digest.Digest]bool{}, refers: map[digest.Digest][]digest.Digest{}, names: map[string]digest.Digest{}, unpacked: map[digest.Digest]bool{}}
}

// Has implements copying.ContentStore, as the other methods do.
func (s *contentStore) Has(_ context.Context, d digest.Digest) (bool, error) { return s.blobs[d], nil }

func (s *contentStore) Receive(_ context.Context, archive io.Reader) error {
	s.received = nil
	if s.receiving != nil {
		if err := s.receiving(); err != nil {
			return err
		}
	}
	for tr := tar.NewReader(archive); ; {
		header, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if encoded, ok := strings.CutPrefix(header.Name, "blobs/sha256/"); ok && header.Typeflag == tar.TypeReg {
			data, err := io.ReadAll(tr)
			if err != nil {
				return err
			}
			d := digest.NewDigestFromEncoded(digest.SHA256, encoded)
			s.blobs[d] = true
			if !strings.HasPrefix(string(data), "{") {
				s.received = append(s.received, d)
			}
		}
	}
}

func (s *contentStore) Refer(_ context.Context, document digest.Digest, to []digest.Digest) error {
	s.refers[document] = to
	return nil
}

func (s *contentStore) Name(_ context.Context, name string, target imgspecv1.Descriptor) error {
	s.names[name] = target.Digest
	return nil
}

func (s *contentStore) Unpack(_ context.Context, config digest.Digest, layers []imgspecv1.Descriptor, diffIDs []digest.Digest) error {
	s.unpacked[config] = len(layers) == len(diffIDs)
	return nil
}

// loadingContent are options that say why something is sent again.
func loadingContent(reasons *[]error) *copying.LoadContentOptions {
	o := &copying.LoadContentOptions{Reading: copying.Reading{SourceCtx: imagetest.Isolated()}, DestinationCtx: imagetest.Isolated()}
	o.RetryAtOnce()
	o.Progress = func(e progress.Event) {
		if e.Kind == progress.Retried {
			*reasons = append(*reasons, e.Err)
		}
	}
	return o
}

// A content store is sent the layers that it has not got, by their digests, and then the
// references between them.
func TestLoadContent(t *testing.T) {
	l := []imagetest.Layer{imagetest.Gzip(1, 1000), imagetest.Gzip(2, 2000), imagetest.Gzip(3, 3000)}
	base, app := imagetest.NewImage(t, "base", l[0], l[1]), imagetest.NewImage(t, "app", l[1], l[0], l[2])
	s := newContentStore()
	var reasons []error
	options := loadingContent(&reasons)
	content := func(noUnpack bool, images ...copying.SaveImage) *copying.Loaded {
		t.Helper()
		options.NoUnpack = noUnpack
		loaded, err := copying.LoadContent(t.Context(), imagetest.Trusting(t), images, s, options)
		require.NoError(t, err)
		return loaded
	}
	loaded := content(true, named(t, base, "example.com/base:1"))
	assert.ElementsMatch(t, []digest.Digest{l[0].Digest, l[1].Digest}, s.received)
	assert.Equal(t, base.Digest(), loaded.Images[0].ID)
	assert.Empty(t, s.unpacked)

	loaded = content(false, named(t, app, "example.com/app:1"), named(t, base, ""))
	assert.Equal(t, []digest.Digest{l[2].Digest}, s.received)
	assert.Equal(t, int64(len(l[0].Blob)+len(l[1].Blob)), loaded.LeftOut)
	assert.Equal(t, map[string]digest.Digest{
		"example.com/base:1": base.Digest(), "example.com/app:1": app.Digest(), "import@" + base.Digest().String(): base.Digest(),
	}, s.names)
	assert.Equal(t, []digest.Digest{app.ConfigDigest(), l[1].Digest, l[0].Digest, l[2].Digest}, s.refers[app.Digest()])
	assert.Equal(t, map[digest.Digest]bool{app.ConfigDigest(): true, base.ConfigDigest(): true}, s.unpacked)
	assert.Empty(t, reasons)
}

// LoadContent sends a whole index and unpacks one platform, or sends and unpacks the chosen
// ones.
func TestLoadContentPlatforms(t *testing.T) {
	const multi = "sha256:45d2602b344571424277f0ae5515e160520a245712357743d45b1e1e3095c07e"
	images := inArchive(t, "../../testdata/archives/ctr24.tar:@0")
	for _, c := range []struct {
		platforms []imgspecv1.Platform
		unpacked  int
		whole     bool
	}{
		{nil, 1, true},
		{[]imgspecv1.Platform{{OS: "linux", Architecture: "arm64"}}, 1, false},
		{[]imgspecv1.Platform{{OS: "linux", Architecture: "amd64"}, {OS: "linux", Architecture: "arm64"}}, 2, true}, // which is all of it
	} {
		s := newContentStore()
		var reasons []error
		options := loadingContent(&reasons)
		options.Platforms = c.platforms
		loaded, err := copying.LoadContent(t.Context(), imagetest.Trusting(t), images, s, options)
		require.NoError(t, err)
		assert.Equal(t, c.whole, loaded.Images[0].ID == multi)
		assert.Len(t, s.unpacked, c.unpacked)
	}
}

// Blobs that a store loses during the load are sent again, once, and no incomplete image
// gets a name.
func TestLoadContentLost(t *testing.T) {
	l := []imagetest.Layer{imagetest.Gzip(1, 1000), imagetest.Gzip(2, 2000)}
	base, app := imagetest.NewImage(t, "base", l[0]), imagetest.NewImage(t, "app", l...)
	s := newContentStore()
	var reasons []error
	load := func(img *imagetest.Image, name string) error {
		_, err := copying.LoadContent(t.Context(), imagetest.Trusting(t), []copying.SaveImage{named(t, img, name)}, s, loadingContent(&reasons))
		return err
	}
	require.NoError(t, load(base, "example.com/base:1"))
	times := 0
	s.receiving = func() error {
		if times++; times == 1 {
			delete(s.blobs, l[0].Digest)
		}
		return nil
	}
	require.NoError(t, load(app, "example.com/app:1"))
	assert.Equal(t, []digest.Digest{l[0].Digest}, s.received, "and not what was sent before")
	assert.Equal(t, 2, times)
	require.Len(t, reasons, 1)
	require.ErrorIs(t, reasons[0], copying.ErrIncomplete)

	delete(s.names, "example.com/app:1")
	lost := &losing{contentStore: s, d: l[0].Digest}
	_, err := copying.LoadContent(t.Context(), imagetest.Trusting(t), []copying.SaveImage{named(t, app, "example.com/app:1")}, lost, loadingContent(&reasons))
	require.ErrorIs(t, err, copying.ErrIncomplete)
	assert.NotContains(t, s.names, "example.com/app:1")

	s.receiving = func() error { return io.ErrClosedPipe }
	require.ErrorIs(t, load(app, "example.com/app:1"), io.ErrClosedPipe)
	assert.NotContains(t, s.names, "example.com/app:1")
}

// losing is a store that forgets a blob as soon as an archive has come.
type losing struct {
	*contentStore
	d digest.Digest
}

// Receive implements copying.ContentStore.
func (s *losing) Receive(ctx context.Context, archive io.Reader) error {
	err := s.contentStore.Receive(ctx, archive)
	delete(s.blobs, s.d)
	return err
}

// A damaged layer is an error, and gives no image.
func TestLoadContentDamaged(t *testing.T) {
	layer := imagetest.Gzip(1, 1000)
	img := imagetest.NewImage(t, "app", layer)
	img.Disturb = func(_ context.Context, d digest.Digest, r io.Reader) io.Reader {
		if d == layer.Digest {
			return bytes.NewReader(make([]byte, len(layer.Blob)))
		}
		return r
	}
	s := newContentStore()
	var reasons []error
	_, err := copying.LoadContent(t.Context(), imagetest.Trusting(t), []copying.SaveImage{named(t, img, "example.com/app:1")}, s, loadingContent(&reasons))
	var failed *errdef.ImageError
	require.ErrorAs(t, err, &failed)
	assert.Empty(t, s.names)
}
