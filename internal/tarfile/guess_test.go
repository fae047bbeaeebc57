package tarfile

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// expecting begins a blob of unknown size in a slot, with an expected size. Others
// do not wait for its end.
func expecting(t *testing.T, w Writer, slot *Slot, size int64) *Blob {
	t.Helper()
	b, err := w.Create(slot, nil, -1)
	require.NoError(t, err)
	b.source.wait = slowAfter
	b.SourceWaits(true)
	b.Expect(size)
	return b
}

// Blobs whose guessed sizes are right are all written in place at the same time.
func TestGuessedPlaces(t *testing.T) {
	f := tempFile(t)
	w := NewFileWriter(f, 0, missing(t))
	slots := []*Slot{w.Reserve("a", -1), w.Reserve("b", -1), w.Reserve("c", -1)}
	a, b, c := expecting(t, w, slots[0], 5000), expecting(t, w, slots[1], 700), expecting(t, w, slots[2], 3000)
	ec := finish(t, c, "c", content("c", 3000))
	writePieces(t, a, content("a", 2000))
	eb := finish(t, b, "b", content("b", 700))
	writePieces(t, a, content("a", 5000)[2000:])
	ea, err := a.Finish(t.Context(), header("a"))
	require.NoError(t, err)
	writer := &writesOf{File: f}
	w.file = writer
	require.NoError(t, w.Seal(t.Context(), nil, []*Entry{ea, eb, ec}, nil))
	require.NoError(t, w.Close(t.Context()))
	assert.EqualValues(t, 2*blockSize, writer.n, "nothing is moved")
	assert.Equal(t, reference(t, file{"a", content("a", 5000)}, file{"b", content("b", 700)}, file{"c", content("c", 3000)}), readAll(t, f))
}

// missing is a spool directory for tests that must not spool.
func missing(t *testing.T) string { return t.TempDir() + "/missing" }

// writesOf counts the writes to a file.
type writesOf struct {
	File
	n int
}

func (f *writesOf) WriteAt(p []byte, off int64) (int, error) {
	f.n += len(p)
	return f.File.WriteAt(p, off)
}

// With guesses wrong anywhere, and at any time, the archive is the same, also with
// the blobs of another image still being written too.
func TestWrongGuesses(t *testing.T) {
	const real = 4000
	files := []file{{"a", content("a", real)}, {"b", content("b", real)}, {"c", content("c", real)}}
	want := reference(t, append(files, file{"x", []byte("x")})...)
	guesses := []int64{-1, 0, 1, real - 1, real, real + 1, real + 600, 1 << 33, 1 << 50, maxSize, maxSize + 1}
	for _, first := range guesses {
		for _, second := range guesses {
			for _, begun := range []int{0, 1, real / 2, real} {
				f := tempFile(t)
				w := NewFileWriter(f, 0, t.TempDir())
				var blobs []*Blob
				for i, guess := range []int64{first, second, real} {
					b, err := w.Create(w.Reserve("a", -1), nil, -1)
					require.NoError(t, err)
					b.source.wait = slowAfter // Nobody waits for it.
					b.SourceWaits(true)
					writePieces(t, b, files[i].data[:begun])
					b.Expect(guess)
					blobs = append(blobs, b)
				}
				end := w.Reserve("x", -1)
				entries := make([]*Entry, len(blobs))
				for _, i := range []int{1, 0, 2} {
					entries[i] = finish(t, blobs[i], files[i].name, files[i].data[begun:])
				}
				require.NoError(t, w.Seal(t.Context(), end, entries, List(small("x", "x"))))
				require.NoError(t, w.Close(t.Context()))
				require.Equal(t, want, readAll(t, f), "%d, %d, after %d", first, second, begun)
			}
		}
	}
}

// A place that was guessed is given back where nothing follows yet.
func TestGuessedTooLarge(t *testing.T) {
	f := tempFile(t)
	w := NewFileWriter(boundedFile{f, 0, 8192}, 0, missing(t))
	a := finish(t, expecting(t, w, nil, 1<<30), "a", content("a", 2000))
	b := finish(t, expecting(t, w, nil, 1<<30), "b", content("b", 2000))
	require.NoError(t, w.Seal(t.Context(), nil, []*Entry{a, b}, nil))
	require.NoError(t, w.Close(t.Context()))
	assert.Equal(t, reference(t, file{"a", content("a", 2000)}, file{"b", content("b", 2000)}), readAll(t, f))
}

// A blob that fails in a place that was guessed can be written again, longer too.
func TestGuessedAgain(t *testing.T) {
	for _, again := range []int{500, 1000, 2000} {
		f := tempFile(t)
		w := NewFileWriter(f, 0, t.TempDir())
		slot := w.Reserve("a", -1)
		a := expecting(t, w, slot, 1000)
		b := finish(t, expecting(t, w, nil, 300), "b", content("b", 300))
		writePieces(t, a, content("z", 900))
		a.Abort()
		a, err := w.Create(slot, nil, -1)
		require.NoError(t, err)
		entry := finish(t, a, "a", content("a", again))
		require.NoError(t, w.Seal(t.Context(), nil, []*Entry{entry, b}, nil))
		require.NoError(t, w.Close(t.Context()))
		assert.Equal(t, reference(t, file{"a", content("a", again)}, file{"b", content("b", 300)}), readAll(t, f))
	}
}

// A blob that outgrows its place and fails leaves nothing.
func TestOutgrownAndAborted(t *testing.T) {
	f := tempFile(t)
	w := NewFileWriter(f, 0, t.TempDir())
	a := expecting(t, w, w.Reserve("a", -1), 1000)
	b := expecting(t, w, w.Reserve("a", -1), 2000)
	writePieces(t, a, content("a", 3000))
	assert.True(t, a.Spooled())
	a.Abort()
	entry := finish(t, b, "b", content("b", 2000))
	require.NoError(t, w.Seal(t.Context(), nil, []*Entry{entry}, nil))
	require.NoError(t, w.Close(t.Context()))
	assert.Equal(t, reference(t, file{"b", content("b", 2000)}), readAll(t, f))
}

// Many blobs at once, with guesses of all kinds, in files and streams.
func TestConcurrentGuesses(t *testing.T) {
	const n = 24
	var files []file
	for i := range n {
		name := fmt.Sprintf("%c-%02d", 'a'+i, i)
		files = append(files, file{name, content(name, 1+i*i*311%20_000)})
	}
	want := reference(t, append(files, file{"x", []byte("x")})...)
	for kind, open := range kinds {
		for round := range 30 {
			f := tempFile(t)
			w := open(f, t.TempDir())
			slots := make([]*Slot, n)
			for i := range slots {
				slots[i] = w.Reserve("a", -1)
			}
			end := w.Reserve("a", -1)
			entries := make([]*Entry, n)
			var wg sync.WaitGroup
			for i, x := range files {
				wg.Go(func() {
					entries[i] = putGuessing(t, w, slots[i], x, rand.New(rand.NewPCG(uint64(round), uint64(i))))
				})
			}
			wg.Wait()
			require.NoError(t, w.Seal(t.Context(), end, entries, List(small("x", "x"))))
			require.NoError(t, w.Close(t.Context()))
			require.Equal(t, want, readAll(t, f), "%s, round %d", kind, round)
		}
	}
}

// putGuessing writes a blob, and calls Expect somewhere on its way, or not.
func putGuessing(t *testing.T, w Writer, slot *Slot, x file, rng *rand.Rand) *Entry {
	b, err := w.Create(slot, nil, -1)
	if !assert.NoError(t, err) {
		return nil
	}
	size := len(x.data)
	guess := []int64{-1, int64(size), int64(size), int64(size), int64(size / 2), int64(2 * size), 1 << 31}[rng.IntN(7)]
	at := rng.IntN(size + 1)
	for data := x.data; len(data) > 0; {
		if size-len(data) >= at {
			b.Expect(guess)
			at = size + 1
		}
		n := min(len(data), 1+rng.IntN(3000))
		if !assert.NoError(t, b.Write(t.Context(), data[:n])) {
			return nil
		}
		data = data[n:]
	}
	e, err := b.Finish(t.Context(), header(x.name))
	assert.NoError(t, err)
	return e
}

// After any single failure while blobs lose their places, there is an error, or a
// retry made the archive complete.
func TestGuessFaultsAnywhere(t *testing.T) {
	want := reference(t, file{"a", content("a", 3000)}, file{"b", content("b", 5000)}, file{"c", content("c", 600)})
	for at := 0; ; at++ {
		f := tempFile(t)
		faulty := &faultyFile{File: f, at: at}
		err := writeGuessing(NewFileWriter(faulty, 0, t.TempDir()))
		if faulty.at >= 0 { // It did not come so far.
			require.NoError(t, err)
			require.Equal(t, want, readAll(t, f))
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

// writeGuessing writes three blobs at once, one too long and one too short for its
// place. A blob that fails is written again.
func writeGuessing(w *FileWriter) error {
	ctx := context.Background()
	slots := []*Slot{w.Reserve("a", -1), w.Reserve("b", -1), w.Reserve("c", -1)}
	defer w.Abort()
	write := func(b *Blob, name string, n int) (e *Entry, err error) {
		for _, part := range [][]byte{content(name, n)[:n/2], content(name, n)[n/2:]} {
			if err == nil {
				err = b.Write(ctx, part)
			}
		}
		if err == nil {
			e, err = b.Finish(ctx, header(name))
		}
		if err != nil {
			b.Abort()
		}
		return e, err
	}
	var blobs []*Blob
	for i, guess := range []int64{2000, 9000, 600} {
		b, err := w.Create(slots[i], nil, -1)
		if err != nil {
			return err
		}
		b.Expect(guess)
		blobs = append(blobs, b)
	}
	var entries []*Entry
	for i, x := range []file{{"a", make([]byte, 3000)}, {"b", make([]byte, 5000)}, {"c", make([]byte, 600)}} {
		e, err := write(blobs[i], x.name, len(x.data))
		if err != nil {
			b, err := w.Create(slots[i], nil, -1)
			if err != nil {
				return err
			}
			if e, err = write(b, x.name, len(x.data)); err != nil {
				return err
			}
		}
		entries = append(entries, e)
	}
	if err := w.Seal(ctx, nil, entries, nil); err != nil {
		return err
	}
	return w.Close(ctx)
}

// A size that is a lie costs no space, and the archive ends where it should.
func TestGuessesTakeNoSpace(t *testing.T) {
	f := tempFile(t)
	w := NewFileWriter(f, 0, t.TempDir())
	slots := []*Slot{w.Reserve("a", -1), w.Reserve("b", -1)}
	a, b := expecting(t, w, slots[0], 1<<32-1), expecting(t, w, slots[1], 100_000)
	eb := finish(t, b, "b", content("b", 100_000))
	ea := finish(t, a, "a", content("a", 2000))
	require.NoError(t, w.Seal(t.Context(), nil, []*Entry{ea, eb}, nil))
	info, err := os.Stat(f.Name())
	require.NoError(t, err)
	assert.Greater(t, info.Size(), int64(1<<32), "the place was made")
	require.NoError(t, w.Close(t.Context()))
	assert.Equal(t, reference(t, file{"a", content("a", 2000)}, file{"b", content("b", 100_000)}), readAll(t, f))
}

// A moved entry is not on the disk twice.
func TestMovingFreesSpace(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only there can a part of a file be given back")
	}
	const n = 1 << 20
	f := tempFile(t)
	w := NewFileWriter(f, 0, t.TempDir())
	var blobs []*Blob
	for range 4 {
		blobs = append(blobs, expecting(t, w, w.Reserve("a", -1), 1<<30))
	}
	entries := make([]*Entry, len(blobs))
	for i, b := range slices.Backward(blobs) {
		require.NoError(t, b.Write(t.Context(), content("a", n)))
		var err error
		entries[i], err = b.Finish(t.Context(), header("a"))
		require.NoError(t, err)
	}
	require.NoError(t, w.Seal(t.Context(), nil, entries, nil))
	assert.Less(t, used(t, f), int64(5*n))
	require.NoError(t, w.Close(t.Context()))
}

// used returns how many bytes of the disk a file takes.
func used(t *testing.T, f *os.File) int64 {
	t.Helper()
	end, err := f.Seek(0, io.SeekEnd)
	require.NoError(t, err)
	var total int64
	for at := int64(0); at < end; {
		data, err := f.Seek(at, 3) // SEEK_DATA
		if err != nil {
			break
		}
		at, err = f.Seek(data, 4) // SEEK_HOLE
		require.NoError(t, err)
		total += at - data
	}
	return total
}
