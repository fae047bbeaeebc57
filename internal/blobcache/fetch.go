package blobcache

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/opencontainers/go-digest"
)

// pieceSize is how many bytes are written at once.
const pieceSize = 256 << 10

// fetch writes a blob to its file, while readers follow.
func (c *Cache) fetch(e *entry, open func(context.Context) (io.ReadCloser, error)) {
	err := c.copyAll(e, open)
	c.mu.Lock()
	defer c.mu.Unlock()
	if err == nil {
		if failed := os.Rename(c.partial(e.digest), c.path(e.digest)); failed != nil {
			err = fmt.Errorf("%w: %w", ErrDisk, failed)
		}
	}
	c.coming--
	e.origin = nil
	if err == nil {
		e.state = ready
	} else {
		c.lose(e, err)
	}
	e.tell()
	c.settle(e)
}

// lose notes that a blob will not arrive. It must be called with c.mu held.
func (c *Cache) lose(e *entry, err error) {
	e.state, e.err = lost, err
	delete(c.entries, e.digest)
	_ = os.Remove(c.partial(e.digest)) // If that fails, the next run removes it.
	if errors.Is(err, ErrWrong) {
		c.stats.Wrong++
	}
	if errors.Is(err, ErrDisk) {
		// Make room: other programs may have filled the disk.
		for room := e.size; room > 0 && c.idle.Len() > 0; {
			first := c.idle.Front().Value.(*entry)
			room -= first.size
			c.evict(first)
		}
	}
}

// Judge may be implemented by the source of a blob. Verified gets nil for the right content, or an error that wraps
// ErrWrong, and returns the error for the readers.
type Judge interface{ Verified(err error) error }

// copyAll writes all of a blob and verifies it.
func (c *Cache) copyAll(e *entry, open func(context.Context) (io.ReadCloser, error)) error {
	body, err := open(c.ctx)
	if err != nil {
		return err
	}
	defer body.Close()
	err = c.copyFrom(e, body)
	if judge, ok := body.(Judge); ok && (err == nil || errors.Is(err, ErrWrong)) {
		err = judge.Verified(err)
	}
	return err
}

func (c *Cache) copyFrom(e *entry, body io.Reader) error {
	verifier := e.digest.Verifier()
	piece := make([]byte, pieceSize)
	for written := int64(0); ; {
		n, err := body.Read(piece)
		if int64(n) > e.size-written {
			return fmt.Errorf("%w: it has more than %d bytes", ErrWrong, e.size)
		}
		if n > 0 {
			if _, err := e.file.WriteAt(piece[:n], written); err != nil {
				return fmt.Errorf("%w: %w", ErrDisk, err)
			}
			_, _ = verifier.Write(piece[:n]) // Never fails.
			written += int64(n)
			c.advance(e, written)
		}
		switch {
		case err == io.EOF && written < e.size:
			return fmt.Errorf("%w: it has %d bytes instead of %d", ErrWrong, written, e.size)
		case err == io.EOF && !verifier.Verified():
			return ErrWrong
		case err == io.EOF:
			return nil
		case err != nil:
			return err
		}
	}
}

func (c *Cache) advance(e *entry, written int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e.written = written
	e.tell()
}

// check verifies a blob of an earlier run, and removes it if it is wrong.
func (c *Cache) check(e *entry) {
	err := verify(c.ctx, c.path(e.digest), e.digest)
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case err == nil:
		e.state = ready
	case c.ctx.Err() != nil:
		e.state = found
		c.giveUp(e, context.Cause(c.ctx))
	default:
		_ = os.Remove(c.path(e.digest)) // If that fails, the next run tries again.
		c.giveUp(e, fmt.Errorf("%w: %w", ErrDisk, err))
		c.stats.Wrong++
	}
	e.tell()
	c.settle(e)
}

// giveUp makes a blob unfindable. It must be called with c.mu held.
func (c *Cache) giveUp(e *entry, err error) {
	e.state, e.err = lost, err
	delete(c.entries, e.digest)
}

func verify(ctx context.Context, path string, d digest.Digest) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close() // It is only read.
	verifier := d.Verifier()
	piece := make([]byte, pieceSize)
	for ctx.Err() == nil {
		n, err := f.Read(piece)
		_, _ = verifier.Write(piece[:n]) // Never fails.
		switch {
		case err == io.EOF && verifier.Verified():
			return nil
		case err == io.EOF:
			return ErrWrong
		case err != nil:
			return err
		}
	}
	return context.Cause(ctx)
}
