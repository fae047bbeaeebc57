package archive_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/archive"
	"github.com/dockerarchive/dockerarchive/internal/imagetest"
)

// entry is a header, and the content of a regular file.
type entry struct {
	tar.Header
	content string
}

// layerOf returns a layer in memory, compressed by a function.
func layerOf(t *testing.T, compress func([]byte) []byte, entries ...entry) archive.LayerSource {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		e.Size, e.ModTime = int64(len(e.content)), time.Unix(1e9, 0)
		if e.Mode == 0 {
			e.Mode = 0o755
		}
		require.NoError(t, w.WriteHeader(&e.Header))
		_, err := io.WriteString(w, e.content)
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	data := compress(b.Bytes())
	return archive.LayerSource{Name: "layer", At: func(context.Context) (io.ReaderAt, int64, error) {
		return bytes.NewReader(data), int64(len(data)), nil
	}}
}

func plain(data []byte) []byte { return data }

func regular(name, content string) entry {
	return entry{tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o640, Uid: 7, Gid: 8}, content}
}

func link(name, target string) entry {
	return entry{tar.Header{Name: name, Typeflag: tar.TypeSymlink, Linkname: target}, ""}
}

func TestImageAsFS(t *testing.T) {
	for form, compress := range map[string]func([]byte) []byte{"plain": plain, "gzip": imagetest.Gzipped, "zstd": imagetest.Zstandard} {
		t.Run(form, func(t *testing.T) {
			f := archive.NewFiles([]archive.LayerSource{
				layerOf(t, compress,
					entry{tar.Header{Name: "./", Typeflag: tar.TypeDir}, ""}, entry{tar.Header{Name: "usr/", Typeflag: tar.TypeDir, Mode: 0o1777}, ""},
					regular("usr/bin/env", "env"), regular("usr/gone", "x"), link("bin", "/usr/bin"), link("usr/up", "../../../../bin/env")),
				layerOf(t, compress,
					regular("usr/.wh.gone", ""), regular("etc/os-release", strings.Repeat("ID=test\n", 10_000)),
					entry{tar.Header{Name: "etc/hard", Typeflag: tar.TypeLink, Linkname: "etc/os-release"}, ""}),
			}, archive.FilesOptions{TempDir: t.TempDir()})
			defer func() { require.NoError(t, f.Close()) }()
			fsys := f.FS(t.Context())
			require.NoError(t, fstest.TestFS(fsys, "usr/bin/env", "etc/os-release", "etc/hard", "bin", "usr/up"))
			require.NoError(t, fstest.TestFS(f.Layer(t.Context(), 0), "usr/gone"))
			require.NoError(t, fstest.TestFS(f.Layer(t.Context(), 1), "etc/hard"))
			for _, name := range []string{"usr/bin/env", "bin/env", "usr/up"} {
				data, err := fs.ReadFile(fsys, name)
				require.NoError(t, err)
				assert.Equal(t, "env", string(data))
			}
			_, err := fsys.Open("usr/gone")
			require.ErrorIs(t, err, fs.ErrNotExist)
			at, err := fsys.Open("etc/hard")
			require.NoError(t, err)
			p := make([]byte, 8)
			_, err = at.(io.ReaderAt).ReadAt(p, 8000)
			require.NoError(t, err)
			assert.Equal(t, "ID=test\n", string(p))
			require.NoError(t, at.Close())
			_, err = at.Read(p)
			require.ErrorIs(t, err, fs.ErrClosed)
		})
	}
}

func TestSys(t *testing.T) {
	capability := entry{tar.Header{Name: "ping", Typeflag: tar.TypeReg, Mode: 0o4755, Uid: 1, Gid: 2, PAXRecords: map[string]string{"SCHILY.xattr.security.capability": "\x01\x02"}}, "p"}
	f := archive.NewFiles([]archive.LayerSource{
		layerOf(t, plain, regular("d/a", "1")),
		layerOf(t, plain, capability, entry{tar.Header{Name: "hard", Typeflag: tar.TypeLink, Linkname: "ping"}, ""},
			entry{tar.Header{Name: "null", Typeflag: tar.TypeChar, Devmajor: 1, Devminor: 3}, ""}, entry{tar.Header{Name: "pipe", Typeflag: tar.TypeFifo}, ""},
			regular("bad\xffname/x", "1"), link("tobad", "bad\xffname")),
	}, archive.FilesOptions{})
	defer f.Close()
	fsys := f.FS(t.Context())
	sys := func(name string) *archive.FileSys {
		info, err := fsys.Lstat(name)
		require.NoError(t, err)
		return info.Sys().(*archive.FileSys)
	}
	ping := sys("ping")
	assert.Equal(t, &archive.FileSys{UID: 1, GID: 2, Xattrs: map[string]string{"security.capability": "\x01\x02"}, Layer: 1, Inode: ping.Inode}, ping)
	assert.Equal(t, ping.Inode, sys("hard").Inode)
	assert.Equal(t, 0, sys("d/a").Layer)
	assert.Equal(t, -1, sys("d").Layer)
	assert.Equal(t, [2]int64{1, 3}, [2]int64{sys("null").Devmajor, sys("null").Devminor})
	info, err := fsys.Stat("ping")
	require.NoError(t, err)
	assert.Equal(t, "urwxr-xr-x", info.Mode().String())
	for name, mode := range map[string]fs.FileMode{"null": fs.ModeDevice | fs.ModeCharDevice, "pipe": fs.ModeNamedPipe} {
		info, err := fsys.Stat(name)
		require.NoError(t, err)
		assert.Equal(t, mode, info.Mode().Type())
		_, err = fsys.Open(name)
		require.ErrorIs(t, err, errors.ErrUnsupported)
	}
	for _, name := range []string{"bad\xffname", "/ping", "d/../ping", ""} {
		_, err = fsys.Open(name)
		require.ErrorIs(t, err, fs.ErrInvalid, name)
	}
	_, err = fsys.Stat("tobad")
	require.ErrorIs(t, err, fs.ErrNotExist)
	hidden, err := fsys.Hidden()
	require.NoError(t, err)
	assert.Equal(t, 2, hidden, "the directory, and what is in it")
}

// The files of an image in an archive of any dialect are those of its layers.
func TestManifestFiles(t *testing.T) {
	for _, name := range []string{"skopeo.tar", "crane.tar"} {
		a, err := archive.Open(t.Context(), imagetest.Testdata(t, "archives", name))
		require.NoError(t, err)
		m, err := a.Images()[0].ForPlatform(t.Context(), imgspecv1.Platform{OS: "linux", Architecture: "amd64"})
		require.NoError(t, err)
		f, err := m.Files(t.Context(), archive.FilesOptions{})
		require.NoError(t, err)
		layers, err := m.Layers(t.Context())
		require.NoError(t, err)
		assert.Equal(t, len(layers), f.Layers())
		entries, err := fs.ReadDir(f.FS(t.Context()), ".")
		require.NoError(t, err)
		assert.NotEmpty(t, entries)
		require.NoError(t, fstest.TestFS(f.FS(t.Context()), "bin/tool", "etc/hard"))
		require.NoError(t, f.Close())
		require.NoError(t, a.Close())
	}
}
