package archive_test

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/archive"
	"github.com/dockerarchive/dockerarchive/errdef"
)

// bomb returns 1 GiB of zeros, compressed to 1 MiB.
func bomb(t testing.TB) []byte { return bytes.Repeat(gzipped(t, make([]byte, 1<<20)), 1<<10) }

// config returns a config with the given diff IDs.
func config(diffIDs ...digest.Digest) []byte {
	data, err := json.Marshal(map[string]any{"os": "linux", "architecture": "amd64", "rootfs": map[string]any{"type": "layers", "diff_ids": diffIDs}})
	if err != nil {
		panic(err)
	}
	return data
}

const one = `[{"Config":"config.json","RepoTags":["a:b"],"Layers":["layer.tar"]}]`

// hostile are archives that no tool writes, and the errors that they should
// give.
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
	}, "layer.tar is damaged: its digest should be "},
	{"a flipped compressed layer", func(b *tarball, p parts) {
		b.file("manifest.json", []byte(one)).file("config.json", config(p.diffIDs[0])).file("layer.tar", gzipped(b.t, []byte("other")))
	}, "layer.tar is damaged: its digest should be "},
	{"a cut compressed layer", func(b *tarball, p parts) {
		b.file("manifest.json", []byte(one)).file("config.json", config(p.diffIDs[0])).file("layer.tar", p.stored[0][:100])
	}, "reading layer.tar: "},
	{"a compressed layer cut in its header", func(b *tarball, p parts) {
		b.file("manifest.json", []byte(one)).file("config.json", config(p.diffIDs[0])).file("layer.tar", p.stored[0][:4])
	}, "reading layer.tar: decompressing gzip: "},
	{"a large config of a manifest", func(b *tarball, _ parts) {
		m := v1.Manifest{Config: v1.Descriptor{MediaType: v1.MediaTypeImageConfig, Digest: b.blob(make([]byte, 5<<20)), Size: 5 << 20}, Layers: []v1.Descriptor{}}
		data, err := json.Marshal(m)
		require.NoError(b.t, err)
		b.json("index.json", v1.Index{Manifests: []v1.Descriptor{{Digest: b.blob(data), Size: int64(len(data))}}})
	}, "limit exceeded: 5242880 bytes, at most 4194304"},
	{"a manifest of more layers than its config", func(b *tarball, p parts) {
		m := v1.Manifest{Config: v1.Descriptor{Digest: b.blob(config())}, Layers: []v1.Descriptor{{Digest: b.blob(p.stored[0])}}}
		data, err := json.Marshal(m)
		require.NoError(b.t, err)
		b.json("index.json", v1.Index{Manifests: []v1.Descriptor{{Digest: b.blob(data), Size: int64(len(data))}}})
	}, "layers, but its config has 0 diff IDs"},
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
	}, "indexes nested more than 8 deep"},
	{"a legacy config that is null", func(b *tarball, p parts) {
		b.file("top/json", []byte("null")).file("top/layer.tar", p.content[0])
	}, "a legacy config is null"},
}

func TestHostileArchives(t *testing.T) {
	p := partsOf(t, "one")
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for _, h := range hostile {
		t.Run(h.name, func(t *testing.T) {
			b := newTarball(t)
			h.make(b, p)
			err := openAndRead(t.Context(), b.close())
			assert.ErrorContains(t, err, h.want)
			assertClassified(t, err)
		})
	}
	runtime.ReadMemStats(&after)
	require.Less(t, after.Sys-before.Sys, uint64(200<<20)) // The most that it has been.
}

// openAndRead reads everything in an archive and returns all errors.
func openAndRead(ctx context.Context, data []byte) error {
	a, err := archive.New(ctx, bytes.NewReader(data), int64(len(data)))
	if err != nil {
		return err
	}
	problems, err := readEverything(ctx, a)
	return errors.Join(append(problems, err, a.Close())...)
}

// assertClassified checks that a program can tell whose fault an error is.
func assertClassified(t testing.TB, err error) {
	for _, kind := range []error{errdef.ErrNoImageArchive, errdef.ErrDamaged, errdef.ErrLimit, fs.ErrNotExist} {
		if errors.Is(err, kind) {
			return
		}
	}
	assert.NoError(t, err, "of no known kind")
}

// TestCutArchives cuts archives at every block. Parts may still be readable,
// but verifying says that the end is missing.
func TestCutArchives(t *testing.T) {
	for _, f := range fixtures {
		data, err := os.ReadFile(filepath.Join(testdata, "archives", f.file))
		require.NoError(t, err)
		for cut := 0; cut < endOf(t, data); cut += 512 {
			a, err := archive.New(t.Context(), bytes.NewReader(data), int64(cut))
			if err == nil {
				var problems []error
				problems, err = readEverything(t.Context(), a)
				require.NotEmpty(t, problems, "%s cut at %d", f.file, cut)
				require.ErrorContains(t, problems[0], "cut short")
				assertClassified(t, problems[0])
			}
			assertClassified(t, err)
		}
	}
}

// TestFlippedLayers flips a bit of every layer, as a disk may.
func TestFlippedLayers(t *testing.T) {
	p := partsOf(t, "one")
	for file, layers := range map[string][][]byte{"skopeo.tar": p.content, "docker29.tar": p.stored} {
		data, err := os.ReadFile(filepath.Join(testdata, "archives", file))
		require.NoError(t, err)
		for _, layer := range layers {
			flipped := slices.Clone(data)
			at := bytes.Index(flipped, layer)
			require.Positive(t, at)
			flipped[at+len(layer)/2] ^= 1
			a := open(t, flipped)
			problems, err := readEverything(t.Context(), a)
			for _, err := range []error{err, problems[0]} {
				mismatch, ok := errors.AsType[*errdef.MismatchError](err)
				require.True(t, ok, err)
				assert.Equal(t, digest.FromBytes(layer), mismatch.Want)
				assert.Equal(t, digest.FromBytes(flipped[at:at+len(layer)]), mismatch.Got)
				assert.ErrorIs(t, err, errdef.ErrDamaged)
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

func FuzzReadEverything(f *testing.F) {
	for _, fixture := range fixtures {
		data, err := os.ReadFile(filepath.Join(testdata, "archives", fixture.file))
		require.NoError(f, err)
		f.Add(data[:endOf(f, data)]) // Without padding, which makes nothing but work.
		f.Add(gzipped(f, data))
	}
	p := partsOf(f, "one")
	for _, d := range dialects {
		b := newTarball(f)
		d.make(b, p)
		f.Add(b.close())
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		// Perhaps compressed. Any answer will do, but no panic and no hang.
		_ = openAndRead(t.Context(), data)
	})
}

// FuzzDocuments puts documents where an archive of either kind has them.
func FuzzDocuments(f *testing.F) {
	p := partsOf(f, "one")
	index, err := os.ReadFile(filepath.Join(testdata, "oci/index.json"))
	require.NoError(f, err)
	f.Add([]byte(one), index, ociBlob(f, p.manifest.Digest), p.config, []byte(`{"a":{"b":"top"}}`), []byte(`{"id":"top","config":{}}`))
	f.Add([]byte(`null`), []byte(`{}`), []byte(`{"manifests":[]}`), []byte(`{"rootfs":{"diff_ids":null}}`), []byte(`{}`), []byte(`{"parent":"top"}`))
	f.Add([]byte(`[]`), []byte(`null`), []byte(`null`), []byte(`null`), []byte(`null`), []byte(`null`))
	f.Fuzz(func(t *testing.T, manifestJSON, indexJSON, document, config, repositories, legacy []byte) {
		common := func() *tarball {
			b := newTarball(t).file("config.json", config).file("layer.tar", p.content[0])
			return b.file("top/json", legacy).file("top/layer.tar", p.content[1]).file("repositories", repositories)
		}
		oci := common()
		oci.blob(config)
		d := v1.Descriptor{Digest: oci.blob(document), Size: int64(len(document))}
		for _, b := range []*tarball{
			common().file("manifest.json", manifestJSON),
			oci.json("index.json", v1.Index{Manifests: []v1.Descriptor{d}}).file("manifest.json", manifestJSON),
			newTarball(t).file("index.json", indexJSON).file("manifest.json", manifestJSON),
			common(),
		} {
			// Any answer will do, but no panic and no hang.
			assertClassified(t, openAndRead(t.Context(), b.close()))
		}
	})
}
