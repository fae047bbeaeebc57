package ranged

import (
	"context"
	"fmt"
	"io"
	"slices"
)

const (
	// minWindow and maxWindow bound the read-ahead that is kept: the next bytes are likely to be wanted next, and
	// more so the longer reading goes on in order.
	minWindow = 64 << 10
	maxWindow = 4 << 20
	// maxRequest bounds a request of a reader that reads in order. It is longer than maxWindow: the answer stays
	// open, and is read in pieces as they are wanted.
	maxRequest = 1 << 30
	// growth is how many times longer each request in order is than the last one.
	growth = 4
	piece  = 256 << 10
	// maxRuns is how many runs are remembered, each with an answer that may be open.
	maxRuns = 16
)

// run is a place where reading goes on in order. Only one reader uses it at a time.
type run struct {
	next    int64         // the offset behind the last bytes read
	asked   int64         // bytes of the last request
	brought int64         // bytes that its answer has brought
	body    io.ReadCloser // an answer with more bytes, from next on; nil if there is none
	left    int64         // bytes that are left in it
}

// takeLocked returns the run that goes on at an offset, or a new one; how many bytes to read for a caller that wants
// so many; and the flight for which others wait. The run belongs to the caller until giveBack.
func (r *Reader) takeLocked(off, wanted int64) (*run, int64, *flight) {
	current := &run{next: off}
	// A walk from header to header skips the content between them.
	if i := slices.IndexFunc(r.runs, func(c *run) bool { return off >= c.next && off-c.next < max(c.asked, minWindow) }); i >= 0 {
		current = r.runs[i]
		r.runs = slices.Delete(r.runs, i, i+1)
	}
	length := int64(minWindow)
	switch {
	case current.body != nil, current.asked >= maxWindow && current.next == off:
		length = piece
	case current.asked > 0 && current.next == off:
		length = min(max(growth*current.asked, minWindow), maxWindow)
	case current.asked > 0:
		length = min(max(2*current.asked, minWindow), maxWindow)
	}
	end := min(off+max(length, min(wanted, maxWindow)), r.size)
	for _, f := range r.flights { // Stop where another reader's request begins.
		if f.off > off {
			end = min(end, f.off)
		}
	}
	own := &flight{off: off, end: end, done: make(chan struct{})}
	r.flights = append(r.flights, own)
	return current, end - off, own
}

// giveBack ends what takeLocked has begun. data is kept if keep is set.
func (r *Reader) giveBack(current *run, own *flight, keep bool, data []byte) {
	r.mu.Lock()
	if keep {
		r.keepLocked(&window{off: own.off, data: data})
	}
	r.flights = slices.DeleteFunc(r.flights, func(f *flight) bool { return f == own })
	close(own.done)
	r.runs = append([]*run{current}, r.runs...)
	var over []*run
	if r.err != nil {
		over, r.runs = r.runs, nil
	} else if len(r.runs) > maxRuns {
		over, r.runs = slices.Clone(r.runs[maxRuns:]), r.runs[:maxRuns]
	}
	r.mu.Unlock()
	for _, run := range over {
		run.stop()
	}
}

// stop closes an open answer.
func (c *run) stop() {
	if c.body != nil {
		_ = c.body.Close() // Nobody wants the rest.
		c.body = nil
	}
}

// read fills p, from the open answer or by a request.
func (c *run) read(ctx context.Context, r *Reader, p []byte, off int64) (n int, err error) {
	if c.body != nil {
		gap := off - c.next
		if gap < 0 || gap+int64(len(p)) > c.left {
			c.stop()
		} else if skipped, err := io.CopyN(io.Discard, c.body, gap); err != nil {
			c.stop()
			return 0, broken(err, skipped, gap, c.next)
		} else {
			c.left, c.brought = c.left-gap, c.brought+gap
		}
	}
	if c.body == nil {
		if err := c.ask(ctx, r, int64(len(p)), off); err != nil {
			return 0, err
		}
	}
	n, err = io.ReadFull(c.body, p)
	c.next, c.left, c.brought = off+int64(n), c.left-int64(n), c.brought+int64(n)
	if err != nil {
		c.stop()
		return n, broken(err, int64(n), int64(len(p)), off)
	}
	if c.left == 0 {
		c.stop()
	}
	return n, nil
}

// ask requests at least n bytes, and more if reading has gone on in order for long.
func (c *run) ask(ctx context.Context, r *Reader, n, off int64) error {
	if c.asked >= maxWindow && c.next == off {
		n = max(n, min(growth*c.asked, maxRequest, r.size-off))
	}
	c.brought = 0
	body, err := r.source.Range(ctx, off, n)
	if err != nil {
		return err
	}
	c.next, c.asked, c.body, c.left = off, n, body, n
	return nil
}

// broken returns the error of an answer that broke off.
func broken(err error, n, wanted, off int64) error {
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("%d of %d bytes at offset %d have come: %w", n, wanted, off, err)
}
