package blobcache

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
)

// Blob reads a blob: complete, or while it arrives. It must not be used concurrently.
type Blob struct {
	cache *Cache
	entry *entry
	ctx   context.Context
	file  *os.File // opened for this reader; nil if the blob is still arriving
	pos   int64
	close func() error
}

// blob returns a Blob for a reader that has been counted. It must be called with c.mu held.
func (c *Cache) blob(ctx context.Context, e *entry) (*Blob, error) {
	b := &Blob{cache: c, entry: e, ctx: ctx}
	if e.state == ready {
		f, err := os.Open(c.path(e.digest))
		if err != nil {
			// Somebody has removed it.
			c.leave(e)
			if e.idle != nil {
				c.remove(e)
			}
			return nil, fmt.Errorf("%w: %w", ErrDisk, err)
		}
		b.file = f
	}
	b.close = sync.OnceValue(b.release)
	return b, nil
}

// Size returns the size of the blob in bytes.
func (b *Blob) Size() int64 { return b.entry.size }

// File returns the file with the complete and verified blob, nil if the blob was still arriving when it was requested.
func (b *Blob) File() *os.File { return b.file }

// Come returns how many bytes have arrived and can be read without waiting.
func (b *Blob) Come() int64 {
	b.cache.mu.Lock()
	defer b.cache.mu.Unlock()
	return b.entry.visible()
}

// visible returns how many bytes may be read. It must be called with Cache.mu held.
func (e *entry) visible() int64 {
	if e.state == ready {
		return e.size
	}
	return min(e.written, e.size-1) // No reader may get all of a wrong blob.
}

// Seek implements io.Seeker.
func (b *Blob) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += b.pos
	case io.SeekEnd:
		offset += b.entry.size
	}
	if offset < 0 {
		return 0, errors.New("negative offset")
	}
	b.pos = offset
	return offset, nil
}

// Read implements io.Reader. It waits for bytes that have not arrived yet. The error wraps ErrDisk if the cache cannot
// deliver them, but the source of the blob may.
func (b *Blob) Read(p []byte) (int, error) {
	if b.pos >= b.entry.size {
		return 0, io.EOF
	}
	file, n, err := b.await()
	if err != nil {
		return 0, err
	}
	read, err := file.ReadAt(p[:min(n, int64(len(p)))], b.pos)
	b.pos += int64(read)
	if err != nil {
		return read, fmt.Errorf("%w: %w", ErrDisk, err)
	}
	return read, nil
}

// await waits until there are bytes to read, and returns their number and their file.
func (b *Blob) await() (*os.File, int64, error) {
	c, e := b.cache, b.entry
	c.mu.Lock()
	defer c.mu.Unlock()
	for e.visible() <= b.pos {
		if e.state == lost {
			return nil, 0, e.err
		}
		if err := c.wait(b.ctx, e); err != nil {
			return nil, 0, err
		}
	}
	file := b.file
	if file == nil {
		file = e.file
	}
	return file, e.visible() - b.pos, nil
}

// Close ends reading. It may be called more than once.
func (b *Blob) Close() error { return b.close() }

func (b *Blob) release() error {
	var err error
	if b.file != nil {
		err = b.file.Close()
	}
	b.cache.mu.Lock()
	defer b.cache.mu.Unlock()
	b.cache.leave(b.entry)
	return err
}
