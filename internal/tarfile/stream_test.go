package tarfile

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// stuck are ways to wait for a pipe that nobody reads. Each waits without giving
// up, and returns the error.
var stuck = map[string]func(t *testing.T, w *StreamWriter) error{
	"content": func(t *testing.T, w *StreamWriter) error {
		b, err := w.Create(nil, header("stuck"), 5)
		require.NoError(t, err)
		if err := b.Write(context.Background(), []byte("stuck")); err != nil {
			b.Abort()
			return err
		}
		_, err = b.Finish(context.Background(), header("stuck"))
		return err
	},
	"spooled": func(t *testing.T, w *StreamWriter) error {
		b, err := w.Create(nil, nil, -1)
		require.NoError(t, err)
		require.NoError(t, b.Write(context.Background(), []byte("stuck")))
		_, err = b.Finish(context.Background(), header("stuck"))
		return err
	},
	"metadata": func(_ *testing.T, w *StreamWriter) error {
		return w.Seal(context.Background(), nil, nil, List(small("stuck", "stuck")))
	},
	"planned": func(t *testing.T, w *StreamWriter) error { // Sent because the slot before has been given up.
		slot := w.Reserve("never", 1)
		b, err := w.Create(w.Reserve("stuck", -1), nil, -1)
		require.NoError(t, err)
		require.NoError(t, b.Write(context.Background(), []byte("stuck")))
		e, err := b.Finish(context.Background(), header("stuck"))
		require.NoError(t, err)
		require.NoError(t, slot.Release(nil))
		return w.Seal(context.Background(), nil, []*Entry{e}, nil)
	},
}

// Law 8: while somebody's data does not get through, all others can end their
// waits by their contexts, without harm; operations that do not need the stream
// do not wait at all.
func TestOthersLeaveWhileThePipeIsStuck(t *testing.T) {
	for name, wait := range stuck {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r, pw := io.Pipe()
				w := NewStreamWriter(pw, t.TempDir())
				first := make(chan error, 1)
				go func() { first <- wait(t, w) }()
				synctest.Wait()

				slot := w.Reserve("x", -1)
				spooled, err := w.Create(nil, nil, -1)
				require.NoError(t, err)
				known, err := w.Create(nil, header("known"), 5)
				require.NoError(t, err)
				empty, err := w.Create(slot, header("empty"), 0)
				require.NoError(t, err)
				late, err := empty.Finish(context.Background(), header("empty"))
				require.NoError(t, err, "a complete blob waits for nobody")

				ctx, cancel := context.WithCancel(context.Background())
				left := make(chan error, 10)
				go func() { left <- spooled.Write(ctx, []byte("s")) }()
				go func() { left <- known.Write(ctx, []byte("k")) }()
				go func() { left <- w.Seal(ctx, nil, nil, List(small("no", "no"))) }()
				go func() { left <- w.Seal(ctx, nil, []*Entry{late}, nil) }()
				synctest.Wait()
				require.Empty(t, left)
				cancel()
				for range cap(left) - 6 {
					require.ErrorIs(t, <-left, context.Canceled)
				}
				spooled.Abort()
				known.Abort()
				require.NoError(t, slot.Release(nil))
				synctest.Wait()
				require.Empty(t, first)

				got := make(chan []byte)
				go func() {
					data, _ := io.ReadAll(r)
					got <- data
				}()
				require.NoError(t, <-first, "those who left have broken nothing")
				require.NoError(t, w.Seal(context.Background(), nil, []*Entry{late}, List(small("x", "x"))))
				require.NoError(t, w.Close(context.Background()))
				require.NoError(t, pw.Close())
				assert.Equal(t, reference(t, file{"stuck", []byte("stuck")}, file{"empty", nil}, file{"x", []byte("x")}), <-got)
			})
		})
	}
}

// Close and Abort end everything while the pipe is stuck: Abort at once, Close
// when its context ends.
func TestEndingWhileThePipeIsStuck(t *testing.T) {
	for name, wait := range stuck {
		for _, closing := range []bool{true, false} {
			t.Run(fmt.Sprint(name, " ", closing), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					r, pw := io.Pipe()
					defer r.Close() // For the write that was given up.
					w := NewStreamWriter(pw, t.TempDir())
					failed := make(chan error, 5)
					go func() { failed <- wait(t, w) }()
					synctest.Wait()
					known, err := w.Create(nil, header("known"), 5)
					require.NoError(t, err)
					go func() { failed <- known.Write(context.Background(), []byte("k")) }()
					go func() { failed <- w.Seal(context.Background(), nil, nil, List(small("no", "no"))) }()
					synctest.Wait()
					require.Empty(t, failed)
					if closing && name == "content" {
						require.ErrorIs(t, w.Close(context.Background()), ErrBusy)
					} else if closing {
						ctx, cancel := context.WithCancel(context.Background())
						closed := make(chan error, 1)
						go func() { closed <- w.Close(ctx) }()
						synctest.Wait()
						require.Empty(t, closed)
						cancel()
						require.ErrorIs(t, <-closed, context.Canceled)
					} else {
						w.Abort()
					}
					for range 3 {
						require.ErrorIs(t, <-failed, os.ErrClosed)
					}
					known.Abort()
					_, err = w.Create(nil, nil, -1)
					require.ErrorIs(t, err, os.ErrClosed)
				})
			})
		}
	}
}

// A caller that gives up in the middle of sending breaks the stream for all:
// nothing more is sent.
func TestCancelledInTheMiddle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, pw := io.Pipe()
		w := NewStreamWriter(pw, t.TempDir())
		b, err := w.Create(nil, nil, -1)
		require.NoError(t, err)
		require.NoError(t, b.Write(context.Background(), make([]byte, 3*copyBufferSize)))
		ctx, cancel := context.WithCancel(context.Background())
		failed := make(chan error, 2)
		go func() {
			_, err := b.Finish(ctx, header("a"))
			failed <- err
		}()
		synctest.Wait()
		go func() { failed <- w.Seal(context.Background(), nil, nil, List(small("x", "x"))) }()
		synctest.Wait()
		require.Empty(t, failed)
		cancel()
		for range 2 {
			require.ErrorIs(t, <-failed, context.Canceled)
		}
		require.ErrorIs(t, w.Close(context.Background()), context.Canceled)
		assert.Equal(t, copyBufferSize, drain(t, r))
	})
}

// drain reads the output of a pipe, until nothing comes any more.
func drain(t *testing.T, r *io.PipeReader) (n int) {
	done := make(chan int64)
	go func() {
		n, _ := io.Copy(io.Discard, r)
		done <- n
	}()
	synctest.Wait()
	require.NoError(t, r.Close())
	return int(<-done)
}

func TestCancelledContentIsNotWrittenAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, pw := io.Pipe()
		w := NewStreamWriter(pw, t.TempDir())
		b, err := w.Create(nil, header("a"), 5)
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(context.Background())
		failed := make(chan error)
		go func() { failed <- b.Write(ctx, []byte("hello")) }()
		synctest.Wait()
		cancel()
		require.ErrorIs(t, <-failed, context.Canceled)
		require.Error(t, b.Write(context.Background(), []byte("hello")))
		assert.True(t, b.Sent())
		b.Abort()
		assert.Equal(t, 512, drain(t, r))
	})
}

// While an entry is sent before its turn, a blob whose turn it is sends nothing.
func TestSentBeforeItsTurn(t *testing.T) {
	for _, metadata := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			r, pw := io.Pipe()
			w := NewStreamWriter(pw, t.TempDir())
			slot := w.Reserve("first", 5)
			early := put(t, w, w.Reserve("early", -1), "early", []byte("early"), -1)
			done := make(chan error, 2)
			go func() { done <- w.Seal(context.Background(), nil, []*Entry{early}, nil) }()
			synctest.Wait()
			go func() {
				if metadata {
					done <- w.Seal(context.Background(), slot, nil, List(small("first", "first")))
					return
				}
				b, err := w.Create(slot, header("first"), 5)
				if err == nil {
					err = b.Write(context.Background(), []byte("first"))
				}
				if err == nil {
					_, err = b.Finish(context.Background(), header("first"))
				}
				done <- err
			}()
			synctest.Wait()
			w.Drop(early) // It is too late for that.
			got := make(chan []byte)
			go func() {
				data, _ := io.ReadAll(r)
				got <- data
			}()
			require.NoError(t, <-done)
			require.NoError(t, <-done)
			require.NoError(t, w.Close(context.Background()))
			require.NoError(t, pw.Close())
			assert.Equal(t, reference(t, file{"early", []byte("early")}, file{"first", []byte("first")}), <-got)
		})
	}
}

// A blob whose header was not sent yet can be given up on a stream.
func TestAbortBeforeTheHeader(t *testing.T) {
	f := tempFile(t)
	w := NewStreamWriter(f, t.TempDir())
	b, err := w.Create(nil, header("b"), 5)
	require.NoError(t, err)
	require.Error(t, b.Write(&countdown{context.Background(), 1}, []byte("hello")), "after its turn came")
	require.True(t, b.inPlace)
	assert.False(t, b.Sent())
	b.Abort()
	a := put(t, w, nil, "a", []byte("a"), 1)
	require.NoError(t, w.Seal(context.Background(), nil, []*Entry{a}, nil))
	require.NoError(t, w.Close(context.Background()))
	assert.Equal(t, reference(t, file{"a", []byte("a")}), readAll(t, f))
}

// brokenPipe fails after some bytes.
type brokenPipe struct{ left int }

var errPipe = errors.New("broken pipe")

func (p *brokenPipe) Write(b []byte) (int, error) {
	n := min(len(b), p.left)
	if p.left -= n; n < len(b) {
		return n, errPipe
	}
	return n, nil
}

// A stream that ends early is noticed by the next caller, and by Close.
func TestBrokenPipe(t *testing.T) {
	size := len(reference(t, file{"a", content("a", 700)}, file{"b", content("b", 600)}, file{"x", []byte("x")}))
	for limit := 0; limit <= size; limit += 64 {
		w := NewStreamWriter(&brokenPipe{limit}, t.TempDir())
		err := writeTwo(w)
		closeErr := w.Close(context.Background())
		if limit < size {
			require.ErrorIs(t, errors.Join(err, closeErr), errPipe, "%d", limit)
			require.Error(t, closeErr, "%d", limit)
		} else {
			require.NoError(t, errors.Join(err, closeErr))
		}
	}
}

// writeTwo writes two blobs, in the wrong order and one without its size, and
// metadata.
func writeTwo(w Writer) error {
	ctx := context.Background()
	slots := []*Slot{w.Reserve("a", -1), w.Reserve("b", -1)}
	entries := make([]*Entry, 2)
	for i, name := range []string{"a", "b"} {
		i = 1 - i
		name = []string{"a", "b"}[i]
		data := content(name, 700-100*i)
		b, err := w.Create(slots[i], header(name), []int64{700, -1}[i])
		if err != nil {
			return err
		}
		if err := b.Write(ctx, data); err != nil {
			b.Abort()
			return err
		}
		if entries[i], err = b.Finish(ctx, header(name)); err != nil {
			return err
		}
	}
	return w.Seal(ctx, nil, entries, List(small("x", "x")))
}
