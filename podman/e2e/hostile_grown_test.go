package e2e_test

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/podman/copying"
	"github.com/dockerarchive/dockerarchive/podman/internal/imagetest"
)

// edited returns an archive each of whose entries change may write otherwise, or write
// something before; it reports whether the entry itself is left out.
func edited(t *testing.T, archive []byte, change func(w *tar.Writer, h *tar.Header, data []byte) bool) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for r := tar.NewReader(bytes.NewReader(archive)); ; {
		h, err := r.Next()
		if err == io.EOF {
			require.NoError(t, w.Close())
			return b.Bytes()
		}
		require.NoError(t, err)
		data, err := io.ReadAll(r)
		require.NoError(t, err)
		if !change(w, h, data) {
			require.NoError(t, w.WriteHeader(h))
			_, err := w.Write(data)
			require.NoError(t, err)
		}
	}
}

// before returns an archive with more entries before the first of its documents.
func before(t *testing.T, archive []byte, extra ...func(w *tar.Writer)) []byte {
	t.Helper()
	done := false
	return edited(t, archive, func(w *tar.Writer, h *tar.Header, _ []byte) bool {
		if !done && slices.Contains([]string{"manifest.json", "index.json"}, h.Name) {
			done = true
			for _, e := range extra {
				e(w)
			}
		}
		return false
	})
}

func entry(t *testing.T, h tar.Header, data []byte) func(w *tar.Writer) {
	return func(w *tar.Writer) {
		if h.Typeflag == 0 {
			h.Typeflag, h.Size, h.Mode = tar.TypeReg, int64(len(data)), 0o644
		}
		require.NoError(t, w.WriteHeader(&h))
		_, err := w.Write(data)
		require.NoError(t, err)
	}
}

// Changing a hostile archive either gives a whole one, or fails and changes nothing.
func TestHostileArchivesAreAddedTo(t *testing.T) {
	m := imagetest.NewImage(t, "2", imagetest.Gzip(2, 5000))
	for kindName, kind := range kinds {
		path := filepath.Join(t.TempDir(), "archive.tar")
		require.NoError(t, copyTo(t, kind, path, "a:1", imagetest.NewImage(t, "1", imagetest.Gzip(1, 3000))))
		plain := imagetest.ReadFile(t, path)
		var fillers []func(*tar.Writer)
		for i := range 10 {
			fillers = append(fillers, entry(t, tar.Header{Name: fmt.Sprintf(".superseded/%d", i)}, plain))
		}
		linked := func(kind byte) []byte {
			return edited(t, plain, func(w *tar.Writer, h *tar.Header, data []byte) bool {
				if h.Name != "manifest.json" {
					return false
				}
				h.Name = "elsewhere"
				require.NoError(t, w.WriteHeader(h))
				_, err := w.Write(data)
				require.NoError(t, err)
				require.NoError(t, w.WriteHeader(&tar.Header{Typeflag: kind, Name: "manifest.json", Linkname: "elsewhere"}))
				return true
			})
		}
		cut := bytes.Clone(before(t, plain, entry(t, tar.Header{Name: ".superseded/0"}, plain)))
		claim(cut, ".superseded/0")
		for what, c := range map[string]struct {
			archive []byte
			err     string
		}{
			"an end marker in a blob":        {before(t, plain, entry(t, tar.Header{Name: "other"}, plain)), ""},
			"ten fillers":                    {before(t, plain, fillers...), ""},
			"a filler of somebody else's":    {before(t, plain, entry(t, tar.Header{Name: ".superseded/1"}, []byte("theirs"))), ""},
			"a directory of that name":       {before(t, plain, entry(t, tar.Header{Name: ".superseded/", Typeflag: tar.TypeDir, Mode: 0o755}, nil)), ""},
			"a link of that name":            {before(t, plain, entry(t, tar.Header{Name: ".superseded", Typeflag: tar.TypeSymlink, Linkname: "/etc"}, nil)), "not a directory"},
			"a filler of 2^60 bytes":         {cut, "cut short"},
			"a document that is a hard link": {linked(tar.TypeLink), "not a file by itself"},
			"a document that is a link":      {linked(tar.TypeSymlink), "not a file by itself"},
			"a document twice":               {append(bytes.Clone(plain[:len(plain)-1024]), plain...), "more than once"},
		} {
			t.Run(kindName+", "+what, func(t *testing.T) {
				require.NoError(t, os.WriteFile(path, c.archive, 0o600))
				err := copyTo(t, kind, path, "b:1", m)
				if c.err != "" {
					require.ErrorContains(t, err, c.err)
					assert.True(t, bytes.Equal(c.archive, imagetest.ReadFile(t, path)), "it is as it was")
					return
				}
				require.NoError(t, err)
				a, b := []string{"docker.io/library/a:1"}, []string{"docker.io/library/b:1"}
				assert.Equal(t, [][]string{a, b}, namesIn(t, imagetest.ReadFile(t, path)))
				require.NoError(t, remove(t, path, "a:1"))
				grown := imagetest.ReadFile(t, path)
				assert.Equal(t, [][]string{b}, namesIn(t, grown))
				names := map[string]int{}
				edited(t, grown, func(_ *tar.Writer, h *tar.Header, _ []byte) bool {
					names[filepath.Clean(h.Name)]++
					return false
				})
				for name, n := range names {
					assert.Equal(t, 1, n, name)
				}
			})
		}
	}
}

// claim has the header of an entry say that it has 2^60 bytes.
func claim(archive []byte, name string) {
	at := bytes.Index(archive, append([]byte(name), 0))
	block := archive[at : at+512]
	size := block[124:136]
	clear(size)
	size[0], size[4] = 0x80, 0x10 // in base 256
	sum := 0
	copy(block[148:156], "        ")
	for _, b := range block {
		sum += int(b)
	}
	copy(block[148:156], fmt.Sprintf("%06o\x00 ", sum))
}

// A file that may not be written to is left alone.
func TestReadOnlyArchive(t *testing.T) {
	path := filepath.Join(t.TempDir(), "archive.tar")
	one := imagetest.NewImage(t, "1", imagetest.Gzip(1, 3000))
	require.NoError(t, copyTo(t, kinds["oci"], path, "a:1", one))
	whole := imagetest.ReadFile(t, path)
	require.NoError(t, os.Chmod(path, 0o400))
	if f, err := os.OpenFile(path, os.O_RDWR, 0); err == nil {
		require.NoError(t, f.Close())
		t.Skip("permissions do not keep this user, probably root, from anything")
	}
	require.ErrorIs(t, copyTo(t, kinds["oci"], path, "b:1", one), os.ErrPermission)
	require.ErrorIs(t, remove(t, path, "a:1"), os.ErrPermission)
	assert.True(t, bytes.Equal(whole, imagetest.ReadFile(t, path)))
}

// remove removes a name from an archive.
func remove(t *testing.T, path, name string) error {
	_, err := copying.Remove(t.Context(), path, []string{name}, nil)
	return err
}
