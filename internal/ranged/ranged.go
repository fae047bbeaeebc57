// Package ranged reads something that answers requests for ranges as a file is read: few
// requests, broken ones are repeated, and nothing is a mixture of two versions. It knows
// nothing of the server.
package ranged

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/dockerarchive/dockerarchive/internal/retry"
	"github.com/dockerarchive/dockerarchive/internal/webclient"
)

const (
	// minWindow and maxWindow bound how much is asked for at once if little is wanted: the next
	// bytes are likely to be wanted next, and more so the longer reading goes on in order.
	minWindow = 64 << 10
	maxWindow = 4 << 20
	// maxKept bounds the size of all kept windows, in bytes.
	maxKept = 64 << 20
)

// ErrChanged is returned, wrapped, for something that is another version by now.
var ErrChanged = errors.New("it has changed while it was read")

// Source answers requests. Both may be called concurrently.
type Source interface {
	// Range returns the bytes from off to off+n. It must fail with ErrChanged, wrapped, if they are of
	// another version than those before.
	Range(ctx context.Context, off, n int64) (io.ReadCloser, error)
}

// Reader reads a Source. It may be used concurrently.
type Reader struct {
	source Source
	size   int64
	policy retry.Policy
	ctx    context.Context
	cancel context.CancelFunc

	mu      sync.Mutex
	windows []*window // the one that was used last comes first
	kept    int64     // bytes of them
	err     error     // that of another version: nothing is read any more
}

// window is a part that is kept.
type window struct {
	off  int64
	data []byte
}

func (w *window) end() int64 { return w.off + int64(len(w.data)) }

// New returns a Reader of size bytes whose requests end with ctx. start has the bytes from
// offset 0 on that are known already.
func New(ctx context.Context, source Source, size int64, policy retry.Policy, start []byte) *Reader {
	r := &Reader{source: source, size: size, policy: policy}
	r.ctx, r.cancel = context.WithCancel(ctx)
	r.keepLocked(&window{data: start})
	return r
}

// Size returns how many bytes there are.
func (r *Reader) Size() int64 { return r.size }

// Close ends all requests.
func (r *Reader) Close() error {
	r.cancel()
	return nil
}

// ReadAt implements io.ReaderAt.
func (r *Reader) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, errors.New("negative offset")
	}
	done := 0
	for done < len(p) {
		at := off + int64(done)
		if at >= r.size {
			return done, io.EOF
		}
		n, err := r.readSome(p[done:], at)
		done += n
		if err != nil {
			return done, err
		}
	}
	return done, nil
}

// readSome reads at least a byte.
func (r *Reader) readSome(p []byte, off int64) (int, error) {
	n, length, err := r.fromWindow(p, off)
	if n > 0 || err != nil {
		return n, err
	}
	length = min(length, r.size-off)
	if wanted := min(int64(len(p)), r.size-off); wanted >= length {
		return int(wanted), r.fetch(p[:wanted], off)
	}
	w := &window{off: off, data: make([]byte, length)}
	if err := r.fetch(w.data, off); err != nil {
		return 0, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.keepLocked(w)
	return copy(p, w.data), nil
}

// fromWindow copies bytes that are kept. If there are none, it returns how much to ask for.
func (r *Reader) fromWindow(p []byte, off int64) (n int, length int64, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err != nil {
		return 0, 0, r.err
	}
	length = minWindow
	for i, w := range r.windows {
		if off >= w.off && off < w.end() {
			copy(r.windows[1:i+1], r.windows[:i])
			r.windows[0] = w
			return copy(p, w.data[off-w.off:]), 0, nil
		}
		// The next header of a walk stands behind some content.
		if gap := off - w.end(); gap >= 0 && gap < int64(len(w.data)) {
			length = max(length, min(2*int64(len(w.data)), maxWindow))
		}
	}
	return 0, length, nil
}

func (r *Reader) keepLocked(w *window) {
	r.windows = append([]*window{w}, r.windows...)
	for r.kept += int64(len(w.data)); r.kept > maxKept; {
		last := r.windows[len(r.windows)-1]
		r.kept -= int64(len(last.data))
		r.windows = r.windows[:len(r.windows)-1]
	}
}

// fetch asks for a range, and again for the rest if the answer breaks off.
func (r *Reader) fetch(p []byte, off int64) error {
	done := 0
	backoff := r.policy.Backoff()
	for {
		n, err := r.ask(p[done:], off+int64(done))
		if done += n; err == nil {
			return nil
		}
		if n > 0 {
			backoff = r.policy.Backoff() // It goes on, so nobody gives up.
		}
		if err := backoff.Next(r.ctx, err, r.again); err != nil {
			return r.failed(err)
		}
	}
}

// again notes that a request is made again.
func (r *Reader) again(error) { webclient.MeterOf(r.ctx).Again() }

func (r *Reader) ask(p []byte, off int64) (n int, err error) {
	body, err := r.source.Range(r.ctx, off, int64(len(p)))
	if err != nil {
		return 0, err
	}
	n, err = io.ReadFull(body, p)
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		err = fmt.Errorf("%d of %d bytes at offset %d have come: %w", n, len(p), off, err)
	}
	_ = body.Close() // It has been read.
	return n, err
}

// failed remembers that there is another version.
func (r *Reader) failed(err error) error {
	if errors.Is(err, ErrChanged) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.err = err
	}
	return err
}

// ContentRange parses the header of an HTTP answer with a part: to is the offset behind it.
func ContentRange(header string) (from, to, size int64, ok bool) {
	var last int64
	n, err := fmt.Sscanf(header, "bytes %d-%d/%d", &from, &last, &size)
	return from, last + 1, size, err == nil && n == 3 && 0 <= from && from <= last && last < size
}
