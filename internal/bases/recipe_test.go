package bases

import (
	"bytes"
	"context"
	"io"
	"io/fs"
	"slices"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/delta"
	"github.com/dockerarchive/dockerarchive/errdef"
	"github.com/dockerarchive/dockerarchive/internal/catalog"
)

// deltaOf returns a delta for a text of 4000 bytes.
func deltaOf(t *testing.T, target []byte, from ...[]byte) *catalog.Lacked {
	t.Helper()
	var sources []delta.Source
	for _, b := range from {
		sources = append(sources, reader(b))
	}
	var d bytes.Buffer
	_, err := delta.Make(t.Context(), &d, reader(target), sources, nil)
	require.NoError(t, err)
	return lacked(target, d.Bytes())
}

// addText adds a layer that is not compressed, and counts how often it is opened.
func addText(s *Set, text []byte, opened *int) {
	d := digest.FromBytes(text)
	s.Add(Layer{From: "jan.tar", Digest: d, Size: int64(len(text)), DiffID: d, Open: func(context.Context) (*catalog.Loan, error) {
		*opened++
		return &catalog.Loan{SectionReader: reader(text), Return: func() {}}, nil
	}})
}

// addDelta adds what a delta makes, as an archive does.
func addDelta(s *Set, l *catalog.Lacked) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.addMade(&Layer{From: "feb.tar", Digest: l.Digest, Size: l.Size, DiffID: l.Digest}, l)
}

// Two chains that need each other at every step: each layer is made once, whichever is added
// first, nothing is kept in the end, and what nothing needs any more goes before.
func TestCrossedChains(t *testing.T) {
	x, y := content(1, 4000), content(2, 4000)
	s := &Set{TempDir: t.TempDir()}
	opened := 0
	januaryX, januaryY := x, y
	var all []*catalog.Lacked
	for n := range 6 {
		step := func(a, b []byte) []byte {
			next := append(slices.Clone(a[:2000]), b[2000:]...)
			next[n]++
			return next
		}
		nextX, nextY := step(x, y), step(y, x)
		all = append(all, deltaOf(t, nextX, x, y), deltaOf(t, nextY, x, y))
		x, y = nextX, nextY
	}
	for _, l := range slices.Backward(all) {
		addDelta(s, l)
	}
	last := all[len(all)-1]
	require.ErrorIs(t, s.Lends(last), fs.ErrNotExist)
	addText(s, januaryX, &opened)
	require.ErrorIs(t, s.Lends(last), fs.ErrNotExist)
	addText(s, januaryY, new(int))
	require.NoError(t, s.Lends(last))
	loan, err := s.Lend(t.Context(), last)
	require.NoError(t, err)
	assert.Equal(t, 2, opened, "once for each of the first two deltas")
	assert.Len(t, s.made.files, 1)
	got, err := io.ReadAll(loan)
	require.NoError(t, err)
	assert.Equal(t, y, got)
	loan.Return()
	assert.Empty(t, s.made.files)
}

// Deltas that claim to need each other, and can be made from what is there too, are not made
// from each other.
func TestCycle(t *testing.T) {
	january, x := content(1, 4000), content(1, 4100)
	s := &Set{TempDir: t.TempDir()}
	l := deltaOf(t, x, january)
	r := s.recipe(l)
	require.NoError(t, r.err)
	r.delta.Bases[0].Digest = r.delta.Target.Digest // As if the delta said so.
	addDelta(s, l)
	addText(s, january, new(int))
	require.NoError(t, s.Lends(l))
	loan, err := s.Lend(t.Context(), l)
	if err == nil { // Whether it is the right base is for delta to say.
		loan.Return()
	}
	assert.NotErrorIs(t, err, fs.ErrNotExist)
}

// A delta may need no base at all.
func TestLendWithoutBases(t *testing.T) {
	text := bytes.Repeat([]byte("x"), 100_000)
	s := &Set{TempDir: t.TempDir()}
	l := deltaOf(t, text)
	require.NoError(t, s.Lends(l))
	loan, err := s.Lend(t.Context(), l)
	require.NoError(t, err)
	got, err := io.ReadAll(loan)
	require.NoError(t, err)
	assert.Equal(t, text, got)
	loan.Return()
}

// Why a delta is of no use is told: it is too new, or its base is there in another form.
func TestLendsTellsWhy(t *testing.T) {
	oldText := tree(t, content(1, 200_000))
	blob := packed(t, tree(t, content(1, 200_000), []byte("new")))
	s := &Set{TempDir: t.TempDir()}
	add(s, "old", oldText, packed(t, oldText))
	data, _ := made(t, s, blob)
	newer := slices.Clone(data)
	newer[8]++
	err := s.Lends(lacked(blob, newer))
	require.ErrorIs(t, err, delta.ErrVersion)
	require.NotErrorIs(t, err, errdef.ErrDamaged)
	require.NotErrorIs(t, err, fs.ErrNotExist)
	damaged := slices.Clone(data)
	damaged[20] ^= 1
	require.ErrorIs(t, s.Lends(lacked(blob, damaged)), errdef.ErrDamaged)
	require.ErrorIs(t, (&Set{}).Lends(lacked(blob, data)), fs.ErrNotExist)
}

// A layer that waits for one base after the other waits once at a time, of however many it is made.
func TestWaitingForManyBases(t *testing.T) {
	var target []byte
	var from [][]byte
	for n := range 32 {
		from = append(from, content(uint64(n+1), 4000))
		target = append(target, from[n]...)
	}
	l := deltaOf(t, target, from...)
	s := &Set{TempDir: t.TempDir()}
	addDelta(s, l)
	for n, text := range from {
		require.Error(t, s.Lends(l))
		addText(s, text, new(int))
		for _, w := range s.waiting {
			require.LessOrEqual(t, len(w), 2, "after %d", n+1)
		}
	}
	require.NoError(t, s.Lends(l))
	assert.Len(t, s.layers, len(from)+1)
	assert.Empty(t, s.waiting)
}

// A base that takes too much to decompress is named.
func TestLargeBaseIsNamed(t *testing.T) {
	text := content(1, 4000)
	target := append(slices.Clone(text), "new"...)
	l := deltaOf(t, target, text)
	var large bytes.Buffer
	z, err := zstd.NewWriter(&large, zstd.WithWindowSize(64<<20))
	require.NoError(t, err)
	_, err = z.Write(text)
	require.NoError(t, err)
	require.NoError(t, z.Flush()) // Else the frame is of one segment, and has no window.
	require.NoError(t, z.Close())
	s := &Set{TempDir: t.TempDir()}
	s.Add(Layer{From: "jan.tar", Digest: digest.FromBytes(large.Bytes()), Size: int64(large.Len()), DiffID: digest.FromBytes(text), Open: func(context.Context) (*catalog.Loan, error) {
		return &catalog.Loan{SectionReader: reader(large.Bytes()), Return: func() {}}, nil
	}})
	_, err = s.Lend(t.Context(), l)
	require.ErrorIs(t, err, delta.ErrLargeBase)
	assert.ErrorContains(t, err, "jan.tar")
}
