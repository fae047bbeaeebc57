package output

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// before has something done just before files are exchanged.
func before(t *testing.T, do func()) {
	t.Helper()
	real := swap
	t.Cleanup(func() { swap = real })
	swap = func(name, target string) error {
		do()
		return real(name, target)
	}
}

// Somebody puts a file in the place of the empty one at the last moment: it is
// given back to them.
func TestExchangedAtTheLastMoment(t *testing.T) {
	for name, create := range creators {
		for content, want := range map[string]error{"theirs": ErrNotEmpty, "": ErrAppeared} {
			t.Run(name+" "+content, func(t *testing.T) { exchanged(t, create, content, want) })
		}
	}
}

func exchanged(t *testing.T, create func(string, fs.FileInfo) (*Output, error), content string, want error) {
	dir := t.TempDir()
	path := filepath.Join(dir, "out")
	require.NoError(t, os.WriteFile(path, nil, 0o600))
	old, err := os.Stat(path)
	require.NoError(t, err)
	o, err := create(path, old)
	require.NoError(t, err)
	write(t, o, "new")
	theirs := filepath.Join(t.TempDir(), "theirs")
	require.NoError(t, os.WriteFile(theirs, []byte(content), 0o600))
	info, err := os.Stat(theirs)
	require.NoError(t, err)
	before(t, func() { require.NoError(t, os.Rename(theirs, path)) })
	require.ErrorIs(t, o.Commit(t.Context()), want)
	assert.Equal(t, content, read(t, path))
	now, err := os.Stat(path)
	require.NoError(t, err)
	assert.True(t, os.SameFile(info, now))
	assert.Equal(t, []string{"out"}, names(t, dir))
}

// The empty file is written to at the last moment.
func TestWrittenAtTheLastMoment(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "out")
	require.NoError(t, os.WriteFile(path, nil, 0o600))
	o, err := Create(t.Context(), path)
	require.NoError(t, err)
	before(t, func() { require.NoError(t, os.WriteFile(path, []byte("theirs"), 0o600)) })
	require.ErrorIs(t, o.Commit(t.Context()), ErrNotEmpty)
	assert.Equal(t, "theirs", read(t, path))
	assert.Equal(t, []string{"out"}, names(t, dir))
}

// Not all file systems can exchange files.
func TestWithoutExchange(t *testing.T) {
	real := swap
	t.Cleanup(func() { swap = real })
	swap = func(string, string) error { return pathError("exchange", "", unix.EINVAL) }
	dir := t.TempDir()
	path := filepath.Join(dir, "out")
	require.NoError(t, os.WriteFile(path, nil, 0o600))
	o, err := Create(t.Context(), path)
	require.NoError(t, err)
	write(t, o, "new")
	require.NoError(t, o.Commit(t.Context()))
	assert.Equal(t, "new", read(t, path))
	assert.Equal(t, []string{"out"}, names(t, dir))
}

// Some systems that have files without names cannot give them one: that is found out
// before anything is written.
func TestWithoutLinking(t *testing.T) {
	real := linkAt
	t.Cleanup(func() { linkAt = real })
	linkAt = func(string, string) error { return unix.EPERM }
	for _, there := range []bool{false, true} {
		dir := t.TempDir()
		path := filepath.Join(dir, "out")
		if there {
			require.NoError(t, os.WriteFile(path, nil, 0o600))
		}
		o, err := Create(t.Context(), path)
		require.NoError(t, err)
		write(t, o, "new")
		require.NoError(t, o.Commit(t.Context()))
		assert.Equal(t, "new", read(t, path))
		assert.Equal(t, []string{"out"}, names(t, dir))

		o, err = Replace(t.Context(), path, false)
		require.NoError(t, err)
		write(t, o, "newer")
		require.NoError(t, o.Commit(t.Context()))
		assert.Equal(t, "newer", read(t, path))
		assert.Equal(t, []string{"out"}, names(t, dir))
	}
}

// The trial file of a process that was killed is in nobody's way; another file with that
// name is left alone.
func TestLinkTrialLeft(t *testing.T) {
	for content, want := range map[string][]string{"": {"out"}, "theirs": {linkTrial, "out"}} {
		dir := t.TempDir()
		require.NoError(t, os.WriteFile(filepath.Join(dir, linkTrial), []byte(content), 0o600))
		o, err := Create(t.Context(), filepath.Join(dir, "out"))
		require.NoError(t, err)
		write(t, o, "new")
		require.NoError(t, o.Commit(t.Context()))
		assert.Equal(t, want, names(t, dir))
	}
}
