// Package ranged reads something that answers requests for ranges as a file is read: few
// requests, broken ones are repeated, and nothing is a mixture of two versions. It knows
// nothing of the server.
package ranged

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sync"

	"github.com/dockerarchive/dockerarchive/internal/retry"
	"github.com/dockerarchive/dockerarchive/internal/webclient"
)

const (
	// maxKept bounds the size of all kept windows, in bytes.
	maxKept = 64 << 20
	// worthwhile is how many bytes an answer must bring before it breaks off, so that the next request follows at
	// once and has as many retries as the first had. Blobs of registries are read by the same rule.
	worthwhile = 384 << 10
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

	mu       sync.Mutex
	windows  []*window // the one that was used last comes first
	kept     int64     // bytes of them
	flights  []*flight // what is being asked for
	runs     []*run    // the last used first
	err      error     // ErrChanged or that of Close: nothing is read any more
	failures int       // how often ReadAt has failed
	last     error     // the error of the last time
}

// flight is a range that one reader has requested. Others wait for it.
type flight struct {
	off, end int64
	done     chan struct{}
	err      error // why nothing has come, when it is done
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
	r.mu.Lock()
	runs := r.runs
	r.runs = nil
	r.err = cmp.Or(r.err, fs.ErrClosed)
	r.mu.Unlock()
	for _, run := range runs {
		run.stop()
	}
	return nil
}

// Forget drops all that is kept, so that it is requested again.
func (r *Reader) Forget() {
	r.mu.Lock()
	runs := r.runs
	r.windows, r.kept, r.runs = nil, 0, nil
	r.mu.Unlock()
	for _, run := range runs {
		run.stop()
	}
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
			r.mu.Lock()
			r.failures, r.last = r.failures+1, err
			r.mu.Unlock()
			return done, err
		}
	}
	return done, nil
}

// readSome reads at least one byte, or waits for another reader's request of it.
func (r *Reader) readSome(p []byte, off int64) (int, error) {
	r.mu.Lock()
	n, other, err := r.fromWindowLocked(p, off)
	if n > 0 || err != nil {
		r.mu.Unlock()
		return n, err
	}
	if other != nil {
		r.mu.Unlock()
		select {
		case <-other.done:
			return 0, other.err // Each asking for as long as the policy has it would take all of them too long.
		case <-r.ctx.Done():
			return 0, context.Cause(r.ctx)
		}
	}
	run, length, own := r.takeLocked(off, int64(len(p))) // Before another looks for it.
	r.mu.Unlock()
	data, kept := p, false
	if int64(len(p)) > length {
		data = p[:length]
	} else if int64(len(p)) < length {
		data, kept = make([]byte, length), true
	}
	err = r.fetch(run, data, off)
	own.err = err
	r.giveBack(run, own, kept && err == nil, data)
	if err != nil {
		return 0, err
	}
	return copy(p, data), nil // data is p itself if nothing is kept.
}

// fromWindowLocked copies bytes that are kept, or returns the flight that will bring them.
func (r *Reader) fromWindowLocked(p []byte, off int64) (int, *flight, error) {
	if r.err != nil {
		return 0, nil, r.err
	}
	for i, w := range r.windows {
		if off >= w.off && off < w.end() {
			copy(r.windows[1:i+1], r.windows[:i])
			r.windows[0] = w
			return copy(p, w.data[off-w.off:]), nil, nil
		}
	}
	for _, f := range r.flights {
		if off >= f.off && off < f.end {
			return 0, f, nil
		}
	}
	return 0, nil, nil
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
func (r *Reader) fetch(run *run, p []byte, off int64) error {
	done := 0
	backoff := r.policy.Backoff()
	for {
		n, err := run.read(r.ctx, r, p[done:], off+int64(done))
		if done += n; err == nil {
			return nil
		}
		if err := backoff.Resume(r.ctx, err, run.brought >= worthwhile, r.again); err != nil {
			return r.failed(err)
		}
	}
}

// again counts a repeated request.
func (r *Reader) again(error) { webclient.MeterOf(r.ctx).Again() }

// failed remembers that there is another version.
func (r *Reader) failed(err error) error {
	if errors.Is(err, ErrChanged) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.err = err
	}
	return err
}

// Failures returns how often ReadAt has failed, and the error of the last time.
func (r *Reader) Failures() (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.failures, r.last
}

// ContentRange parses the Content-Range header of an HTTP answer. to is the offset behind the range.
func ContentRange(header string) (from, to, size int64, ok bool) {
	var last int64
	n, err := fmt.Sscanf(header, "bytes %d-%d/%d", &from, &last, &size)
	return from, last + 1, size, err == nil && n == 3 && 0 <= from && from <= last && last < size
}
