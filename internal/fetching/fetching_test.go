package fetching_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/dockerarchive/dockerarchive/internal/async"
	"github.com/dockerarchive/dockerarchive/internal/fetching"
	"github.com/dockerarchive/dockerarchive/internal/image"
	"github.com/dockerarchive/dockerarchive/internal/leaktest"
	"github.com/dockerarchive/dockerarchive/internal/retry"
	"github.com/dockerarchive/dockerarchive/progress"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// retrying returns options that resume so many times, without waiting.
func retrying(o fetching.Options, times int) fetching.Options {
	o.Backoff = retry.Policy{Times: times, Delay: time.Nanosecond}.Backoff
	return o
}

// source has blobs in memory, and may fail.
type source struct {
	blobs map[digest.Digest][]byte
	// fail, if not nil, returns how many bytes of those asked for still come, and the
	// error then; a negative number is that of opening.
	fail func(offset int64) (int64, error)

	mu    sync.Mutex
	opens []int64 // the offsets that were asked for
	open  int     // bodies that have not been closed
}

func newSource(blobs ...[]byte) *source {
	s := &source{blobs: map[digest.Digest][]byte{}}
	for _, b := range blobs {
		s.blobs[digest.FromBytes(b)] = b
	}
	return s
}

func (s *source) Open(_ context.Context, blob v1.Descriptor, offset int64) (io.ReadCloser, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.opens = append(s.opens, offset)
	data, ok := s.blobs[blob.Digest]
	if !ok {
		return nil, fmt.Errorf("there is no %s", blob.Digest)
	}
	var r io.Reader = bytes.NewReader(data[offset:])
	if s.fail != nil {
		n, err := s.fail(offset)
		if n < 0 {
			return nil, err
		}
		if err != nil {
			r = io.MultiReader(io.LimitReader(r, n), iotest.ErrReader(err))
		}
	}
	s.open++
	return &body{r, s}, nil
}

type body struct {
	io.Reader
	s *source
}

func (b *body) Close() error {
	b.s.mu.Lock()
	defer b.s.mu.Unlock()
	b.s.open--
	return nil
}

func descriptor(data []byte) image.Blob {
	return image.Blob{Descriptor: v1.Descriptor{Digest: digest.FromBytes(data), Size: int64(len(data))}}
}

// store keeps blobs in memory.
type store struct {
	mu    sync.Mutex
	blobs map[digest.Digest][]byte
	order []digest.Digest
}

func (s *store) options() fetching.Options {
	s.blobs = map[digest.Digest][]byte{}
	return retrying(fetching.Options{
		Jobs: 1,
		Store: func(_ context.Context, b *fetching.Blob, r io.Reader) error {
			data, err := io.ReadAll(iotest.HalfReader(r))
			if err != nil {
				return fmt.Errorf("storing %s: %w", b.Digest, err)
			}
			s.mu.Lock()
			defer s.mu.Unlock()
			s.blobs[b.Digest] = data
			s.order = append(s.order, b.Digest)
			return nil
		},
		Fatal: func(error) bool { return false },
	}, 0)
}

func wrapped(name string) func(error) error {
	return func(err error) error { return fmt.Errorf("image %s: %w", name, err) }
}

var (
	data    = []byte(strings.Repeat("0123456789", 1000))
	errLost = errors.New("lost for good")
)

// After an error that may pass a blob goes on where it was, as often as it may.
func TestResuming(t *testing.T) {
	for _, err := range []error{io.ErrUnexpectedEOF, io.EOF} {
		var s store
		var events []progress.Kind
		var offsets []int64
		o := retrying(s.options(), 3)
		o.Progress = func(e progress.Event) {
			if e.Kind != progress.Read {
				events = append(events, e.Kind)
			}
			if e.Kind == progress.Retried {
				offsets = append(offsets, e.Offset)
			}
		}
		f := fetching.New(o)
		src := newSource(data)
		src.fail = func(offset int64) (int64, error) {
			if offset < 300 {
				return 100, err // An end too early is an error too.
			}
			return 0, nil
		}
		blob := f.Need(f.AddImage(src, "", wrapped("x")), descriptor(data))
		require.NoError(t, run(t.Context(), f, f.Blobs()))
		require.NoError(t, blob.Await(t.Context()))
		assert.Equal(t, []int64{0, 100, 200, 300}, src.opens)
		assert.Equal(t, src.opens[1:], offsets)
		assert.Equal(t, data, s.blobs[blob.Digest])
		assert.Zero(t, src.open)
		assert.Equal(t, []progress.Kind{progress.Started, progress.Retried, progress.Retried, progress.Retried, progress.Finished}, events)

		f = fetching.New(retrying(s.options(), 2))
		img := f.AddImage(src, "", wrapped("x"))
		blob = f.Need(img, descriptor(data))
		require.ErrorIs(t, run(t.Context(), f, f.Blobs()), io.ErrUnexpectedEOF, "once more than it may")
		require.ErrorIs(t, blob.Await(t.Context()), fetching.ErrSource)
		require.ErrorContains(t, f.Err(img), "image x: ")
		assert.Zero(t, src.open)
	}
}

// An error that does not pass is not tried again; the next image that has the blob
// goes on with it, and has all its attempts.
func TestNextImage(t *testing.T) {
	for name, c := range map[string]struct {
		fail  func(int64) (int64, error)
		next  []int64 // where the next image goes on
		opens []int64 // of the one before
	}{
		"while reading":   {func(int64) (int64, error) { return 100, errLost }, []int64{100, 100}, []int64{0}},
		"at the start":    {func(int64) (int64, error) { return -1, errLost }, []int64{0, 0}, []int64{0}},
		"with all there":  {func(int64) (int64, error) { return int64(len(data)), errLost }, nil, []int64{0}},
		"again and again": {func(int64) (int64, error) { return 50, io.ErrUnexpectedEOF }, []int64{100, 100}, []int64{0, 50}},
	} {
		var s store
		f := fetching.New(retrying(s.options(), 1))
		bad, good := newSource(data), newSource(data)
		bad.fail = c.fail
		flaky := true
		good.fail = func(int64) (int64, error) {
			defer func() { flaky = false }()
			if flaky {
				return 0, io.ErrUnexpectedEOF
			}
			return 0, nil
		}
		one, two := f.AddImage(bad, "", wrapped("one")), f.AddImage(good, "", wrapped("two"))
		blob := f.Need(one, descriptor(data))
		assert.Same(t, blob, f.Need(two, descriptor(data)))
		require.NoError(t, run(t.Context(), f, f.Blobs()), name)
		assert.Equal(t, data, s.blobs[blob.Digest], name)
		assert.Equal(t, c.opens, bad.opens, name)
		assert.Equal(t, c.next, good.opens, name)
		require.NoError(t, f.Err(one), "it has its blob")
		assert.Zero(t, bad.open+good.open)
	}
}

// A blob with a wrong digest or size is refused, and taken from the next image from its
// start.
func TestMismatch(t *testing.T) {
	other := bytes.Clone(data)
	other[7] ^= 1
	for name, wrong := range map[string][]byte{"flipped": other, "longer": append(bytes.Clone(data), 'x')} {
		var s store
		bad := newSource()
		bad.blobs[digest.FromBytes(data)] = wrong
		f := fetching.New(retrying(s.options(), 3))
		img := f.AddImage(bad, "", wrapped("x"))
		blob := f.Need(img, descriptor(data))
		err := run(t.Context(), f, f.Blobs())
		require.ErrorIs(t, err, fetching.ErrMismatch, name)
		require.ErrorIs(t, err, fetching.ErrSource, name)
		if name == "flipped" {
			require.ErrorContains(t, err, blob.Digest.String())
			require.ErrorContains(t, err, digest.FromBytes(wrong).String())
		} else {
			require.ErrorContains(t, err, "longer than the 10000 bytes") // It might never end.
		}
		assert.Equal(t, []int64{0}, bad.opens, "not tried again")
		assert.Empty(t, s.blobs)

		good := newSource(data)
		f = fetching.New(s.options())
		blob = f.Need(f.AddImage(bad, "", wrapped("one")), descriptor(data))
		f.Need(f.AddImage(good, "", wrapped("two")), descriptor(data))
		require.NoError(t, run(t.Context(), f, f.Blobs()), name)
		assert.Equal(t, data, s.blobs[blob.Digest], name)
		assert.Equal(t, []int64{0}, good.opens)
	}
}

// A large blob that is read ahead is hashed meanwhile, which finds no less: also what begins
// in one image and goes on in another.
func TestMismatchReadAhead(t *testing.T) {
	data := random(3<<20 + 17)
	wrong := bytes.Clone(data)
	wrong[len(wrong)-1] ^= 1
	for name, c := range map[string]struct {
		first []byte
		opens []int64 // of the second image
	}{"wrong": {wrong, []int64{0}}, "cut short": {data, []int64{1 << 20}}, "right": {data, nil}} {
		var s store
		o := s.options()
		o.Store = func(ctx context.Context, b *fetching.Blob, r io.Reader) error {
			followed, ok := r.(async.Followed)
			require.True(t, ok)
			ahead := async.NewReader(ctx, followed)
			defer ahead.Close()
			got, err := io.ReadAll(ahead)
			if err == nil {
				s.blobs[b.Digest] = got
			}
			return err
		}
		first, second := newSource(), newSource(data)
		first.blobs[digest.FromBytes(data)] = c.first
		if name == "cut short" {
			first.fail = func(int64) (int64, error) { return 1 << 20, errLost }
		}
		f := fetching.New(o)
		blob := f.Need(f.AddImage(first, "", wrapped("one")), descriptor(data))
		alone := fetching.New(o)
		alone.Need(alone.AddImage(first, "", wrapped("one")), descriptor(data))
		f.Need(f.AddImage(second, "", wrapped("two")), descriptor(data))
		require.NoError(t, run(t.Context(), f, f.Blobs()), name)
		assert.True(t, bytes.Equal(data, s.blobs[blob.Digest]), name)
		assert.Equal(t, c.opens, second.opens, name)
		if name == "wrong" {
			require.ErrorIs(t, run(t.Context(), alone, alone.Blobs()), fetching.ErrMismatch)
		}
	}
}

// Any size will do if it is not known; a digest of an unknown algorithm is nothing to verify
// with.
func TestUnknownSizeAndAlgorithm(t *testing.T) {
	var s store
	f := fetching.New(s.options())
	b := descriptor(data)
	b.Size = -1
	blob := f.Need(f.AddImage(newSource(data), "", wrapped("x")), b)
	require.NoError(t, run(t.Context(), f, f.Blobs()))
	assert.Equal(t, data, s.blobs[blob.Digest])

	f = fetching.New(s.options())
	b.Digest = "md5:0123456789abcdef0123456789abcdef"
	f.Need(f.AddImage(newSource(data), "", wrapped("x")), b)
	require.ErrorContains(t, run(t.Context(), f, f.Blobs()), "unknown algorithm")
}

// An image that fails takes its own blobs with it, and no others.
func TestKeepGoing(t *testing.T) {
	var s store
	o := s.options()
	o.KeepGoing = true
	f := fetching.New(o)
	src := newSource([]byte("a"), []byte("b"), []byte("shared"))
	bad, good := f.AddImage(src, "", wrapped("bad")), f.AddImage(src, "", wrapped("good"))
	missing, own := f.Need(bad, descriptor([]byte("missing"))), f.Need(bad, descriptor([]byte("a")))
	shared, b := f.Need(bad, descriptor([]byte("shared"))), f.Need(good, descriptor([]byte("b")))
	f.Need(good, descriptor([]byte("shared")))
	assert.True(t, shared.LastNeededBy(good))
	assert.True(t, own.LastNeededBy(bad))
	assert.False(t, shared.LastNeededBy(bad))
	require.NoError(t, run(t.Context(), f, f.Blobs()))
	require.ErrorContains(t, f.Err(bad), "image bad: ")
	require.NoError(t, f.Err(good))
	require.Error(t, missing.Await(t.Context()))
	require.Error(t, own.Await(t.Context()))
	require.NoError(t, shared.Await(t.Context()))
	require.NoError(t, b.Await(t.Context()))
	assert.Len(t, s.blobs, 2)
	assert.True(t, own.Fetched())
}

// An error that is not the blob's fault ends everything, even with KeepGoing.
func TestFatal(t *testing.T) {
	errFull := errors.New("the disk is full")
	f := fetching.New(retrying(fetching.Options{
		Jobs: 2, KeepGoing: true,
		Store: func(context.Context, *fetching.Blob, io.Reader) error { return errFull },
		Fatal: func(err error) bool { return errors.Is(err, errFull) },
	}, 0))
	img := f.AddImage(newSource(data), "", wrapped("x"))
	f.Need(img, descriptor(data))
	require.ErrorIs(t, run(t.Context(), f, f.Blobs()), errFull)
	require.NoError(t, f.Err(img))
	assert.False(t, f.Fatal(fmt.Errorf("%w: %w", fetching.ErrSource, errFull)), "a source's disk is its own")
}

// Each blob is fetched once, beginning in the order given, by as many as there are
// jobs.
func TestEachBlobOnce(t *testing.T) {
	for _, jobs := range []int{1, 4, 100} {
		var s store
		o := s.options()
		o.Jobs = jobs
		f := fetching.New(o)
		var blobs [][]byte
		for i := range 30 {
			blobs = append(blobs, []byte(fmt.Sprint(i)))
		}
		src := newSource(blobs...)
		for range 3 {
			img := f.AddImage(src, "", wrapped("x"))
			for _, b := range blobs {
				f.Need(img, descriptor(b))
			}
		}
		require.Len(t, f.Blobs(), len(blobs))
		require.NoError(t, run(t.Context(), f, f.Blobs()))
		assert.Len(t, src.opens, len(blobs))
		assert.Len(t, s.blobs, len(blobs))
		if jobs == 1 {
			for i, b := range blobs {
				assert.Equal(t, digest.FromBytes(b), s.order[i])
			}
		}
	}
}

// Law 8: the context ends fetching, though the source hangs and knows of none, and ends the
// wait for a blob that nobody fetches.
func TestTheContextEndsEverything(t *testing.T) {
	var s store
	f := fetching.New(s.options())
	ctx, cancel := context.WithCancel(t.Context())
	src := newSource(data)
	src.fail = func(int64) (int64, error) { cancel(); return 0, io.ErrUnexpectedEOF }
	img := f.AddImage(src, "", wrapped("x"))
	f.Need(img, descriptor(data))
	waiting := f.Need(img, descriptor([]byte("never")))
	require.ErrorIs(t, run(ctx, f, f.Blobs()[:1]), context.Canceled)
	require.ErrorIs(t, waiting.Await(ctx), context.Canceled)
	assert.False(t, waiting.Fetched())
	assert.Len(t, src.opens, 1)
}

// An end before what is to be skipped has come is an end too early: there was more
// before.
func TestSkip(t *testing.T) {
	for n, want := range map[int64]error{0: nil, 3: nil, 5: nil, 6: io.ErrUnexpectedEOF, 100: io.ErrUnexpectedEOF} {
		src := newSource([]byte("hello"))
		in, err := src.Open(t.Context(), descriptor([]byte("hello")).Descriptor, 0)
		require.NoError(t, err)
		out, err := fetching.Skip(in, n)
		require.ErrorIs(t, err, want)
		if want != nil {
			assert.Nil(t, out)
			assert.Zero(t, src.open, "closed")
			continue
		}
		rest, err := io.ReadAll(out)
		require.NoError(t, err)
		assert.Equal(t, "hello"[n:], string(rest))
		require.NoError(t, out.Close())
	}
	_, err := fetching.Skip(io.NopCloser(iotest.ErrReader(errLost)), 1)
	require.ErrorIs(t, err, errLost)
}

// run fetches blobs, and returns what is the end of everything.
func run(ctx context.Context, f *fetching.Fetcher, blobs []*fetching.Blob) error {
	g, ctx := errgroup.WithContext(ctx)
	f.Start(ctx, g, blobs)
	return g.Wait()
}
