package layertar_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"slices"
	"testing"
	"testing/iotest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/errdef"
	"github.com/dockerarchive/dockerarchive/internal/layertar"
)

func TestFilter(t *testing.T) {
	var in bytes.Buffer
	w := tar.NewWriter(&in)
	require.NoError(t, w.WriteHeader(&tar.Header{Typeflag: tar.TypeXGlobalHeader, Name: "g", PAXRecords: map[string]string{"comment": "c"}}))
	for _, h := range []*tar.Header{
		{Name: "./a", Typeflag: tar.TypeReg, Size: 2, Uname: "joe", Gname: "users", Uid: 5, Mode: 0o4755, ModTime: time.Unix(100, 0)},
		{Name: "./a", Typeflag: tar.TypeReg, Size: 2, ModTime: time.Unix(10, 5e8), Format: tar.FormatPAX, PAXRecords: map[string]string{"SCHILY.xattr.user.x": "\x00"}},
	} {
		require.NoError(t, w.WriteHeader(h))
		_, err := io.WriteString(w, "xy")
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	var out bytes.Buffer
	rewriting := &layertar.Rewriting{MaxTime: time.Unix(50, 9), Owner: func(uid, gid int) (int, int, error) { return uid + 1000, gid + 2000, nil }}
	require.NoError(t, layertar.Filter(t.Context(), &out, bytes.NewReader(in.Bytes()), rewriting))
	r := tar.NewReader(&out)
	h, err := r.Next()
	require.NoError(t, err)
	assert.Equal(t, &tar.Header{Typeflag: tar.TypeReg, Name: "./a", Size: 2, Uid: 1005, Gid: 2000, Mode: 0o4755, ModTime: time.Unix(50, 0), Format: tar.FormatUSTAR}, h)
	h, err = r.Next()
	require.NoError(t, err)
	assert.Equal(t, "\x00", h.PAXRecords["SCHILY.xattr.user.x"])
	assert.Equal(t, time.Unix(10, 5e8), h.ModTime)
	_, err = r.Next()
	require.Equal(t, io.EOF, err)

	err = layertar.Filter(t.Context(), io.Discard, bytes.NewReader(in.Bytes()[:in.Len()-1600]), rewriting)
	require.ErrorIs(t, err, errdef.ErrDamaged)
	broken := errors.New("broken")
	err = layertar.Filter(t.Context(), io.Discard, io.MultiReader(bytes.NewReader(in.Bytes()), iotest.ErrReader(broken)), rewriting)
	require.ErrorIs(t, err, broken)
	assert.NotErrorIs(t, err, errdef.ErrDamaged)
}

func TestTree(t *testing.T) {
	tree := &layertar.Tree{}
	add := func(h tar.Header) { tree.Add(layertar.Entry{Header: &h}) }
	add(tar.Header{Name: "a-b"})
	add(tar.Header{Name: "a/b/c"})
	add(tar.Header{Name: "a/d", Typeflag: tar.TypeSymlink, Linkname: "../../e"})
	add(tar.Header{Name: "a", Typeflag: tar.TypeDir})
	add(tar.Header{Name: "l", Typeflag: tar.TypeSymlink, Linkname: "l"})
	var names []string
	for name := range tree.All() {
		names = append(names, name)
	}
	assert.Equal(t, []string{"a", "a/b/c", "a/d", "a-b", "l"}, names)
	assert.True(t, slices.IsSortedFunc(names, layertar.Compare))
	assert.Equal(t, []string{"b", "d"}, tree.Children("a"))
	at, err := tree.Resolve("a/d/f")
	require.NoError(t, err)
	assert.Equal(t, "e/f", at)
	_, err = tree.Resolve("l/x")
	require.ErrorIs(t, err, errdef.ErrDamaged)
}
