package compose_test

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/compose"
	"github.com/dockerarchive/dockerarchive/internal/compression"
	"github.com/dockerarchive/dockerarchive/internal/imagetest"
)

var (
	errTest = errors.New("test")
	day     = time.Date(2020, 1, 2, 3, 4, 5, 0, time.UTC)
	later   = day.Add(time.Hour)
)

// base is an image in memory as a base.
type base struct {
	*imagetest.Image
	disturb func(digest.Digest, io.ReadCloser) io.ReadCloser

	mu   sync.Mutex
	gets map[digest.Digest]int
}

func (b *base) Manifest(context.Context) ([]byte, string, error) { return b.Raw, b.MIMEType, nil }

func (b *base) Remote() bool { return true }

func (b *base) Blob(_ context.Context, d v1.Descriptor) (io.ReadCloser, error) {
	b.mu.Lock()
	b.gets[d.Digest]++
	b.mu.Unlock()
	found := b.Config
	for _, l := range b.Layers {
		if l.Digest == d.Digest {
			found = l.Blob
		}
	}
	body := io.NopCloser(bytes.NewReader(found))
	if b.disturb != nil {
		return b.disturb(d.Digest, body), nil
	}
	return body, nil
}

// newBase returns a base of a config, to which rootfs is added.
func newBase(t testing.TB, config string, layers ...imagetest.Layer) *base {
	var all map[string]any
	decoder := json.NewDecoder(strings.NewReader(config))
	decoder.UseNumber()
	require.NoError(t, decoder.Decode(&all))
	ids := []digest.Digest{}
	for _, l := range layers {
		ids = append(ids, l.DiffID())
	}
	all["rootfs"] = map[string]any{"type": "layers", "diff_ids": ids}
	for _, name := range []string{"os", "architecture"} {
		if all[name] == nil {
			all[name] = map[string]string{"os": "linux", "architecture": "amd64"}[name]
		}
	}
	return &base{Image: imagetest.NewImageOfConfig(t, all, layers...), gets: map[digest.Digest]int{}}
}

// inDocker turns the manifest of a base into one of Docker's.
func (b *base) inDocker(t testing.TB) *base {
	b.MIMEType = "application/vnd.docker.distribution.manifest.v2+json"
	b.Image.Manifest.MediaType = b.MIMEType
	b.Image.Manifest.Config.MediaType = "application/vnd.docker.container.image.v1+json"
	for i := range b.Image.Manifest.Layers {
		b.Image.Manifest.Layers[i].MediaType = "application/vnd.docker.image.rootfs.diff.tar.gzip"
	}
	b.Encode(t)
	return b
}

// made is an image that has been made, in memory.
type made struct {
	*compose.Made
	blobs  map[digest.Digest][]byte
	config map[string]any
	man    v1.Manifest
	err    error // of PutLayer

	open func(context.Context, int) (io.ReadCloser, error)
}

// PutBase implements compose.Sink.
func (m *made) PutBase(ctx context.Context, layers []v1.Descriptor, open func(context.Context, int) (io.ReadCloser, error)) error {
	m.open = open
	for i, l := range layers {
		body, err := open(ctx, i)
		if err != nil {
			return err
		}
		if m.blobs[l.Digest], err = io.ReadAll(body); err != nil {
			return err
		}
	}
	return nil
}

// PutLayer implements compose.Sink.
func (m *made) PutLayer(_ context.Context, r io.Reader) (digest.Digest, int64, error) {
	if m.err != nil {
		_, _ = r.Read(make([]byte, 10))
		return "", 0, m.err
	}
	blob, err := io.ReadAll(r)
	d := digest.FromBytes(blob)
	m.blobs[d] = blob
	return d, int64(len(blob)), err
}

// tryMake makes an image, for linux/amd64 if it has no base.
func tryMake(t testing.TB, img *compose.Image) (*made, error) {
	change := img.Change
	if img.Base == nil {
		img.Change = func(c *compose.Config) error {
			if c.Platform().OS == "" {
				c.SetPlatform(v1.Platform{OS: "linux", Architecture: "amd64"})
			}
			if change != nil {
				return change(c)
			}
			return nil
		}
		defer func() { img.Change = change }()
	}
	m := &made{blobs: map[digest.Digest][]byte{}}
	if img.TempDir == "" {
		img.TempDir = t.TempDir()
	}
	var err error
	m.Made, err = img.MakeTo(t.Context(), m)
	if err == nil {
		t.Cleanup(func() { assert.NoError(t, m.Close()) })
	}
	return m, err
}

// mustMake makes an image, and checks that its documents agree with its layers.
func mustMake(t testing.TB, img *compose.Image) *made {
	t.Helper()
	m, err := tryMake(t, img)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(m.Made.Config, &m.config))
	require.NoError(t, json.Unmarshal(m.Made.Manifest, &m.man))
	require.Equal(t, digest.FromBytes(m.Made.Config), m.man.Config.Digest)
	require.EqualValues(t, len(m.Made.Config), m.man.Config.Size)
	require.Len(t, m.diffIDs(t), len(m.man.Layers))
	for i, l := range m.man.Layers {
		blob, ok := m.blobs[l.Digest]
		require.True(t, ok, l.Digest)
		require.EqualValues(t, len(blob), l.Size)
		a := compression.Detect(blob)
		require.Equal(t, m.diffIDs(t)[i], digest.FromBytes(unpacked(t, blob)))
		require.Contains(t, l.MediaType, map[compression.Algorithm]string{compression.None: "tar", compression.Gzip: "gzip", compression.Zstd: "+zstd"}[a])
		require.Equal(t, a == compression.None, l.MediaType[len(l.MediaType)-4:] == ".tar", l.MediaType)
	}
	return m
}

func (m *made) diffIDs(t testing.TB) []digest.Digest {
	var c v1.Image
	require.NoError(t, json.Unmarshal(m.Made.Config, &c))
	return c.RootFS.DiffIDs
}

// layer returns the uncompressed layer with a number.
func (m *made) layer(t testing.TB, n int) []byte { return unpacked(t, m.blobs[m.man.Layers[n].Digest]) }

// history returns one line for each step.
func (m *made) history() []string {
	var lines []string
	steps, _ := m.config["history"].([]any)
	for _, s := range steps {
		step := s.(map[string]any)
		line := fmt.Sprint(step["created"], " ", step["created_by"])
		for _, name := range []string{"author", "comment", "empty_layer", "x"} {
			if v, ok := step[name]; ok {
				line += fmt.Sprintf(" %s=%v", name, v)
			}
		}
		lines = append(lines, line)
	}
	return lines
}

func unpacked(t testing.TB, blob []byte) []byte {
	r, err := compression.NewReader(bytes.NewReader(blob), compression.Detect(blob))
	require.NoError(t, err)
	defer r.Close()
	data, err := io.ReadAll(r)
	require.NoError(t, err)
	return data
}

// content is content that is given as a function.
type content struct {
	name string
	open func() (io.ReadCloser, error)
}

func (c content) Name() string                                { return c.name }
func (c content) Open(context.Context) (io.ReadCloser, error) { return c.open() }

// inMemory returns bytes as content.
func inMemory(data []byte) compose.Content {
	return content{"memory", func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil }}
}

// files returns a layer of files from NAME, CONTENT pairs.
func files(pairs ...string) compose.Part {
	var all []compose.File
	for i := 0; i < len(pairs); i += 2 {
		all = append(all, compose.File{Path: pairs[i], Content: []byte(pairs[i+1])})
	}
	return compose.Files(day, all...)
}

// tarOf returns a tar of headers, whose content is their name.
func tarOf(t testing.TB, headers ...tar.Header) []byte {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range headers {
		if h.Typeflag == 0 {
			h.Typeflag = tar.TypeReg
		}
		if h.Typeflag == tar.TypeReg {
			h.Size = int64(len(h.Name))
		}
		require.NoError(t, w.WriteHeader(&h))
		if h.Typeflag == tar.TypeReg {
			_, err := io.WriteString(w, h.Name)
			require.NoError(t, err)
		}
	}
	require.NoError(t, w.Close())
	return b.Bytes()
}

// list lists a tar: names, kinds, and content or target.
func list(t testing.TB, layer []byte) []string {
	lines := []string{}
	for r := tar.NewReader(bytes.NewReader(layer)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return lines
		}
		require.NoError(t, err)
		body, err := io.ReadAll(r)
		require.NoError(t, err)
		lines = append(lines, fmt.Sprintf("%s %c %o %s%s", h.Name, h.Typeflag, h.Mode, body, h.Linkname))
	}
}

var zone = time.FixedZone("far away", 5*60*60)

// first returns the first header of a tar.
func first(t testing.TB, layer []byte) *tar.Header {
	h, err := tar.NewReader(bytes.NewReader(layer)).Next()
	require.NoError(t, err)
	return h
}

// contextThatEnds returns a context that ends once the first byte that is written to a
// pipe has been taken.
func contextThatEnds(t testing.TB, w io.Writer) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		_, _ = w.Write([]byte("x"))
		cancel()
	}()
	return ctx, cancel
}

// imagetestTar returns the arguments of imagetest.NewLayer for a tar in gzip.
func imagetestTar(t testing.TB, headers ...tar.Header) (diff, blob []byte, mediaType string) {
	diff = tarOf(t, headers...)
	return diff, imagetest.Gzipped(diff), v1.MediaTypeImageLayerGzip
}

// truncating is a sink that empties a file as soon as a layer has begun.
type truncating struct {
	*made
	path string
}

func (s truncating) PutLayer(ctx context.Context, r io.Reader) (digest.Digest, int64, error) {
	if _, err := io.ReadFull(r, make([]byte, 100)); err != nil {
		return "", 0, err
	}
	if err := os.Truncate(s.path, 0); err != nil {
		return "", 0, err
	}
	return s.made.PutLayer(ctx, r)
}

// linux says that an image is for Linux.
func linux(c *compose.Config) error {
	c.SetPlatform(v1.Platform{OS: "linux", Architecture: "amd64"})
	return nil
}
