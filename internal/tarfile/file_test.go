package tarfile

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// kinds are the two kinds of Writer, each to an empty file.
var kinds = map[string]func(f *os.File, dir string) Writer{
	"file":   func(f *os.File, dir string) Writer { return NewFileWriter(f, 0, dir) },
	"stream": func(f *os.File, dir string) Writer { return NewStreamWriter(f, dir) },
}

// boundedFile fails where something is written outside of a range.
type boundedFile struct {
	File
	from, to int64
}

func (f boundedFile) WriteAt(p []byte, off int64) (int, error) {
	if off < f.from || off+int64(len(p)) > f.to {
		return 0, fmt.Errorf("writing %d bytes at %d: %w", len(p), off, errFull)
	}
	return f.File.WriteAt(p, off)
}

// An archive that continues another leaves that as it is.
func TestGrow(t *testing.T) {
	old := reference(t, file{"old", content("o", 3000)})
	a, b := file{"a", content("a", 3000)}, file{"b", content("b", 1000)}
	for _, sealed := range []bool{true, false} {
		f := tempFile(t)
		_, err := f.Write(append(bytes.Clone(old), "left over from a crash"...))
		require.NoError(t, err)
		w := NewFileWriter(boundedFile{f, int64(len(old)), 1 << 20}, int64(len(old)), t.TempDir())
		entryB := put(t, w, nil, "b", b.data, -1)
		bad, err := w.Create(nil, nil, 5000)
		require.NoError(t, err)
		writePieces(t, bad, content("z", 2000))
		bad.Abort()
		entryA := put(t, w, nil, "a", a.data, 3000)
		if !sealed {
			w.Abort()
			assert.Equal(t, old, readAll(t, f)[:len(old)])
			continue
		}
		require.NoError(t, w.Seal(context.Background(), nil, []*Entry{entryA}, List(small("x", "x"))))
		require.NoError(t, w.Seal(context.Background(), nil, []*Entry{entryB}, nil))
		require.NoError(t, w.Close(context.Background()))
		assert.Equal(t, append(bytes.Clone(old), reference(t, a, file{"x", []byte("x")}, b)...), readAll(t, f))
	}
	for _, from := range []int64{-512, 1, 1000, 1 << 62} {
		w := NewFileWriter(tempFile(t), from, t.TempDir())
		_, err := w.Create(nil, nil, -1)
		require.ErrorContains(t, err, "cannot go on at offset")
		require.Error(t, w.Close(context.Background()))
	}
}

// Sizes are hints from outside. None puts an entry beyond the reach of file
// systems, and none overflows.
func TestClaimedSizes(t *testing.T) {
	a, b := file{"a", content("a", 3000)}, file{"b", content("b", 1000)}
	for _, claim := range []int64{1 << 39, 1 << 45, maxSize, maxSize + 1, 1 << 62, 1<<63 - 1} {
		for _, announced := range []bool{false, true} {
			f := tempFile(t)
			w := NewFileWriter(boundedFile{f, 0, 2 << 40}, 0, t.TempDir())
			first, second := w.Reserve("a", claim), w.Reserve("b", claim)
			third := w.Reserve("c", 1)
			sizeA, sizeB := int64(-1), int64(-1)
			if announced {
				sizeA, sizeB = int64(len(a.data)), int64(len(b.data))
			}
			c := put(t, w, third, "c", []byte("c"), 1)
			entryB := put(t, w, second, "b", b.data, sizeB)
			entryA := put(t, w, first, "a", a.data, sizeA)
			require.NoError(t, w.Seal(context.Background(), nil, []*Entry{entryA, entryB, c}, nil))
			require.NoError(t, w.Close(context.Background()))
			assert.Equal(t, reference(t, a, b, file{"c", []byte("c")}), readAll(t, f), "%d", claim)
		}

		w := NewFileWriter(boundedFile{tempFile(t), 0, 2 << 40}, 0, t.TempDir())
		liar, err := w.Create(nil, nil, claim)
		if claim > maxSize {
			require.ErrorIs(t, err, ErrTooLarge)
			_, err = NewStreamWriter(&bytes.Buffer{}, t.TempDir()).Create(nil, header("a"), claim)
			require.ErrorIs(t, err, ErrTooLarge)
			continue
		}
		require.NoError(t, err)
		require.NoError(t, liar.Write(context.Background(), []byte("little")))
		next, err := w.Create(nil, header("b"), 1000)
		require.NoError(t, err)
		_, err = liar.Finish(context.Background(), header("a"))
		require.ErrorIs(t, err, ErrSize)
		finish(t, next, "b", b.data)
	}
}

// Places behind one that is too large are given out when that is complete.
func TestPlacesBehindALargeOne(t *testing.T) {
	w := NewFileWriter(hole{}, 0, t.TempDir())
	w.Reserve("a", 1000)
	large := w.Reserve("b", maxAhead)
	after := w.Reserve("c", 1000)
	assert.EqualValues(t, 512+1024, large.off)
	assert.Nil(t, large.place)
	assert.EqualValues(t, -1, after.off)
	require.NoError(t, large.Release(nil))
	assert.EqualValues(t, 512+1024, after.off)
	assert.NotNil(t, after.place)
	w.written = 1 << 20 // as if so much had been written
	huge := w.Reserve("d", maxAhead-10_000)
	assert.NotNil(t, huge.place)
	assert.EqualValues(t, -1, w.Reserve("e", 1<<62).Size())
}

// hole is a file that is large, and holds nothing.
type hole struct{}

func (hole) ReadAt(p []byte, _ int64) (int, error)  { return len(p), nil }
func (hole) WriteAt(p []byte, _ int64) (int, error) { return len(p), nil }
func (hole) Truncate(int64) error                   { return nil }

// After a Seal that was cancelled between two moves, the end of the space taken
// is behind the entries that have been moved there.
func TestCancelledMoveIsNotOverwritten(t *testing.T) {
	f := tempFile(t)
	w := NewFileWriter(f, 0, t.TempDir())
	b := put(t, w, nil, "b", content("b", 5000), -1)
	a := put(t, w, nil, "a", content("a", 3000), -1)
	require.ErrorIs(t, w.Seal(&countdown{context.Background(), 2}, nil, []*Entry{a}, nil), context.Canceled)
	require.Greater(t, b.place.off, a.place.off, "b has been moved behind a")
	c := put(t, w, nil, "c", content("c", 4000), -1)
	require.NoError(t, w.Seal(context.Background(), nil, []*Entry{a, b, c}, nil))
	require.NoError(t, w.Close(context.Background()))
	assert.Equal(t, reference(t, file{"a", content("a", 3000)}, file{"b", content("b", 5000)}, file{"c", content("c", 4000)}), readAll(t, f))
}

// The same for a place that nothing has been written to.
func TestCancelledMoveTakesAPlace(t *testing.T) {
	f := tempFile(t)
	w := NewFileWriter(f, 0, t.TempDir())
	b := put(t, w, nil, "b", content("b", 5000), -1)
	a := put(t, w, nil, "a", content("a", 3000), -1)
	slot := w.Reserve("c", -1)
	require.ErrorIs(t, w.Seal(&countdown{context.Background(), 2}, nil, []*Entry{a}, nil), context.Canceled)
	c := put(t, w, slot, "c", content("c", 4000), -1)
	require.NoError(t, w.Seal(context.Background(), nil, []*Entry{a, b, c}, nil))
	require.NoError(t, w.Close(context.Background()))
	assert.Equal(t, reference(t, file{"a", content("a", 3000)}, file{"b", content("b", 5000)}, file{"c", content("c", 4000)}), readAll(t, f))
}

// Entries that were moved out of the way are as safe there as before.
func TestMovedAwayIsNotOverwritten(t *testing.T) {
	f := tempFile(t)
	w := NewFileWriter(f, 0, t.TempDir())
	b := put(t, w, nil, "b", content("b", 5000), -1)
	a := put(t, w, nil, "a", content("a", 3000), -1)
	require.NoError(t, w.Seal(context.Background(), nil, []*Entry{a}, nil))
	c := put(t, w, nil, "c", content("c", 9000), -1)
	require.NoError(t, w.Seal(context.Background(), nil, []*Entry{b, c}, nil))
	require.NoError(t, w.Close(context.Background()))
	assert.Equal(t, reference(t, file{"a", content("a", 3000)}, file{"b", content("b", 5000)}, file{"c", content("c", 9000)}), readAll(t, f))
}

// The range of a blob that fails is used by the next.
func TestAbortGivesTheRangeBack(t *testing.T) {
	w := NewFileWriter(hole{}, 0, t.TempDir())
	bad, err := w.Create(nil, nil, 5000)
	require.NoError(t, err)
	bad.Abort()
	good, err := w.Create(nil, nil, 4000)
	require.NoError(t, err)
	assert.EqualValues(t, 0, good.slot.off)
}

// A blob with a long name is spooled first, and gets its place before it ends.
func TestSpooledBehindALongHeader(t *testing.T) {
	f := tempFile(t)
	w := NewFileWriter(f, 0, t.TempDir())
	first, second := w.Reserve("a", -1), w.Reserve(longName, -1)
	b, err := w.Create(second, nil, -1)
	require.NoError(t, err)
	require.NoError(t, b.Write(context.Background(), []byte("spooled, ")))
	require.NotNil(t, b.spool)
	a := put(t, w, first, "a", []byte("a"), -1)
	entryB := finish(t, b, longName, []byte("in place"))
	require.True(t, b.inPlace)
	require.NoError(t, w.Seal(context.Background(), nil, []*Entry{a, entryB}, nil))
	require.NoError(t, w.Close(context.Background()))
	assert.Equal(t, reference(t, file{"a", []byte("a")}, file{longName, []byte("spooled, in place")}), readAll(t, f))
}

// Seal must not do these things while blobs are being written.
func TestBusy(t *testing.T) {
	ctx := context.Background()
	start := func() (w *FileWriter, b, a *Entry) {
		w = NewFileWriter(tempFile(t), 0, t.TempDir())
		return w, put(t, w, nil, "b", content("b", 600), -1), put(t, w, nil, "a", content("a", 100), -1)
	}
	t.Run("moving while a place is reserved far behind", func(t *testing.T) {
		w, b, a := start()
		slot := w.Reserve("c", 1000)
		require.ErrorIs(t, w.Seal(ctx, nil, []*Entry{a, b}, nil), ErrBusy)
		require.NoError(t, w.Seal(ctx, nil, []*Entry{b, a}, nil))
		require.NoError(t, slot.Release(nil))
	})
	t.Run("moving while a blob is written at the end", func(t *testing.T) {
		w, b, a := start()
		blob, err := w.Create(nil, nil, -1)
		require.NoError(t, err)
		require.NoError(t, blob.Write(ctx, []byte("c")))
		require.ErrorIs(t, w.Seal(ctx, nil, []*Entry{a, b}, nil), ErrBusy)
		blob.Abort()
		require.NoError(t, w.Seal(ctx, nil, []*Entry{a, b}, nil))
	})
	t.Run("writing where a place is reserved", func(t *testing.T) {
		w, b, a := start()
		slot := w.Reserve("c", 1000)
		require.ErrorIs(t, w.Seal(ctx, nil, []*Entry{b, a}, List(small("x", "x"))), ErrBusy)
		require.NoError(t, slot.Release(nil))
		require.NoError(t, w.Seal(ctx, nil, []*Entry{b, a}, List(small("x", "x"))))
	})
	t.Run("writing where a blob begins", func(t *testing.T) {
		w, b, a := start()
		blob, err := w.Create(nil, nil, -1)
		require.NoError(t, err)
		require.ErrorIs(t, w.Seal(ctx, nil, []*Entry{b, a}, List(small("x", "x"))), ErrBusy)
		blob.Abort()
	})
	t.Run("a place without a size can be anywhere", func(t *testing.T) {
		w, b, a := start()
		slot := w.Reserve("c", -1)
		require.NoError(t, w.Seal(ctx, nil, []*Entry{a, b}, List(small("x", "x"))))
		c := put(t, w, slot, "c", []byte("c"), -1)
		require.NoError(t, w.Seal(ctx, nil, []*Entry{c}, nil))
	})
	t.Run("its own place is free", func(t *testing.T) {
		w, b, a := start()
		slot := w.Reserve("x", 1)
		require.NoError(t, w.Seal(ctx, slot, []*Entry{a, b}, List(small("x", "x"))))
	})
	t.Run("release", func(t *testing.T) {
		w, _, _ := start()
		slot := w.Reserve("c", -1)
		blob, err := w.Create(slot, nil, -1)
		require.NoError(t, err)
		require.ErrorIs(t, slot.Release(nil), ErrBusy)
		blob.Abort()
		require.NoError(t, slot.Release(nil))
	})
	t.Run("closing behind a place that is written to", func(t *testing.T) {
		w, b, a := start()
		slot := w.Reserve("c", 1000)
		w.Reserve("d", 1000)
		_, err := w.Create(slot, nil, 1000)
		require.NoError(t, err)
		require.NoError(t, w.Seal(ctx, nil, []*Entry{b, a}, nil))
		require.ErrorIs(t, w.Close(ctx), ErrBusy)
	})
	t.Run("closing inside of what is sent", func(t *testing.T) {
		w := NewStreamWriter(&bytes.Buffer{}, t.TempDir())
		blob, err := w.Create(nil, header("a"), 2)
		require.NoError(t, err)
		require.NoError(t, blob.Write(ctx, []byte("a")))
		require.ErrorIs(t, w.Close(ctx), ErrBusy)
		require.ErrorIs(t, blob.Write(ctx, []byte("a")), os.ErrClosed)
	})
}

// An entry that waits in a later slot can take an earlier one's place.
func TestReleaseInstead(t *testing.T) {
	x, y := file{"x", content("x", 700)}, file{"y", content("y", 800)}
	for kind, open := range kinds {
		f := tempFile(t)
		w := open(f, t.TempDir())
		slots := []*Slot{w.Reserve("x", -1), w.Reserve("y", -1), w.Reserve("x", -1)}
		entryX := put(t, w, slots[2], "x", x.data, -1)
		require.NoError(t, slots[2].Release(entryX), "it is there already")
		require.NoError(t, slots[0].Release(entryX))
		if kind == "file" {
			require.NotNil(t, entryX.place)
			assert.EqualValues(t, 0, entryX.place.off)
		}
		entryY := put(t, w, slots[1], "y", y.data, -1)
		require.NoError(t, slots[1].Release(entryX), "it is too late to move it")
		if kind == "file" {
			assert.EqualValues(t, entryX.span, entryY.place.off)
		}
		require.NoError(t, w.Seal(context.Background(), nil, []*Entry{entryX, entryY}, nil))
		require.NoError(t, w.Close(context.Background()))
		assert.Equal(t, reference(t, x, y), readAll(t, f), kind)
	}
}

// An entry never goes to a later place than it has.
func TestReleaseInsteadKeepsTheOrder(t *testing.T) {
	f := tempFile(t)
	w := NewStreamWriter(f, t.TempDir())
	slots := []*Slot{w.Reserve("a", -1), w.Reserve("x", -1), w.Reserve("y", -1), w.Reserve("z", -1)}
	x := put(t, w, slots[1], "x", []byte("x"), -1)
	y := put(t, w, slots[2], "y", []byte("y"), -1)
	require.NoError(t, slots[3].Release(x))
	require.NoError(t, slots[0].Release(nil))
	require.NoError(t, w.Seal(context.Background(), nil, []*Entry{x, y}, nil))
	require.NoError(t, w.Close(context.Background()))
	assert.Equal(t, reference(t, file{"x", []byte("x")}, file{"y", []byte("y")}), readAll(t, f))
}

// countingFile counts the calls of a file.
type countingFile struct {
	hole
	mu      sync.Mutex
	written int64
}

func (f *countingFile) WriteAt(p []byte, _ int64) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.written += int64(len(p))
	return len(p), nil
}

// sealMany writes four blobs of each of n images, in any order, and seals then
// one image after the other.
func sealMany(t testing.TB, f File, n int) *FileWriter {
	const each = 4
	w := NewFileWriter(f, 0, t.TempDir())
	entries := make([]*Entry, n*each)
	for _, i := range rand.New(rand.NewPCG(1, 2)).Perm(len(entries)) {
		b, err := w.Create(nil, nil, -1)
		require.NoError(t, err)
		require.NoError(t, b.Write(context.Background(), zeros[:i%512]))
		entries[i], err = b.Finish(context.Background(), header("blob"))
		require.NoError(t, err)
	}
	for i := range n {
		require.NoError(t, w.Seal(context.Background(), nil, entries[i*each:(i+1)*each], List(small("x", "x"))))
	}
	return w
}

// Sealing takes time in proportion to the entries sealed, however many others
// there are.
func TestSealingManyImages(t *testing.T) {
	work := func(n int) (looked, written int64) {
		f := &countingFile{}
		w := sealMany(t, f, n)
		return int64(w.extents.looked), f.written
	}
	looked, written := work(200)
	lookedMore, writtenMore := work(2000)
	assert.Less(t, lookedMore, 20*looked)
	assert.Less(t, writtenMore, 20*written)
}

func BenchmarkSeal(b *testing.B) {
	for _, n := range []int{250, 1000, 2000, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			for b.Loop() {
				sealMany(b, hole{}, n)
			}
		})
	}
}

// Many entries that have to be moved at once, each to where another stands.
func TestSealReversed(t *testing.T) {
	for name, order := range map[string]func(i, n int) int{
		"reversed": func(i, n int) int { return n - 1 - i },
		"rotated":  func(i, n int) int { return (i + 1) % n },
		"shuffled": func(i, n int) int { return i * 7 % n },
	} {
		const n = 200
		f := tempFile(t)
		w := NewFileWriter(f, 0, t.TempDir())
		files, entries := make([]file, n), make([]*Entry, n)
		for i := range n {
			j := order(i, n)
			files[j] = file{fmt.Sprint("blob ", j), content("c", j%5*300)}
			entries[j] = put(t, w, nil, files[j].name, files[j].data, -1)
		}
		require.NoError(t, w.Seal(context.Background(), nil, entries, nil))
		require.NoError(t, w.Close(context.Background()))
		require.True(t, bytes.Equal(reference(t, files...), readAll(t, f)), name)
	}
}

// faultyFile fails at one of the things that are done to it, counted from 0.
type faultyFile struct {
	File
	mu sync.Mutex
	at int
}

func (f *faultyFile) fails() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.at--
	return f.at == -1
}

func (f *faultyFile) ReadAt(p []byte, off int64) (int, error) {
	if f.fails() {
		return 0, errFull
	}
	return f.File.ReadAt(p, off)
}

func (f *faultyFile) WriteAt(p []byte, off int64) (int, error) {
	if f.fails() {
		return 0, errFull
	}
	return f.File.WriteAt(p, off)
}

func (f *faultyFile) Truncate(size int64) error {
	if f.fails() {
		return errFull
	}
	return f.File.Truncate(size)
}

// After any single failure, either an error says so and there is no archive, or
// it was a blob that could be written again, and the archive is complete.
func TestFileFaultsAnywhere(t *testing.T) {
	want := reference(t, file{"a", content("a", 700)}, file{"b", content("b", 5000)}, file{"c", content("c", 600)}, file{"x", []byte("x")})
	for at := 0; ; at++ {
		f := tempFile(t)
		faulty := &faultyFile{File: f, at: at}
		err := writeThree(NewFileWriter(faulty, 0, t.TempDir()))
		if faulty.at >= 0 { // It did not come so far.
			require.NoError(t, err)
			require.Greater(t, at, 15)
			return
		}
		if err == nil {
			require.Equal(t, want, readAll(t, f), "%d", at)
		} else {
			require.ErrorIs(t, err, errFull, "%d", at)
		}
	}
}

// writeThree writes blobs in place, at the end and through the spool, moves some
// of them, and repeats steps that can be repeated.
func writeThree(w *FileWriter) error {
	ctx := context.Background()
	blob := func(slot *Slot, name string, n int, size int64) (e *Entry, err error) {
		for range 2 {
			b, err := w.Create(slot, nil, size)
			if err != nil {
				return nil, err
			}
			if err = b.Write(ctx, content(name, n)); err == nil {
				e, err = b.Finish(ctx, header(name))
			}
			if err == nil {
				return e, nil
			}
			b.Abort()
			if !assert.ObjectsAreEqual(errFull, err) {
				return nil, err
			}
		}
		return nil, errFull
	}
	b, err := blob(nil, "b", 5000, -1)
	if err != nil {
		return err
	}
	slotA, slotC := w.Reserve("a", -1), w.Reserve("c", -1)
	c, err := blob(slotC, "c", 600, 600)
	if err != nil {
		return err
	}
	a, err := blob(slotA, "a", 700, -1)
	if err != nil {
		return err
	}
	if err := w.Seal(ctx, nil, []*Entry{a, b, c}, List(small("x", "x"))); err != nil {
		w.Abort()
		return err
	}
	return w.Close(ctx)
}
