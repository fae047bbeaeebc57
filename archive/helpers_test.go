package archive_test

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/archive"
)

const testdata = "../testdata"

// tarball is an archive that a test makes.
type tarball struct {
	t testing.TB
	bytes.Buffer
	*tar.Writer
}

func newTarball(t testing.TB) *tarball {
	b := &tarball{t: t}
	b.Writer = tar.NewWriter(&b.Buffer)
	return b
}

func (b *tarball) header(h *tar.Header, content []byte) *tarball {
	b.t.Helper()
	h.Size = int64(len(content))
	require.NoError(b.t, b.WriteHeader(h))
	_, err := b.Writer.Write(content)
	require.NoError(b.t, err)
	return b
}

func (b *tarball) file(name string, content []byte) *tarball {
	return b.header(&tar.Header{Name: name, Mode: 0o644}, content)
}

func (b *tarball) json(name string, v any) *tarball {
	data, err := json.Marshal(v)
	require.NoError(b.t, err)
	return b.file(name, data)
}

func (b *tarball) dir(name string) *tarball {
	return b.header(&tar.Header{Name: name, Mode: 0o755, Typeflag: tar.TypeDir}, nil)
}

func (b *tarball) symlink(name, target string) *tarball {
	return b.header(&tar.Header{Name: name, Linkname: target, Typeflag: tar.TypeSymlink}, nil)
}

func (b *tarball) hardlink(name, target string) *tarball {
	return b.header(&tar.Header{Name: name, Linkname: target, Typeflag: tar.TypeLink}, nil)
}

// blobs adds the manifest, config and layers as an OCI layout has them.
func (b *tarball) blobs(p parts) *tarball {
	b.blob(ociBlob(b.t, p.manifest.Digest))
	b.blob(p.config)
	for _, l := range p.stored {
		b.blob(l)
	}
	return b
}

func (b *tarball) blob(data []byte) digest.Digest {
	d := digest.FromBytes(data)
	b.file("blobs/sha256/"+d.Encoded(), data)
	return d
}

func (b *tarball) close() []byte {
	require.NoError(b.t, b.Close())
	return b.Bytes()
}

// open reads an archive from memory.
func open(t testing.TB, data []byte) *archive.Archive {
	a, err := archive.New(t.Context(), bytes.NewReader(data), int64(len(data)))
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, a.Close()) })
	return a
}

func openFixture(t testing.TB, name string) *archive.Archive {
	a, err := archive.Open(t.Context(), filepath.Join(testdata, "archives", name))
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, a.Close()) })
	return a
}

// item is an element of manifest.json.
type item struct {
	Config   string
	RepoTags []string
	Layers   []string
}

// parts are what an image of testdata/oci consists of.
type parts struct {
	manifest        v1.Descriptor
	config          []byte
	configDigest    digest.Digest
	stored, content [][]byte // layers, as stored and uncompressed
	digests         []digest.Digest
	diffIDs         []digest.Digest
}

func ociBlob(t testing.TB, d digest.Digest) []byte {
	data, err := os.ReadFile(filepath.Join(testdata, "oci/blobs", d.Algorithm().String(), d.Encoded()))
	require.NoError(t, err)
	return data
}

// ociIndex returns the manifests and indexes of testdata/oci by name.
func ociIndex(t testing.TB) map[string]v1.Descriptor {
	data, err := os.ReadFile(filepath.Join(testdata, "oci/index.json"))
	require.NoError(t, err)
	var index v1.Index
	require.NoError(t, json.Unmarshal(data, &index))
	all := map[string]v1.Descriptor{}
	for _, d := range index.Manifests {
		all[d.Annotations[v1.AnnotationRefName]] = d
	}
	return all
}

func partsOf(t testing.TB, name string) parts {
	data := ociBlob(t, ociIndex(t)[name].Digest)
	var m v1.Manifest
	require.NoError(t, json.Unmarshal(data, &m))
	p := parts{
		manifest:     v1.Descriptor{MediaType: m.MediaType, Digest: digest.FromBytes(data), Size: int64(len(data))},
		config:       ociBlob(t, m.Config.Digest),
		configDigest: m.Config.Digest,
	}
	var config v1.Image
	require.NoError(t, json.Unmarshal(p.config, &config))
	p.diffIDs = config.RootFS.DiffIDs
	for _, l := range m.Layers {
		stored := ociBlob(t, l.Digest)
		r, err := gzip.NewReader(bytes.NewReader(stored))
		require.NoError(t, err)
		content, err := io.ReadAll(r)
		require.NoError(t, err)
		p.stored, p.content, p.digests = append(p.stored, stored), append(p.content, content), append(p.digests, l.Digest)
	}
	return p
}

func gzipped(t testing.TB, data []byte) []byte {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, err := w.Write(data)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return b.Bytes()
}

// readEverything describes an archive, verifies it and reads every blob of every
// image. It returns the first error, and the problems that verifying found.
func readEverything(ctx context.Context, a *archive.Archive) (problems []error, err error) {
	report, err := a.Verify(ctx, nil)
	if err != nil {
		return nil, err
	}
	problems = report.Problems
	for _, img := range a.Images() {
		if _, err := img.Describe(ctx); err != nil {
			return problems, err
		}
		m, err := img.Manifest(ctx)
		if err == nil {
			err = readManifest(ctx, img, m, map[digest.Digest]bool{})
		}
		if err != nil {
			return problems, err
		}
	}
	return problems, nil
}

func readManifest(ctx context.Context, img *archive.Image, m *archive.Manifest, seen map[digest.Digest]bool) error {
	if seen[m.Digest] {
		return nil
	}
	seen[m.Digest] = true
	for _, d := range m.Manifests() {
		child, err := img.Instance(ctx, d.Digest)
		if err == nil {
			err = readManifest(ctx, img, child, seen)
		}
		if err != nil {
			return err
		}
	}
	if m.IsIndex() {
		return nil
	}
	layers, err := m.Layers(ctx)
	if err != nil {
		return err
	}
	for _, l := range layers {
		if err := readLayer(ctx, l); err != nil {
			return err
		}
	}
	return nil
}

// readLayer reads a layer in every way there is.
func readLayer(ctx context.Context, l archive.Layer) error {
	b, err := l.Blob(ctx)
	if err != nil {
		return err
	}
	stream, err := b.Open(ctx)
	if err != nil {
		return err
	}
	data, err := io.ReadAll(stream)
	if err := errors.Join(err, stream.Close()); err != nil {
		return err
	}
	if int64(len(data)) != b.Size || b.Digest != l.Digest {
		return fmt.Errorf("blob %s has %d bytes, not %d", b.Digest, len(data), b.Size)
	}
	if s := b.Section(); s != nil {
		if again, err := io.ReadAll(s); err != nil || !bytes.Equal(again, data) {
			return fmt.Errorf("blob %s is not what its section has (%w)", b.Digest, err)
		}
	}
	if stream, err = l.Open(ctx); err != nil {
		return err
	}
	d, err := digest.FromReader(stream)
	if err := errors.Join(err, stream.Close()); err != nil {
		return err
	}
	if l.DiffID.Algorithm() == digest.Canonical && d != l.DiffID {
		return fmt.Errorf("layer %s is %s, not %s", b.Digest, d, l.DiffID)
	}
	return nil
}
