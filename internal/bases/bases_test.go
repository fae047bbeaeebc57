package bases

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/errdef"
	"github.com/dockerarchive/dockerarchive/internal/catalog"
	"github.com/dockerarchive/dockerarchive/internal/image"
	"github.com/dockerarchive/dockerarchive/internal/raced"
)

// tree returns a tar of files with these contents.
func tree(t testing.TB, files ...[]byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for n, data := range files {
		require.NoError(t, w.WriteHeader(&tar.Header{Name: fmt.Sprintf("file-%d-%d", n, len(data)), Mode: 0o644, Size: int64(len(data)), Format: tar.FormatUSTAR}))
		_, err := w.Write(data)
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	return b.Bytes()
}

func content(seed uint64, n int) []byte {
	data := make([]byte, n)
	rng := rand.New(rand.NewPCG(seed, 2))
	for i := range data {
		data[i] = "etaoinshrdlu \n<>"[rng.IntN(16)]
	}
	return data
}

func packed(t testing.TB, text []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, err := z.Write(text)
	require.NoError(t, err)
	require.NoError(t, z.Close())
	return b.Bytes()
}

func reader(data []byte) *io.SectionReader {
	return io.NewSectionReader(bytes.NewReader(data), 0, int64(len(data)))
}

// add adds a layer of a store.
func add(s *Set, from string, text, blob []byte) {
	s.Add(Layer{From: from, Digest: digest.FromBytes(blob), Size: int64(len(blob)), DiffID: digest.FromBytes(text), Open: func(context.Context) (*catalog.Loan, error) {
		return &catalog.Loan{SectionReader: reader(blob), Return: func() {}}, nil
	}})
}

// lacked is a layer that an archive has a delta for.
func lacked(blob, made []byte) *catalog.Lacked {
	return &catalog.Lacked{Digest: digest.FromBytes(blob), Size: int64(len(blob)), Delta: reader(made)}
}

// made returns a delta, its bytes, and from where it takes what it is made from.
func made(t testing.TB, s *Set, blob []byte) (data []byte, from []string) {
	t.Helper()
	m, err := s.Make(t.Context(), reader(blob), false)
	require.NoError(t, err)
	if m == nil {
		return nil, nil
	}
	data, err = io.ReadAll(io.NewSectionReader(m.File, 0, m.Size))
	require.NoError(t, err)
	require.NoError(t, m.File.Close())
	assert.Equal(t, digest.FromBytes(data), m.Digest)
	for _, b := range m.From {
		from = append(from, b.Archive)
	}
	return data, from
}

// Bases are found by content, wherever they are and in whichever order they were added.
func TestChoose(t *testing.T) {
	a, b, c := content(1, 300_000), content(2, 300_000), content(3, 300_000)
	old := map[string][]byte{"a": tree(t, a), "b": tree(t, b), "c": tree(t, c)}
	var first []byte
	orders := [][]string{{"a", "b", "c"}, {"c", "b", "a"}}
	for _, order := range orders[:raced.Rounds(t, 1, 2)] {
		s := &Set{TempDir: t.TempDir()}
		for _, name := range order {
			add(s, name, old[name], packed(t, old[name]))
		}
		moved, from := made(t, s, packed(t, tree(t, []byte("new"), b)))
		assert.Less(t, len(moved), 2000)
		assert.Equal(t, []string{"b"}, from)
		squashed, from := made(t, s, packed(t, tree(t, c, []byte("between"), a)))
		assert.Less(t, len(squashed), 2000)
		slices.Sort(from)
		assert.Equal(t, []string{"a", "c"}, from)
		if first == nil {
			first = squashed
		}
		assert.Equal(t, first, squashed, "the order of bases is of no importance")
		none, _ := made(t, s, packed(t, tree(t, content(4, 300_000))))
		assert.Nil(t, none, "nothing in common")
		none, _ = made(t, s, content(5, 100))
		assert.Nil(t, none, "too small")
		none, _ = made(t, s, packed(t, a)[:50_000])
		assert.Nil(t, none, "cut short")
	}
}

// Layers of any size have sketches of a few MB, which tell as well what they have of each other.
func TestSketchesOfLargeLayers(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	const samples = 20 * maxSamples // of 2.7 GB of text
	large, small, target := newSketch(), newSketch(), newSketch()
	most := 0
	for n := range samples {
		h := r.Uint64() >> sampleBits
		for s, size := range map[*sketch]int{large: samples, small: maxSamples / 2, target: samples / 2} {
			if n < size && h>>(64-s.bits) == 0 {
				s.add(h)
			}
		}
		most = max(most, len(large.samples))
	}
	assert.LessOrEqual(t, most, maxSamples)
	const text = samples << sampleBits
	assert.InEpsilon(t, text/2, target.in(large), 0.02)
	assert.InEpsilon(t, maxSamples/2<<sampleBits, small.in(large), 0.1)
	assert.InEpsilon(t, maxSamples/2<<sampleBits, large.in(small), 0.1)
	small.without(large)
	assert.Zero(t, small.in(target), "target has nothing of it that large does not have")
	for n := range 2 * maxSamples {
		large.header(tarHeader(t, fmt.Sprintf("file %d", n), 100))
	}
	assert.Len(t, large.names, maxSamples)
}

// tarHeader returns the header of a file.
func tarHeader(t *testing.T, name string, size int64) []byte {
	t.Helper()
	var b bytes.Buffer
	require.NoError(t, tar.NewWriter(&b).WriteHeader(&tar.Header{Name: name, Size: size, Mode: 0o644, Typeflag: tar.TypeReg}))
	return b.Bytes()
}

// A layer is made once for all borrowers, and kept as far as Keep allows.
func TestLend(t *testing.T) {
	oldText := tree(t, content(1, 200_000))
	text := tree(t, content(1, 200_000), []byte("new"))
	blob := packed(t, text)
	s := &Set{TempDir: t.TempDir(), Keep: int64(len(blob))}
	add(s, "old", oldText, packed(t, oldText))
	data, _ := made(t, s, blob)
	l := lacked(blob, data)

	require.NoError(t, s.Lends(l))
	first, err := s.Lend(t.Context(), l)
	require.NoError(t, err)
	second, err := s.Lend(t.Context(), l)
	require.NoError(t, err)
	got, err := io.ReadAll(first)
	require.NoError(t, err)
	assert.Equal(t, blob, got)
	outer := func(loan *catalog.Loan) io.ReaderAt { r, _, _ := loan.Outer(); return r }
	assert.Same(t, outer(first), outer(second))
	first.Return()
	first.Return() // It counts as one return.
	got, err = io.ReadAll(second)
	require.NoError(t, err)
	assert.Equal(t, blob, got)
	second.Return()
	kept, err := s.Lend(t.Context(), l)
	require.NoError(t, err)
	assert.Same(t, outer(second), outer(kept))
	kept.Return()
	require.NoError(t, s.Close())
	assert.Empty(t, s.made.files)

	s.Keep = 0
	again, err := s.Lend(t.Context(), l)
	require.NoError(t, err)
	again.Return()
	assert.Empty(t, s.made.files)

	require.ErrorIs(t, s.Lends(lacked([]byte("x"), data)), errdef.ErrDamaged)
	_, err = s.Lend(t.Context(), lacked([]byte("x"), data))
	require.ErrorIs(t, err, errdef.ErrDamaged)
	larger := lacked(blob, data)
	larger.Size++
	require.ErrorContains(t, s.Lends(larger), "bytes")
	_, err = s.Lend(t.Context(), larger)
	require.ErrorIs(t, err, errdef.ErrDamaged)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = s.Lend(ctx, l)
	require.ErrorIs(t, err, context.Canceled)
}

// A base with wrong content is named, and nothing is lent; one that cannot be read is its
// own error.
func TestLendFails(t *testing.T) {
	oldText := tree(t, content(1, 200_000))
	blob := packed(t, tree(t, content(1, 200_000), []byte("new")))
	s := &Set{TempDir: t.TempDir()}
	add(s, "old", oldText, packed(t, oldText))
	data, _ := made(t, s, blob)
	l := lacked(blob, data)
	broken := errors.New("broken")
	for want, open := range map[string]func(context.Context) (*catalog.Loan, error){
		"wrong base": func(context.Context) (*catalog.Loan, error) {
			return &catalog.Loan{SectionReader: reader(blob), Return: func() {}}, nil
		},
		"damaged base": func(context.Context) (*catalog.Loan, error) {
			return &catalog.Loan{SectionReader: reader(packed(t, oldText)[:5000]), Return: func() {}}, nil
		},
		"broken": func(context.Context) (*catalog.Loan, error) { return nil, broken },
	} {
		other := &Set{TempDir: t.TempDir()}
		other.Add(Layer{From: "other.tar", DiffID: digest.FromBytes(oldText), Size: -1, Open: open})
		require.NoError(t, other.Lends(l))
		_, err := other.Lend(t.Context(), l)
		require.ErrorContains(t, err, want)
		require.ErrorContains(t, err, "other.tar")
		assert.Equal(t, 1, strings.Count(err.Error(), "other.tar"))
		assert.Equal(t, want == "damaged base", errors.Is(err, errdef.ErrDamaged))
	}
	data = slices.Clone(data)
	data[len(data)-3] ^= 1
	_, err := s.Lend(t.Context(), lacked(blob, data))
	require.ErrorIs(t, err, errdef.ErrDamaged)
	assert.Empty(t, s.made.files)
	assert.Equal(t, digest.FromString("x"), image.SHA256(sha256.Sum256([]byte("x"))))
}

// A layer is there as it was compressed and, in another archive of the same name, as text: the
// delta is the same in either order.
func TestOrderOfForms(t *testing.T) {
	text := tree(t, content(1, 100_000))
	blob := packed(t, tree(t, content(1, 100_000), []byte("new")))
	docker := Layer{From: "jan.tar", DiffID: digest.FromBytes(text), Size: int64(len(text)), Open: func(context.Context) (*catalog.Loan, error) {
		return &catalog.Loan{SectionReader: reader(text), Return: func() {}}, nil
	}}
	a, b := &Set{TempDir: t.TempDir()}, &Set{TempDir: t.TempDir()}
	a.Add(docker)
	add(a, "jan.tar", text, packed(t, text))
	add(b, "jan.tar", text, packed(t, text))
	b.Add(docker)
	first, _ := made(t, a, blob)
	second, _ := made(t, b, blob)
	assert.Equal(t, first, second)
	assert.Len(t, b.layers, 1, "each is read once")
}

// Samples depend on the content alone: not on where it is.
func TestSamplesAnywhere(t *testing.T) {
	text := content(1, 1<<20)
	samples := func(b []byte) map[uint64]struct{} {
		s := newSketch()
		require.NoError(t, s.read(t.Context(), bytes.NewReader(b), math.MaxInt64))
		return s.samples
	}
	want := samples(text)
	assert.Greater(t, len(want), 300)
	for _, n := range []int{1, 13, 63, 64, 512} {
		got := samples(append(make([]byte, n), text...))
		missing := 0
		for h := range want {
			if _, ok := got[h]; !ok {
				missing++
			}
		}
		assert.LessOrEqual(t, missing, 1, "%d bytes later: only a sample across the start may be another", n)
	}
	require.ErrorIs(t, newSketch().read(t.Context(), bytes.NewReader(text), 1<<19), errBomb)
}

// One file is the whole layer; it has a new name, and a line more at its beginning.
func TestInsertedLine(t *testing.T) {
	data := content(1, 300_000)
	old := tree(t, data)
	s := &Set{TempDir: t.TempDir()}
	add(s, "old", old, packed(t, old))
	changed, from := made(t, s, packed(t, tree(t, slices.Insert(slices.Clone(data), 5000, []byte("a line that is new")...))))
	assert.Equal(t, []string{"old"}, from)
	assert.Less(t, len(changed), 2000)
}

// failing cannot be read behind its half.
type failing struct{ *bytes.Reader }

var errFailing = errors.New("read failed")

func (f failing) ReadAt(p []byte, off int64) (int, error) {
	if off+int64(len(p)) > f.Size()/2 {
		return 0, errFailing
	}
	return f.Reader.ReadAt(p, off)
}

// A base that cannot be read is told, not done without; one that cannot be decompressed is none.
func TestUnreadableBase(t *testing.T) {
	text := tree(t, content(1, 400_000))
	blob := packed(t, text)
	target := packed(t, tree(t, content(1, 400_000), []byte("new")))
	for name, base := range map[string]io.ReaderAt{"unreadable": failing{bytes.NewReader(blob)}, "damaged": bytes.NewReader(append(slices.Clone(blob[:1000]), make([]byte, len(blob)-1000)...))} {
		s := &Set{TempDir: t.TempDir()}
		s.Add(Layer{From: "jan.tar", Digest: digest.FromBytes(blob), Size: int64(len(blob)), DiffID: digest.FromBytes(text), Open: func(context.Context) (*catalog.Loan, error) {
			return &catalog.Loan{SectionReader: io.NewSectionReader(base, 0, int64(len(blob))), Return: func() {}}, nil
		}})
		made, err := s.Make(t.Context(), reader(target), false)
		assert.Nil(t, made, name)
		if name == "damaged" {
			require.NoError(t, err)
			continue
		}
		require.ErrorIs(t, err, errFailing)
		assert.ErrorContains(t, err, "jan.tar")
	}
}
