package compose_test

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"testing/iotest"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/dockerarchive/dockerarchive/compose"
	"github.com/dockerarchive/dockerarchive/errdef"
	"github.com/dockerarchive/dockerarchive/internal/imagetest"
	"github.com/dockerarchive/dockerarchive/internal/leaktest"
)

// Media types say what the bytes are, which are those of the content if it is
// compressed already.
func TestCompression(t *testing.T) {
	layer := imagetest.Plain(1, 1000)
	tests := map[string]struct {
		data      []byte
		format    compose.Format
		algorithm compose.Algorithm
		level     int
		want      string
		passed    bool
	}{
		"plain to gzip":       {layer.Diff, compose.OCI, compose.Gzip, 0, v1.MediaTypeImageLayerGzip, false},
		"at a level":          {layer.Diff, compose.OCI, compose.Gzip, 9, v1.MediaTypeImageLayerGzip, false},
		"plain to Docker":     {layer.Diff, compose.Docker, compose.Gzip, 0, "application/vnd.docker.image.rootfs.diff.tar.gzip", false},
		"plain to zstd":       {layer.Diff, compose.OCI, compose.Zstd, 19, v1.MediaTypeImageLayerZstd, false},
		"plain":               {layer.Diff, compose.OCI, compose.None, 0, v1.MediaTypeImageLayer, true},
		"plain in Docker":     {layer.Diff, compose.Docker, compose.None, 0, "application/vnd.docker.image.rootfs.diff.tar", true},
		"gzip stays":          {imagetest.Gzipped(layer.Diff), compose.OCI, compose.None, 0, v1.MediaTypeImageLayerGzip, true},
		"gzip in Docker":      {imagetest.Gzipped(layer.Diff), compose.Docker, compose.Gzip, 0, "application/vnd.docker.image.rootfs.diff.tar.gzip", true},
		"zstd stays":          {imagetest.Zstandard(layer.Diff), compose.OCI, compose.Gzip, 0, v1.MediaTypeImageLayerZstd, true},
		"an empty tar":        {make([]byte, 1024), compose.OCI, compose.None, 0, v1.MediaTypeImageLayer, true},
		"gzip of several":     {append(imagetest.Gzipped(layer.Diff[:512]), imagetest.Gzipped(layer.Diff[512:])...), compose.OCI, compose.None, 0, v1.MediaTypeImageLayerGzip, true},
		"zstd of several":     {append(imagetest.Zstandard(layer.Diff[:512]), imagetest.Zstandard(layer.Diff[512:])...), compose.OCI, compose.None, 0, v1.MediaTypeImageLayerZstd, true},
		"with padding behind": {append(bytes.Clone(layer.Diff), make([]byte, 10240)...), compose.OCI, compose.None, 0, v1.MediaTypeImageLayer, true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			m := mustMake(t, &compose.Image{
				Format: test.format, Compression: compose.Compression{Algorithm: test.algorithm, Level: test.level},
				Layers: []compose.Layer{{Content: inMemory(test.data), Expected: compose.Expected{Digest: digest.FromBytes(test.data), Size: int64(len(test.data))}}},
			})
			assert.Equal(t, test.want, m.man.Layers[0].MediaType)
			assert.Equal(t, test.passed, bytes.Equal(test.data, m.blobs[m.man.Layers[0].Digest]))
		})
	}
}

// Content without a media type, or that is no layer, is refused by an error
// that names the layer.
func TestLayersRefused(t *testing.T) {
	layer := imagetest.Plain(1, 100_000)
	gzipped := imagetest.Gzipped(layer.Diff)
	broken := bytes.Clone(gzipped)
	broken[len(broken)-5] ^= 1 // the checksum
	expect := func(e compose.Expected) compose.Layer { return compose.Layer{Content: inMemory(gzipped), Expected: e} }
	of := func(data []byte) compose.Layer { return compose.Layer{Content: inMemory(data)} }
	reader := func(r io.Reader) compose.Layer { return compose.Layer{Content: compose.Stream("stream", r)} }
	none := filepath.Join(t.TempDir(), "none")
	for name, test := range map[string]struct {
		layer compose.Layer
		want  string
		is    error
	}{
		"no tar":        {of([]byte(strings.Repeat("text", 1000))), "layer memory: read layer", errdef.ErrDamaged},
		"cut":           {of(layer.Diff[:1000]), "layer memory: ", errdef.ErrDamaged},
		"gzip cut":      {of(gzipped[:len(gzipped)-100]), "layer memory: ", errdef.ErrDamaged},
		"checksum":      {of(broken), "layer memory: ", errdef.ErrDamaged},
		"of text":       {of(imagetest.Gzipped([]byte(strings.Repeat("text", 1000)))), "layer memory: ", errdef.ErrDamaged},
		"digest":        {expect(compose.Expected{Digest: digest.FromString("")}), "its content is damaged", errdef.ErrDamaged},
		"no digest":     {expect(compose.Expected{Digest: "x"}), `its digest should be "x"`, digest.ErrDigestInvalidFormat},
		"shorter":       {expect(compose.Expected{Size: int64(len(gzipped)) + 1}), "bytes instead of", errdef.ErrDamaged},
		"longer":        {expect(compose.Expected{Size: 100}), "or more instead of 100", errdef.ErrDamaged},
		"diff ID":       {expect(compose.Expected{DiffID: digest.FromString("")}), "its uncompressed content is damaged", errdef.ErrDamaged},
		"at once":       {reader(iotest.ErrReader(errTest)), "layer stream: test", errTest},
		"in the middle": {reader(io.MultiReader(bytes.NewReader(layer.Diff[:50_000]), iotest.ErrReader(errTest))), "layer stream: ", errTest},
		"not there":     {compose.Layer{Content: compose.Tar(none)}, "layer " + none + ": open " + none, os.ErrNotExist},
		"a directory":   {compose.Layer{Content: compose.Tar(t.TempDir())}, "is a directory", syscall.EISDIR},
		"not opened":    {compose.Layer{Content: content{"name", func() (io.ReadCloser, error) { return nil, errTest }}}, "layer name: test", errTest},
	} {
		t.Run(name, func(t *testing.T) {
			defer leaktest.None(t, goleak.IgnoreCurrent())
			for _, c := range []compose.Algorithm{compose.Gzip, compose.None} {
				l := test.layer
				if c != compose.Gzip && strings.HasPrefix(l.Content.Name(), "stream") {
					continue // It has been read.
				}
				_, err := tryMake(t, &compose.Image{Layers: []compose.Layer{{Content: files("a", "b")}, l}, Compression: compose.Compression{Algorithm: c}})
				require.ErrorContains(t, err, test.want)
				require.ErrorContains(t, err, "making an image: layer ")
				if test.is != nil {
					require.ErrorIs(t, err, test.is)
				}
			}
		})
	}
}

// The error of a sink that fails is returned as it is, and nothing waits for
// it.
func TestSinkFails(t *testing.T) {
	defer leaktest.None(t, goleak.IgnoreCurrent())
	layer := imagetest.Plain(1, 1_000_000)
	for _, data := range [][]byte{layer.Diff, imagetest.Gzipped(layer.Diff)} {
		for _, c := range []compose.Algorithm{compose.Gzip, compose.Zstd, compose.None} {
			img := &compose.Image{Layers: []compose.Layer{{Content: inMemory(data)}}, Compression: compose.Compression{Algorithm: c}}
			_, err := img.MakeTo(t.Context(), &made{blobs: map[digest.Digest][]byte{}, err: errTest})
			require.ErrorIs(t, err, errTest)
			require.ErrorContains(t, err, "layer memory: test")
		}
	}
}

// A stream that hangs does not hold up a caller who gives up waiting.
func TestCancelled(t *testing.T) {
	r, w, err := os.Pipe()
	require.NoError(t, err)
	defer r.Close()
	defer w.Close()
	ctx, cancel := contextThatEnds(t, w)
	defer cancel()
	_, err = (&compose.Image{Layers: []compose.Layer{{Content: compose.Stream("stream", r)}}}).MakeTo(ctx, &made{blobs: map[digest.Digest][]byte{}})
	require.ErrorContains(t, err, "context canceled")
}

func TestStreamOnce(t *testing.T) {
	img := &compose.Image{Layers: []compose.Layer{{Content: compose.Stream("stdin", bytes.NewReader(imagetest.Plain(1, 10).Diff))}}}
	mustMake(t, img)
	_, err := tryMake(t, img)
	require.ErrorContains(t, err, "layer stdin: stdin can be read only once")
}

func TestFilter(t *testing.T) {
	data := tarOf(t, tar.Header{Name: "a", Uid: 5, Gid: 6, Uname: "me", Gname: "us", Mode: 0o4755, ModTime: day, PAXRecords: map[string]string{"SCHILY.xattr.user.a": "b"}})
	layer := func(r compose.Rewriting) *tar.Header {
		m := mustMake(t, &compose.Image{Layers: []compose.Layer{{Content: compose.Filter(inMemory(imagetest.XZ(data)), r)}}})
		return first(t, m.layer(t, 0))
	}
	h := layer(compose.Rewriting{})
	assert.Equal(t, "", h.Uname+h.Gname)
	assert.EqualValues(t, 0o4755, h.Mode)
	assert.NotEmpty(t, h.PAXRecords)
	h = layer(compose.Rewriting{StripSetID: true, StripXattrs: true, Owner: func(uid, gid int) (int, int, error) { return uid + 1, gid + 2, nil }, MaxTime: day.AddDate(-1, 0, 0)})
	assert.Equal(t, []any{int64(0o755), 6, 8, day.AddDate(-1, 0, 0).Unix()}, []any{h.Mode, h.Uid, h.Gid, h.ModTime.Unix()})
	assert.Empty(t, h.PAXRecords)
	h = layer(compose.Rewriting{Owner: compose.MapOwner([]compose.IDRange{{From: 0, To: 100, Size: 10}}, nil)})
	assert.Equal(t, []int{105, 6}, []int{h.Uid, h.Gid})
	_, err := tryMake(t, &compose.Image{Layers: []compose.Layer{{Content: compose.Filter(inMemory(data), compose.Rewriting{Owner: compose.MapOwner([]compose.IDRange{{From: 1000, Size: 1}}, nil)})}}})
	require.ErrorContains(t, err, "layer memory: owner of a: the user 5 is not mapped")
	_, err = tryMake(t, &compose.Image{Layers: []compose.Layer{{Content: compose.Filter(inMemory(data[:1300]), compose.Rewriting{})}}})
	require.ErrorIs(t, err, errdef.ErrDamaged)
}

// The bytes depend on the input only.
func TestDeterministic(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	var headers []tar.Header
	for i := range 1500 {
		headers = append(headers, tar.Header{Name: fmt.Sprint("dir/file", i*i), ModTime: day})
	}
	data := tarOf(t, headers...)
	for _, c := range []compose.Compression{{}, {Level: 1}, {Algorithm: compose.Zstd}} {
		found := map[digest.Digest]bool{}
		for _, cores := range []int{1, 8} {
			runtime.GOMAXPROCS(cores)
			for _, r := range []io.Reader{bytes.NewReader(data), iotest.HalfReader(bytes.NewReader(data))} {
				m := mustMake(t, &compose.Image{Layers: []compose.Layer{{Content: compose.Stream("x", r)}}, Compression: c})
				found[m.Digest()] = true
			}
		}
		assert.Len(t, found, 1)
	}
}

// Odd but harmless tars are passed on as they are.
func TestHarmless(t *testing.T) {
	for name, headers := range map[string][]tar.Header{
		"absolute":      {{Name: "/etc/x"}, {Name: "./etc//y"}},
		"twice":         {{Name: "x"}, {Name: "x"}, {Name: "x/", Typeflag: tar.TypeDir}},
		"through links": {{Name: "l", Typeflag: tar.TypeSymlink, Linkname: "../../.."}, {Name: "l/x"}},
		"devices":       {{Name: "d", Typeflag: tar.TypeBlock, Devmajor: 8}, {Name: "f", Typeflag: tar.TypeFifo}},
		"no target":     {{Name: "h", Typeflag: tar.TypeLink, Linkname: "none"}},
		"long":          {{Name: strings.Repeat("n", 300), PAXRecords: map[string]string{"SCHILY.xattr.user.x": "\xff"}}, {Name: "\xff\xfe", Format: tar.FormatGNU}},
	} {
		data := tarOf(t, headers...)
		m := mustMake(t, &compose.Image{Layers: []compose.Layer{{Content: inMemory(data)}}})
		assert.Equal(t, data, m.layer(t, 0), name)
	}
}

// There is no media type for layers in xz and bzip2. They are compressed again, which is said.
func TestLayersAreRecompressed(t *testing.T) {
	plain := imagetest.Plain(1, 50_000)
	for name, layer := range map[string]imagetest.Layer{"xz": imagetest.NewLayer(plain.Diff, imagetest.XZ(plain.Diff), ""), "bzip2": imagetest.Bzip2()} {
		var said []string
		m := mustMake(t, &compose.Image{
			Layers: []compose.Layer{{
				Content:  content{"c", func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(layer.Blob)), nil }},
				Expected: compose.Expected{Digest: layer.Digest, Size: int64(len(layer.Blob))},
			}},
			Warn: func(message string) { said = append(said, message) },
		})
		assert.Equal(t, v1.MediaTypeImageLayerGzip, m.man.Layers[0].MediaType)
		assert.Equal(t, []any{layer.DiffID().String()}, m.config["rootfs"].(map[string]any)["diff_ids"], name)
		require.Len(t, said, 1)
		assert.Contains(t, said[0], name)
	}
}

func TestOwners(t *testing.T) {
	owner := compose.MapOwner([]compose.IDRange{{From: 100000, To: 0, Size: 10}}, nil)
	uid, gid, err := owner(100005, 7)
	require.NoError(t, err)
	assert.Equal(t, []int{5, 7}, []int{uid, gid})
	_, _, err = owner(100010, 7)
	require.Error(t, err)
}
