package parts_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/errdef"
	"github.com/dockerarchive/dockerarchive/internal/parts"
)

func TestNames(t *testing.T) {
	for path, want := range map[string]struct {
		archive string
		number  int
	}{
		"x.tar.000": {"x.tar", 0}, "x.tar.017": {"x.tar", 17}, "dir/x.999": {"dir/x", 999}, "x.000.001": {"x.000", 1},
		"x.tar": {}, "x.tar.00": {}, "x.tar.0000": {}, "x.tar.0a0": {}, ".000": {}, "dir/.000": {}, "": {}, "000": {},
	} {
		archive, number, ok := parts.Split(path)
		assert.Equal(t, want.archive, archive, path)
		assert.Equal(t, want.number, number, path)
		require.Equal(t, want.archive != "", ok, path)
		if ok {
			assert.Equal(t, path, parts.Name(archive, number))
		}
	}
}

func TestFind(t *testing.T) {
	dir := t.TempDir()
	archive, err := parts.InDir(dir)
	require.NoError(t, err)
	assert.Empty(t, archive)
	for _, name := range []string{"x.tar.000", "x.tar.002", "x.tar", ".y.tar.001", "x.tar.0001"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), nil, 0o600))
	}
	require.NoError(t, os.Mkdir(filepath.Join(dir, "x.tar.003"), 0o700))
	numbers, err := parts.Find(filepath.Join(dir, "x.tar"))
	require.NoError(t, err)
	assert.Equal(t, []int{0, 2}, numbers)
	archive, err = parts.InDir(dir)
	require.NoError(t, err)
	assert.Equal(t, filepath.Join(dir, "x.tar"), archive)
	assert.False(t, parts.Contains(dir), "nothing has a list")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "z.000"), nil, 0o600))
	_, err = parts.InDir(dir)
	require.ErrorContains(t, err, "x.tar, z")
	_, err = parts.Find(filepath.Join(dir, "none", "x.tar"))
	require.ErrorIs(t, err, os.ErrNotExist)
	assert.False(t, parts.Contains(filepath.Join(dir, "none", "x.tar.000")))
}

func list() *parts.List {
	d := digest.FromString("part")
	return &parts.List{Size: 2*parts.MinSize + 700, Parts: []parts.Part{{parts.MinSize, d, d}, {parts.MinSize, d, d}, {1000, d, d}}}
}

// A list that was written is read again, and a change of any of its bytes is noticed.
func TestList(t *testing.T) {
	encoded, err := list().Encode()
	require.NoError(t, err)
	assert.Zero(t, len(encoded)%512)
	part := append(bytes.Repeat([]byte("x"), 1000), encoded...)
	read := func(p []byte) (*parts.List, error) { return parts.Read(bytes.NewReader(p), int64(len(p))) }
	got, err := read(part)
	require.NoError(t, err)
	assert.Equal(t, list(), got)
	end := 1000 + len(strings.TrimRight(string(encoded), "\x00"))
	for i := 1000; i < end; i++ {
		part[i] ^= 4
		got, err := read(part)
		if err == nil {
			assert.Nil(t, got, i)
		} else {
			require.ErrorIs(t, err, errdef.ErrDamaged, i)
		}
		part[i] ^= 4
	}
	for i := range part { // However much is missing.
		got, err := read(part[:i])
		require.NoError(t, err)
		assert.Nil(t, got, i)
	}
	_, err = read(part[100:])
	require.ErrorIs(t, err, errdef.ErrDamaged, "less before it")
	_, err = read(part[1010:])
	require.ErrorIs(t, err, errdef.ErrDamaged, "less of it")
}

func TestListThatLies(t *testing.T) {
	for what, spoil := range map[string]func(*parts.List){
		"no parts":           func(l *parts.List) { l.Parts = nil },
		"sizes":              func(l *parts.List) { l.Parts[0].Size++ },
		"small parts":        func(l *parts.List) { l.Parts[0].Size, l.Parts[1].Size = 0, 0 },
		"negative":           func(l *parts.List) { l.Size = -1 },
		"huge parts":         func(l *parts.List) { l.Parts[0].Size, l.Parts[1].Size = 1<<62, 1<<62 },
		"a larger archive":   func(l *parts.List) { l.Size = 1 << 40 },
		"no digest":          func(l *parts.List) { l.Parts[1].Digest = "sha256:x" },
		"no digest of ends":  func(l *parts.List) { l.Parts[1].Ends = "" },
		"more than there is": func(l *parts.List) { l.Parts[2].Size++ },
	} {
		l := list()
		spoil(l)
		encoded, err := l.Encode()
		require.NoError(t, err)
		part := append(make([]byte, 1000), encoded...)
		_, err = parts.Read(bytes.NewReader(part), int64(len(part)))
		require.ErrorIs(t, err, errdef.ErrDamaged, what)
	}
	// A document that is no list at all, behind a valid sum.
	many := &parts.List{Parts: make([]parts.Part, 40*parts.Max)}
	_, err := many.Encode()
	require.ErrorContains(t, err, "internal error")
	full := &parts.List{Parts: make([]parts.Part, parts.Max)}
	for i := range full.Parts {
		full.Parts[i] = parts.Part{Size: 1 << 50, Digest: digest.FromString("part"), Ends: digest.FromString("part")}
	}
	_, err = full.Encode()
	require.NoError(t, err, "as many as there can be")
}

func TestEnds(t *testing.T) {
	data := bytes.Repeat([]byte("0123456789abcdef"), 1024)
	for _, size := range []int64{0, 1, parts.EndSize, parts.EndSize + 1, 2 * parts.EndSize, int64(len(data))} {
		got, err := parts.Ends(bytes.NewReader(data), size)
		require.NoError(t, err)
		want := data[:size]
		if size > 2*parts.EndSize {
			want = append(bytes.Clone(data[:parts.EndSize]), data[size-parts.EndSize:size]...)
		}
		assert.Equal(t, digest.FromBytes(want), got, size)
		got, err = parts.Digest(t.Context(), bytes.NewReader(data), size)
		require.NoError(t, err)
		assert.Equal(t, digest.FromBytes(data[:size]), got, size)
	}
	_, err := parts.Ends(bytes.NewReader(data), int64(len(data))+1)
	require.Error(t, err)
	_, err = parts.Digest(t.Context(), bytes.NewReader(data), int64(len(data))+1)
	require.Error(t, err)
}
