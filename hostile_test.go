package dockerarchive

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
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/containers/image/v5/copy"
	"github.com/containers/image/v5/directory"
	"github.com/containers/image/v5/manifest"
	"github.com/containers/image/v5/types"
	"github.com/klauspost/compress/gzip"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// readEverything opens an archive, lists it, describes it, verifies it and reads
// every blob of every image. It returns the first error, and the problems that
// verifying found.
func readEverything(path string) (problems []error, err error) {
	ctx := context.Background()
	r, err := NewReader(nil, path)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	if problems, err = r.Verify(ctx, nil); err != nil {
		return nil, err
	}
	list, err := r.List()
	if err != nil {
		return problems, err
	}
	if _, err := r.Images(ctx); err != nil {
		return problems, err
	}
	for _, refs := range list {
		for _, ref := range refs {
			if err := readImage(ctx, ref); err != nil {
				return problems, err
			}
		}
	}
	return problems, nil
}

func readImage(ctx context.Context, ref types.ImageReference) error {
	src, err := ref.NewImageSource(ctx, nil)
	if err != nil {
		return err
	}
	defer src.Close()
	data, mediaType, err := src.GetManifest(ctx, nil)
	if err != nil {
		return err
	}
	type instance struct {
		data      []byte
		mediaType string
	}
	instances := []instance{{data, mediaType}}
	if manifest.MIMETypeIsMultiImage(mediaType) {
		instances = nil
		list, err := manifest.ListFromBlob(data, mediaType)
		if err != nil {
			return err
		}
		for _, d := range list.Instances() {
			data, mediaType, err := src.GetManifest(ctx, &d)
			if err != nil {
				return err
			}
			instances = append(instances, instance{data, mediaType})
		}
	}
	for _, i := range instances {
		m, err := manifest.FromBlob(i.data, i.mediaType)
		if err != nil {
			return err
		}
		blobs := []types.BlobInfo{m.ConfigInfo()}
		for _, l := range m.LayerInfos() {
			blobs = append(blobs, l.BlobInfo)
		}
		for _, b := range blobs {
			stream, _, err := src.GetBlob(ctx, b, nil)
			if err != nil {
				return err
			}
			d, err := digest.FromReader(stream)
			if err := errors.Join(err, stream.Close()); err != nil {
				return err
			}
			if b.Digest.Algorithm() == digest.Canonical && d != b.Digest {
				return fmt.Errorf("blob %s is %s", b.Digest, d)
			}
		}
	}
	return nil
}

func gz(t testing.TB, data []byte) []byte { return compressors["gzip"](t, data) }

// bomb returns 1 GiB of zeros, compressed to 1 MiB.
func bomb(t testing.TB) []byte {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	zeros := make([]byte, 1<<20)
	for range 1 << 10 {
		_, err := w.Write(zeros)
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	return b.Bytes()
}

// config returns a config with the given diff IDs.
func config(diffIDs ...digest.Digest) []byte {
	data, err := json.Marshal(map[string]any{"os": "linux", "architecture": "amd64", "rootfs": map[string]any{"type": "layers", "diff_ids": diffIDs}})
	if err != nil {
		panic(err)
	}
	return data
}

const one = `[{"Config":"config.json","RepoTags":["a:b"],"Layers":["layer.tar"]}]`

// hostile are archives that no tool writes, and what is to be said of them.
var hostile = []struct {
	name string
	make func(*tarball, parts)
	want string // in the error
}{
	{"nothing", func(*tarball, parts) {}, "no images"},
	{"manifest.json is a directory", func(b *tarball, _ parts) { b.dir("manifest.json") }, "manifest.json is not a regular file but a directory"},
	{"manifest.json is a gzip bomb", func(b *tarball, _ parts) { b.file("manifest.json", bomb(b.t)) }, "decoding manifest.json"},
	{"manifest.json names a directory", func(b *tarball, _ parts) {
		b.file("manifest.json", []byte(`[{"Config":"dir"}]`)).dir("dir")
	}, "dir is not a regular file but a directory"},
	{"manifest.json names what is not there", func(b *tarball, _ parts) { b.file("manifest.json", []byte(one)) }, "config.json is not in the archive"},
	{"manifest.json names a file outside", func(b *tarball, _ parts) {
		b.file("manifest.json", []byte(`[{"Config":"../../etc/passwd"}]`))
	}, "leads out of the archive"},
	{"a config outside", func(b *tarball, _ parts) {
		b.file("manifest.json", []byte(one)).symlink("config.json", "../../etc/passwd")
	}, "outside of the archive"},
	{"a config from the root", func(b *tarball, _ parts) {
		b.file("manifest.json", []byte(one)).symlink("config.json", "/etc/passwd")
	}, "etc/passwd is not in the archive"},
	{"a config that is a loop", func(b *tarball, _ parts) {
		b.file("manifest.json", []byte(one)).symlink("config.json", "./config.json")
	}, "links, probably in a loop"},
	{"a config that is a gzip bomb", func(b *tarball, _ parts) {
		b.file("manifest.json", []byte(one)).file("config.json", bomb(b.t)).file("layer.tar", nil)
	}, "decoding config config.json"},
	{"a large config", func(b *tarball, _ parts) {
		b.file("manifest.json", []byte(one)).file("config.json", make([]byte, 5<<20)).file("layer.tar", nil)
	}, "limit exceeded: 5242880 bytes, at most 4194304"},
	{"a deep config", func(b *tarball, _ parts) {
		b.file("manifest.json", []byte(one)).file("config.json", []byte(strings.Repeat(`{"rootfs":`, 100_000))).file("layer.tar", nil)
	}, "nested more than"},
	{"a deep manifest.json", func(b *tarball, _ parts) { b.file("manifest.json", bytes.Repeat([]byte("["), 100_000)) }, "nested more than"},
	{"a wide manifest.json", func(b *tarball, _ parts) {
		b.file("manifest.json", []byte("["+strings.Repeat("{},", 1<<20)+"{}]"))
	}, "objects"},
	{"a wide index.json", func(b *tarball, _ parts) {
		b.file("index.json", []byte(`{"manifests":[`+strings.Repeat("{},", 1<<20)+"{}]}"))
	}, "objects"},
	{"a config without layers", func(b *tarball, _ parts) {
		b.file("manifest.json", []byte(one)).file("config.json", []byte(`{}`)).file("layer.tar", nil)
	}, "it has no rootfs"},
	{"other layer counts", func(b *tarball, _ parts) {
		b.file("manifest.json", []byte(one)).file("config.json", config()).file("layer.tar", nil)
	}, "has 0 diff IDs, but manifest.json has 1 layers"},
	{"a layer for two diff IDs", func(b *tarball, p parts) {
		b.file("manifest.json", []byte(`[{"Config":"c","Layers":["a","b"]}]`)).file("c", config(p.diffIDs[:2]...)).file("a", p.content[0]).hardlink("b", "a")
	}, "a is listed as the layer for two diff IDs, "},
	{"a diff ID that is none", func(b *tarball, _ parts) {
		b.file("manifest.json", []byte(one)).file("config.json", config("sha256:../../etc/passwd")).file("layer.tar", nil)
	}, "invalid checksum digest"},
	{"a flipped layer", func(b *tarball, p parts) {
		flipped := slices.Clone(p.content[0])
		flipped[0] ^= 1
		b.file("manifest.json", []byte(one)).file("config.json", config(p.diffIDs[0])).file("layer.tar", flipped)
	}, "blob "},
	{"a flipped compressed layer", func(b *tarball, p parts) {
		b.file("manifest.json", []byte(one)).file("config.json", config(p.diffIDs[0])).file("layer.tar", gz(b.t, []byte("other")))
	}, "layer.tar is damaged: its digest should be "},
	{"a cut compressed layer", func(b *tarball, p parts) {
		b.file("manifest.json", []byte(one)).file("config.json", config(p.diffIDs[0])).file("layer.tar", p.stored[0][:100])
	}, "reading layer.tar: "},
	{"a flipped manifest", func(b *tarball, p parts) {
		data := bytes.ReplaceAll(ociBlob(b.t, p.manifest.Digest), []byte("gzip"), []byte("zipg"))
		b.json("index.json", v1.Index{Manifests: []v1.Descriptor{p.manifest}}).file("blobs/sha256/"+p.manifest.Digest.Encoded(), data)
	}, "is damaged: its digest should be sha256:cbd2ddd5b036eda3c9a3ccd069641058e326783b38e15a1a87fbab169c657a05 but is sha256:"},
	{"a manifest that is not there", func(b *tarball, p parts) {
		b.json("index.json", v1.Index{Manifests: []v1.Descriptor{p.manifest}})
	}, "saved without the manifest"},
	{"a digest that is a path", func(b *tarball, _ parts) {
		b.json("index.json", v1.Index{Manifests: []v1.Descriptor{{Digest: "sha256:../../../../etc/passwd"}}})
	}, "invalid checksum digest"},
	{"layers in a loop", func(b *tarball, p parts) {
		for _, id := range []string{"a", "b"} {
			b.json(id+"/json", map[string]string{"parent": string('a' + 'b' - id[0])}).file(id+"/layer.tar", p.content[0])
		}
		b.json("repositories", map[string]map[string]string{"x": {"y": "a"}})
	}, "layers, probably in a loop"},
	{"nested indexes", func(b *tarball, p parts) {
		d := p.manifest
		b.blobs(p)
		for range 20 {
			data, err := json.Marshal(v1.Index{MediaType: v1.MediaTypeImageIndex, Manifests: []v1.Descriptor{d, d}})
			require.NoError(b.t, err)
			d = v1.Descriptor{MediaType: v1.MediaTypeImageIndex, Digest: digest.FromBytes(data), Size: int64(len(data))}
			b.file("blobs/sha256/"+d.Digest.Encoded(), data)
		}
		b.json("index.json", v1.Index{Manifests: []v1.Descriptor{d}})
	}, ""},
}

func TestHostileArchives(t *testing.T) {
	p := partsOf(t, "one")
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for _, h := range hostile {
		t.Run(h.name, func(t *testing.T) {
			b := newTarball(t)
			h.make(b, p)
			problems, err := readEverything(writeFile(t, b.close()))
			require.Error(t, errors.Join(append(problems, err)...))
			assert.ErrorContains(t, err, h.want)
		})
	}
	runtime.ReadMemStats(&after)
	require.Less(t, after.Sys-before.Sys, uint64(200<<20)) // The most that it has been.
}

// TestCutArchives cuts archives at every block. Whatever may still be read of
// one, verify says that its end is missing.
func TestCutArchives(t *testing.T) {
	for _, f := range fixtures {
		data, err := os.ReadFile(filepath.Join("testdata/archives", f.file))
		require.NoError(t, err)
		path := filepath.Join(t.TempDir(), "cut.tar")
		for cut := 0; cut < endOf(t, data); cut += 512 {
			require.NoError(t, os.WriteFile(path, data[:cut], 0o600))
			problems, err := readEverything(path)
			if err == nil {
				require.NotEmpty(t, problems, "%s cut at %d", f.file, cut)
				require.ErrorContains(t, problems[0], "cut short")
			}
		}
	}
}

// endOf returns where the end-of-archive marker ends, which padding may follow.
func endOf(t testing.TB, data []byte) int {
	r := bytes.NewReader(data)
	tr := tar.NewReader(r)
	for {
		_, err := tr.Next()
		if err == io.EOF {
			return len(data) - r.Len()
		}
		require.NoError(t, err)
	}
}

// TestCopyOfAFlippedBlob flips a bit of a layer in archives of both kinds.
func TestCopyOfAFlippedBlob(t *testing.T) {
	p := partsOf(t, "one")
	for file, layer := range map[string][]byte{"skopeo.tar": p.content[0], "docker29.tar": p.stored[0]} {
		data, err := os.ReadFile(filepath.Join("testdata/archives", file))
		require.NoError(t, err)
		at := bytes.Index(data, layer)
		require.Positive(t, at)
		data[at+len(layer)/2] ^= 1
		flipped := digest.FromBytes(data[at : at+len(layer)])
		r := openFile(t, data)
		list, err := r.List()
		require.NoError(t, err)
		err = copyTo(t, list[0][0])
		require.ErrorContains(t, err, digest.FromBytes(layer).String(), file)
		require.ErrorContains(t, err, flipped.String(), file)
		problems, err := r.Verify(context.Background(), nil)
		require.NoError(t, err)
		require.ErrorContains(t, problems[0], digest.FromBytes(layer).String(), file)
		require.ErrorContains(t, problems[0], flipped.String(), file)
	}
}

func copyTo(t testing.TB, src types.ImageReference) error {
	dest, err := directory.NewReference(t.TempDir())
	require.NoError(t, err)
	_, err = copy.Image(context.Background(), acceptAnything(t), dest, src, &copy.Options{ImageListSelection: copy.CopyAllImages})
	return err
}

func TestReadingEndsWithItsContext(t *testing.T) {
	in, out, err := os.Pipe()
	require.NoError(t, err)
	defer out.Close()
	stdin := os.Stdin
	os.Stdin = in
	defer func() { os.Stdin = stdin }()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() {
		_, err := NewReaderContext(ctx, nil, "-") // Nothing is ever written.
		done <- err
	}()
	cancel()
	require.ErrorIs(t, <-done, context.Canceled)

	r, err := NewReader(nil, "testdata/archives/skopeo.tar")
	require.NoError(t, err)
	defer r.Close()
	_, err = r.Verify(ctx, nil)
	require.ErrorIs(t, err, context.Canceled)
	list, err := r.List()
	require.NoError(t, err)
	src, err := list[0][0].NewImageSource(ctx, nil)
	require.NoError(t, err)
	stream, _, err := src.GetBlob(ctx, types.BlobInfo{Digest: partsOf(t, "one").diffIDs[0]}, nil)
	require.NoError(t, err)
	defer stream.Close()
	_, err = io.ReadAll(stream)
	require.ErrorIs(t, err, context.Canceled)
}

func FuzzReadEverything(f *testing.F) {
	for _, fixture := range fixtures {
		data, err := os.ReadFile(filepath.Join("testdata/archives", fixture.file))
		require.NoError(f, err)
		f.Add(data)
		f.Add(gz(f, data))
	}
	for _, d := range dialects {
		b := newTarball(f)
		d.make(b, partsOf(f, "one"))
		f.Add(b.close())
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		path := filepath.Join(t.TempDir(), "archive")
		require.NoError(t, os.WriteFile(path, data, 0o600))
		_, _ = readEverything(path) // Whatever it says, it must not panic or hang.
	})
}

// FuzzDocuments puts documents where an archive of either kind has them.
func FuzzDocuments(f *testing.F) {
	p := partsOf(f, "one")
	index, err := os.ReadFile("testdata/oci/index.json")
	require.NoError(f, err)
	f.Add([]byte(one), index, ociBlob(f, p.manifest.Digest), p.config, []byte(`{"a":{"b":"top"}}`), []byte(`{"id":"top","config":{}}`))
	f.Add([]byte(`null`), []byte(`{}`), []byte(`{"manifests":[]}`), []byte(`{"rootfs":{"diff_ids":null}}`), []byte(`{}`), []byte(`{"parent":"top"}`))
	f.Fuzz(func(t *testing.T, manifestJSON, indexJSON, document, config, repositories, legacy []byte) {
		for _, dialect := range []string{"docker", "oci", "legacy"} {
			b := newTarball(t)
			b.file("config.json", config).file("layer.tar", p.content[0])
			b.file("top/json", legacy).file("top/layer.tar", p.content[1]).file("repositories", repositories)
			switch dialect {
			case "docker":
				b.file("manifest.json", manifestJSON)
			case "oci":
				d := v1.Descriptor{Digest: digest.FromBytes(document), Size: int64(len(document))}
				b.file("blobs/sha256/"+d.Digest.Encoded(), document)
				b.file("blobs/sha256/"+digest.FromBytes(config).Encoded(), config)
				b.json("index.json", v1.Index{Manifests: []v1.Descriptor{d}}).file("manifest.json", manifestJSON)
				_, _ = readEverything(writeFile(t, b.close()))
				b = newTarball(t)
				b.file("index.json", indexJSON).file("manifest.json", manifestJSON)
			}
			_, _ = readEverything(writeFile(t, b.close())) // Whatever it says, it must not panic or hang.
		}
	})
}
