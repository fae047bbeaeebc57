package tarfile

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func header(name string) *tar.Header {
	return &tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o444, ModTime: time.Unix(0, 0)}
}

// content returns n bytes that depend on name.
func content(name string, n int) []byte {
	b := make([]byte, n)
	rng := rand.New(rand.NewPCG(uint64(len(name)), uint64(name[0])<<8|uint64(name[len(name)-1])))
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	return b
}

type file struct {
	name string
	data []byte
}

// reference returns the archive that archive/tar makes of files.
func reference(t *testing.T, files ...file) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range files {
		h := header(f.name)
		h.Size = int64(len(f.data))
		require.NoError(t, w.WriteHeader(h))
		_, err := w.Write(f.data)
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	return b.Bytes()
}

func tempFile(t *testing.T) *os.File {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "archive"))
	require.NoError(t, err)
	t.Cleanup(func() { f.Close() })
	return f
}

func readAll(t *testing.T, f *os.File) []byte {
	t.Helper()
	b, err := os.ReadFile(f.Name())
	require.NoError(t, err)
	return b
}

// put writes a blob in pieces and returns its entry.
func put(t *testing.T, w Writer, slot *Slot, name string, data []byte, size int64) *Entry {
	t.Helper()
	b, err := w.Create(slot, header(name), size)
	require.NoError(t, err)
	return finish(t, b, name, data)
}

func finish(t *testing.T, b *Blob, name string, data []byte) *Entry {
	t.Helper()
	writePieces(t, b, data)
	e, err := b.Finish(context.Background(), header(name))
	require.NoError(t, err)
	return e
}

func writePieces(t *testing.T, b *Blob, data []byte) {
	t.Helper()
	for len(data) > 0 {
		n := min(len(data), 1000)
		require.NoError(t, b.Write(context.Background(), data[:n]))
		data = data[n:]
	}
}

func small(name, data string) Small {
	return Small{Header: header(name), Data: []byte(data)}
}

func TestFileInOrder(t *testing.T) {
	for _, known := range []bool{true, false} {
		f := tempFile(t)
		w := NewFileWriter(f, 0, t.TempDir())
		files := []file{{"a", content("a", 3000)}, {"b", content("b", 512)}, {"c", nil}}
		var entries []*Entry
		for _, x := range files {
			size := int64(-1)
			if known {
				size = int64(len(x.data))
			}
			entries = append(entries, put(t, w, nil, x.name, x.data, size))
		}
		require.NoError(t, w.Seal(context.Background(), nil, entries, List(small("config", "{}"))))
		require.NoError(t, w.Close(context.Background()))
		assert.Equal(t, reference(t, append(files, file{"config", []byte("{}")})...), readAll(t, f))
	}
}

// Entries arrive in every order and are sealed in the canonical one.
func TestSealMovesEntriesToTheirOrder(t *testing.T) {
	sizes := map[string]int{"a": 100, "b": 5000, "c": 1536, "d": 512}
	want := reference(t,
		file{"a", content("a", sizes["a"])}, file{"b", content("b", sizes["b"])},
		file{"c", content("c", sizes["c"])}, file{"d", content("d", sizes["d"])}, file{"x", []byte("x")})
	permutations([]string{"a", "b", "c", "d"}, func(order []string) {
		f := tempFile(t)
		w := NewFileWriter(f, 0, t.TempDir())
		entries := map[string]*Entry{}
		for _, name := range order {
			entries[name] = put(t, w, nil, name, content(name, sizes[name]), -1)
		}
		require.NoError(t, w.Seal(context.Background(), nil,
			[]*Entry{entries["a"], entries["b"], entries["c"], entries["d"], entries["b"]}, List(small("x", "x"))))
		require.NoError(t, w.Close(context.Background()))
		assert.Equal(t, want, readAll(t, f), "%v", order)
	})
}

// countdown is a context that is cancelled when it has been asked n times.
type countdown struct {
	context.Context
	n int
}

func (c *countdown) Err() error {
	if c.n == 0 {
		return context.Canceled
	}
	c.n--
	return nil
}

// A Seal that is cancelled, at any point, can be repeated, or left out.
func TestCancelledSeal(t *testing.T) {
	files := []file{{"a", content("a", 100)}, {"b", content("b", 5000)}, {"c", content("c", 700)}}
	for n := range 6 {
		for _, again := range []bool{true, false} {
			f := tempFile(t)
			w := NewFileWriter(f, 0, t.TempDir())
			c := put(t, w, nil, "c", files[2].data, -1)
			b := put(t, w, nil, "b", files[1].data, -1)
			a := put(t, w, nil, "a", files[0].data, -1)
			err := w.Seal(&countdown{context.Background(), n}, nil, []*Entry{a, b, c}, nil)
			if err != nil {
				require.ErrorIs(t, err, context.Canceled)
				if !again {
					a, b, c = put(t, w, nil, "a", files[0].data, 100), put(t, w, nil, "b", files[1].data, -1), put(t, w, nil, "c", files[2].data, -1)
				}
				require.NoError(t, w.Seal(context.Background(), nil, []*Entry{a, b, c}, nil))
			}
			require.NoError(t, w.Close(context.Background()))
			assert.Equal(t, reference(t, files...), readAll(t, f), n)
		}
	}
}

// An entry that is sealed out of turn does not go into the middle of a blob that
// is being sent.
func TestSealWaitsForTheBlobThatIsBeingSent(t *testing.T) {
	f := tempFile(t)
	w := NewStreamWriter(f, t.TempDir())
	slot := w.Reserve("a", -1)
	late := put(t, w, nil, "late", content("late", 700), -1)
	sent, err := w.Create(slot, header("sent"), 1000)
	require.NoError(t, err)
	writePieces(t, sent, content("sent", 1000)[:400])
	require.ErrorIs(t, w.Seal(&countdown{context.Background(), 1}, nil, []*Entry{late}, nil), context.Canceled)
	sealed := make(chan error)
	go func() { sealed <- w.Seal(context.Background(), nil, []*Entry{late}, nil) }()
	writePieces(t, sent, content("sent", 1000)[400:])
	_, err = sent.Finish(context.Background(), header("sent"))
	require.NoError(t, err)
	require.NoError(t, <-sealed)
	require.NoError(t, w.Close(context.Background()))
	assert.Equal(t, reference(t, file{"sent", content("sent", 1000)}, file{"late", content("late", 700)}), readAll(t, f))
}

// Close does not finish an archive into which somebody still writes.
func TestCloseWhileABlobIsWritten(t *testing.T) {
	for _, size := range []int64{-1, 2000} {
		w := NewFileWriter(tempFile(t), 0, t.TempDir())
		a := put(t, w, nil, "a", content("a", 100), -1)
		_, err := w.Create(nil, nil, size)
		require.NoError(t, err)
		require.NoError(t, w.Seal(context.Background(), nil, []*Entry{a}, nil))
		require.ErrorIs(t, w.Close(context.Background()), ErrBusy)
	}
}

func permutations(names []string, f func([]string)) {
	var walk func(k int)
	walk = func(k int) {
		if k == len(names) {
			f(names)
			return
		}
		for i := k; i < len(names); i++ {
			names[k], names[i] = names[i], names[k]
			walk(k + 1)
			names[k], names[i] = names[i], names[k]
		}
	}
	walk(0)
}

// Entries of an image that comes later are moved out of the way.
func TestSealMovesOthersAway(t *testing.T) {
	f := tempFile(t)
	w := NewFileWriter(f, 0, t.TempDir())
	b := put(t, w, nil, "b", content("b", 4000), -1)
	a := put(t, w, nil, "a", content("a", 2000), 2000)
	unwanted := put(t, w, nil, "u", content("u", 700), -1)
	require.NoError(t, w.Seal(context.Background(), nil, []*Entry{a}, List(small("1", "first"))))
	w.Drop(unwanted)
	require.NoError(t, w.Seal(context.Background(), nil, []*Entry{a, b}, List(small("2", "second"))))
	require.NoError(t, w.Close(context.Background()))
	assert.Equal(t, reference(t, file{"a", content("a", 2000)}, file{"1", []byte("first")},
		file{"b", content("b", 4000)}, file{"2", []byte("second")}), readAll(t, f))
}

// Reserved slots settle the order, for any order of arrival, on a stream as well
// as in a file.
func TestSlots(t *testing.T) {
	names := []string{"a", "b", "c"}
	want := reference(t, file{"a", content("a", 900)}, file{"b", content("b", 70_000)}, file{"c", content("c", 512)}, file{"x", []byte("x")})
	sizes := map[string]int{"a": 900, "b": 70_000, "c": 512}
	for _, stream := range []bool{false, true} {
		for _, known := range []bool{false, true} {
			permutations(names, func(order []string) {
				f := tempFile(t)
				var w Writer = NewFileWriter(f, 0, t.TempDir())
				if stream {
					w = NewStreamWriter(f, t.TempDir())
				}
				slots := map[string]*Slot{"a": w.Reserve("a", -1), "b": w.Reserve("a", -1), "c": w.Reserve("a", -1)}
				end := w.Reserve("a", -1)
				entries := map[string]*Entry{}
				for _, name := range order {
					size := int64(-1)
					if known {
						size = int64(sizes[name])
					}
					entries[name] = put(t, w, slots[name], name, content(name, sizes[name]), size)
				}
				require.NoError(t, w.Seal(context.Background(), end, []*Entry{entries["a"], entries["b"], entries["c"]}, List(small("x", "x"))))
				require.NoError(t, w.Close(context.Background()))
				assert.Equal(t, want, readAll(t, f), "stream %v, known %v, %v", stream, known, order)
			})
		}
	}
}

// A blob behind one that is being written waits, unless that one's source is slow.
func TestOutOfTurnWaitsOrSpools(t *testing.T) {
	f := tempFile(t)
	w := NewFileWriter(f, 0, t.TempDir())
	first, err := w.Create(nil, nil, -1)
	require.NoError(t, err)
	second, err := w.Create(nil, nil, -1)
	require.NoError(t, err)

	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	require.NoError(t, first.Write(context.Background(), content("a", 10)))
	require.ErrorIs(t, second.Write(ctx, content("b", 10)), context.Canceled)
	waits := make(chan error, 1)
	go func() { waits <- second.Write(context.Background(), content("b", 10)) }()
	first.source.mu.Lock()
	first.source.wait = slowAfter // as if the source had taken that long
	first.source.mu.Unlock()
	first.SourceWaits(true)
	require.NoError(t, <-waits)
	require.NotNil(t, second.spool)

	a := finish(t, first, "a", content("a", 10))
	require.NoError(t, second.Write(context.Background(), content("b", 10)))
	assert.True(t, second.inPlace, "once its turn has come, a blob goes to its place")
	b, err := second.Finish(context.Background(), header("b"))
	require.NoError(t, err)
	require.NoError(t, w.Seal(context.Background(), nil, []*Entry{a, b}, nil))
	require.NoError(t, w.Close(context.Background()))
	assert.Equal(t, reference(t, file{"a", bytes.Repeat(content("a", 10), 2)}, file{"b", bytes.Repeat(content("b", 10), 2)}), readAll(t, f))
}

func TestAbortLeavesNoTrace(t *testing.T) {
	for _, known := range []bool{false, true} {
		f := tempFile(t)
		w := NewFileWriter(f, 0, t.TempDir())
		size := int64(-1)
		if known {
			size = 8000
		}
		a := put(t, w, nil, "a", content("a", 700), -1)
		bad, err := w.Create(nil, nil, size)
		require.NoError(t, err)
		writePieces(t, bad, content("z", 8000))
		bad.Abort()
		b := put(t, w, nil, "b", content("b", 100), -1)
		require.NoError(t, w.Seal(context.Background(), nil, []*Entry{a, b}, nil))
		require.NoError(t, w.Close(context.Background()))
		assert.Equal(t, reference(t, file{"a", content("a", 700)}, file{"b", content("b", 100)}), readAll(t, f))
	}
}

// A blob in the middle that fails leaves a gap, which is closed.
func TestAbortInTheMiddle(t *testing.T) {
	f := tempFile(t)
	w := NewFileWriter(f, 0, t.TempDir())
	bad, err := w.Create(nil, nil, 5000)
	require.NoError(t, err)
	writePieces(t, bad, content("z", 4000))
	a, err := w.Create(nil, nil, -1)
	require.NoError(t, err)
	writePieces(t, a, content("a", 3000))
	bad.Abort()
	ea, err := a.Finish(context.Background(), header("a"))
	require.NoError(t, err)
	require.NoError(t, w.Seal(context.Background(), nil, []*Entry{ea}, nil))
	require.NoError(t, w.Close(context.Background()))
	assert.Equal(t, reference(t, file{"a", content("a", 3000)}), readAll(t, f))
}

func TestSealIsBusy(t *testing.T) {
	f := tempFile(t)
	w := NewFileWriter(f, 0, t.TempDir())
	a := put(t, w, nil, "a", content("a", 10), -1)
	b, err := w.Create(nil, nil, -1)
	require.NoError(t, err)
	writePieces(t, b, content("b", 100))
	require.ErrorIs(t, w.Seal(context.Background(), nil, []*Entry{a}, List(small("x", "x"))), ErrBusy)
	eb, err := b.Finish(context.Background(), header("b"))
	require.NoError(t, err)
	require.NoError(t, w.Seal(context.Background(), nil, []*Entry{a, eb}, List(small("x", "x"))))
	require.NoError(t, w.Close(context.Background()))
	assert.Equal(t, reference(t, file{"a", content("a", 10)}, file{"b", content("b", 100)}, file{"x", []byte("x")}), readAll(t, f))
}

func TestWrongSize(t *testing.T) {
	w := NewFileWriter(tempFile(t), 0, t.TempDir())
	b, err := w.Create(nil, nil, 10)
	require.NoError(t, err)
	require.ErrorIs(t, b.Write(context.Background(), make([]byte, 11)), ErrSize)
	require.NoError(t, b.Write(context.Background(), make([]byte, 9)))
	_, err = b.Finish(context.Background(), header("a"))
	require.ErrorIs(t, err, ErrSize)
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
}

// A slot has the planned size, and the blob may turn out to have another one.
func TestWrongPlan(t *testing.T) {
	want := reference(t, file{"a", content("a", 3000)})
	f := tempFile(t)
	var stream bytes.Buffer
	for name, w := range map[string]Writer{"file": NewFileWriter(f, 0, t.TempDir()), "stream": NewStreamWriter(&stream, t.TempDir())} {
		t.Run(name, func(t *testing.T) {
			a := put(t, w, w.Reserve("a", 10), "a", content("a", 3000), -1)
			require.NoError(t, w.Seal(context.Background(), nil, []*Entry{a}, nil))
			require.NoError(t, w.Close(context.Background()))
		})
	}
	assert.Equal(t, want, readAll(t, f))
	assert.Equal(t, want, stream.Bytes())
}

// limitedFile is a disk that is full after some bytes.
type limitedFile struct {
	File
	mu   sync.Mutex
	left int64
}

var errFull = errors.New("disk full")

func (f *limitedFile) WriteAt(p []byte, off int64) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.left -= int64(len(p))
	if f.left < 0 {
		return 0, errFull
	}
	return f.File.WriteAt(p, off)
}

func TestFullDisk(t *testing.T) {
	for limit := int64(0); limit < 12_000; limit += 97 {
		w := NewFileWriter(&limitedFile{File: tempFile(t), left: limit}, 0, t.TempDir())
		err := func() error {
			var entries []*Entry
			for _, x := range []file{{"b", content("b", 3000)}, {"a", content("a", 2000)}} {
				b, err := w.Create(nil, nil, -1)
				if err != nil {
					return err
				}
				if err := b.Write(context.Background(), x.data); err != nil {
					b.Abort()
					return err
				}
				e, err := b.Finish(context.Background(), header(x.name))
				if err != nil {
					return err
				}
				entries = append([]*Entry{e}, entries...)
			}
			if err := w.Seal(context.Background(), nil, entries, List(small("x", "x"))); err != nil {
				return err
			}
			return w.Close(context.Background())
		}()
		if limit < 8*512 {
			require.ErrorIs(t, err, errFull, "%d", limit)
		}
		if err != nil {
			require.ErrorIs(t, err, errFull, "%d", limit)
			w.Abort()
		}
	}
}

// Many blobs at once, planned and not, on both kinds of output: the archive is
// always the same.
func TestConcurrent(t *testing.T) {
	const n = 24
	var files []file
	for i := range n {
		name := fmt.Sprintf("%c-%02d", 'a'+i, i)
		files = append(files, file{name, content(name, 1+i*i*311%20_000)})
	}
	want := reference(t, append(files, file{"x", []byte("x")})...)
	for _, mode := range []string{"file", "planned file", "planned stream"} {
		for range 20 {
			f := tempFile(t)
			var w Writer = NewFileWriter(f, 0, t.TempDir())
			if mode == "planned stream" {
				w = NewStreamWriter(f, t.TempDir())
			}
			slots := make([]*Slot, n)
			var end *Slot
			if mode != "file" {
				for i := range slots {
					slots[i] = w.Reserve("a", -1)
				}
				end = w.Reserve("a", -1)
			}
			entries := make([]*Entry, n)
			var wg sync.WaitGroup
			for _, i := range rand.Perm(n) {
				wg.Go(func() {
					size := int64(-1)
					if i%3 == 0 {
						size = int64(len(files[i].data))
					}
					entries[i] = put(t, w, slots[i], files[i].name, files[i].data, size)
				})
			}
			wg.Wait()
			require.NoError(t, w.Seal(context.Background(), end, entries, List(small("x", "x"))))
			require.NoError(t, w.Close(context.Background()))
			require.True(t, bytes.Equal(want, readAll(t, f)), mode)
		}
	}
}

func TestClosedWriter(t *testing.T) {
	w := NewFileWriter(tempFile(t), 0, t.TempDir())
	b, err := w.Create(nil, nil, -1)
	require.NoError(t, err)
	w.Abort()
	require.ErrorIs(t, b.Write(context.Background(), []byte("x")), fs.ErrClosed)
	b.Abort()
	_, err = w.Create(nil, nil, -1)
	require.ErrorIs(t, err, fs.ErrClosed)
	require.ErrorIs(t, w.Close(context.Background()), fs.ErrClosed)
}

// Sizes from 8 GiB on stay in one header block, in GNU's form.
func TestHugeSizeHeader(t *testing.T) {
	for _, size := range []int64{maxOctalSize, maxOctalSize + 1, 1 << 40} {
		block, err := encodeHeader(header("huge"), size)
		require.NoError(t, err)
		require.Len(t, block, blockSize)
		h, err := tar.NewReader(bytes.NewReader(block)).Next()
		require.NoError(t, err)
		assert.Equal(t, size, h.Size)
	}
}

// A pipe whose reader does not read holds up neither its writer nor a caller
// that gives it up.
func TestStalledStream(t *testing.T) {
	for name, write := range map[string]func(context.Context, Writer) error{
		"content": func(ctx context.Context, w Writer) error {
			b, err := w.Create(nil, header("a"), 5)
			if err != nil {
				return err
			}
			return b.Write(ctx, []byte("hello"))
		},
		"spooled": func(ctx context.Context, w Writer) error {
			b, err := w.Create(nil, nil, -1)
			if err != nil {
				return err
			}
			if err := b.Write(ctx, []byte("hello")); err != nil {
				return err
			}
			_, err = b.Finish(ctx, header("a"))
			return err
		},
		"metadata": func(ctx context.Context, w Writer) error {
			return w.Seal(ctx, nil, nil, List(small("x", "x")))
		},
		"end": func(ctx context.Context, w Writer) error { return w.Close(ctx) },
	} {
		t.Run(name, func(t *testing.T) {
			r, pw := io.Pipe()
			defer r.Close()
			ctx, cancel := context.WithCancel(context.Background())
			w := NewStreamWriter(pw, t.TempDir())
			failed := make(chan error, 1)
			go func() { failed <- write(ctx, w) }()
			_, err := r.Read(make([]byte, 1)) // It is being sent now.
			require.NoError(t, err)
			cancel()
			require.ErrorIs(t, <-failed, context.Canceled)
			w.Abort()

			w = NewStreamWriter(pw, t.TempDir())
			go func() { failed <- write(context.Background(), w) }()
			_, err = r.Read(make([]byte, 1))
			require.NoError(t, err)
			w.Abort()
			require.Error(t, <-failed)
		})
	}
}
