// Package async runs the two ends of a stream's processing, reading and writing,
// on goroutines of their own, so that they overlap with what happens between.
// It knows nothing of the data.
package async

import (
	"sync"
	"sync/atomic"
)

const (
	// bufferSize is large enough that handing a buffer over costs nothing, and small enough
	// that the data is still in the processor's cache then. A fast connection has that many
	// bytes ready, and to read less at a time wakes its sender more often: with 128 KiB all
	// takes 7 % more of the processor's time, with 256 KiB as much as with these, but more memory.
	bufferSize = 192 << 10
	// enough is how many bytes of a buffer are worth to be handed over.
	enough = bufferSize / 2
	// ownBuffers is how many buffers each Reader and Writer has of its own, so that it gets on
	// whatever all others wait for: one is filled while another is used.
	ownBuffers = 2
	// sharedByReaders and sharedByWriters are how many buffers all Readers, and all Writers, of the
	// process may have together, beside their own. Without them, each step of a stream waits for the
	// one beside it at every buffer, and for its goroutine to be woken: a layer that is unpacked takes
	// a quarter longer. Unpacking makes several times as much as it reads, so Writers have more.
	sharedByReaders = 8
	sharedByWriters = 16
	// waiting is how many buffers a stream has used before it gets shared ones. One that waits for its
	// turn to be written has used fewer: an unpacker takes in three, or six that are half full, before
	// somebody must take what it gives out. It would keep shared buffers from the one that it waits for.
	waiting = 8
)

// These have a token for each shared buffer in use.
var (
	lentToReaders = make(chan struct{}, sharedByReaders)
	lentToWriters = make(chan struct{}, sharedByWriters)
)

// pool has buffers that nobody uses.
var pool = sync.Pool{New: func() any { return &buffer{data: make([]byte, bufferSize)} }}

// buffer is memory for a piece of a stream.
type buffer struct {
	data  []byte
	users atomic.Int32 // of the data
	by    *allowance   // gave it
	lent  bool         // it is a shared one
}

// release says that one user less needs the buffer.
func (b *buffer) release() {
	if b.users.Add(-1) > 0 {
		return
	}
	by, tokens := b.by, b.by.own
	if b.lent {
		tokens = by.shared
	}
	pool.Put(b)
	by.used.Add(1)
	<-tokens
}

// allowance gives a Reader or a Writer its buffers.
type allowance struct {
	own    chan struct{} // has a token for each of its own buffers in use
	shared chan struct{} // has one for each that it shares with others
	used   atomic.Int64  // buffers released
}

func newAllowance(shared chan struct{}) *allowance {
	return &allowance{own: make(chan struct{}, ownBuffers), shared: shared}
}

// get returns a buffer, with one user: a shared one if there is one now, or one of its own as soon
// as there is one; or nil if stop or done is closed before that.
func (a *allowance) get(stop, done <-chan struct{}) *buffer {
	lent := false
	select {
	case a.own <- struct{}{}:
	default:
		if lent = a.lend(); lent {
			break
		}
		select {
		case a.own <- struct{}{}:
		case <-stop:
			return nil
		case <-done:
			return nil
		}
	}
	b := pool.Get().(*buffer)
	b.by, b.lent = a, lent
	b.users.Store(1)
	return b
}

// lend takes a token for a shared buffer if there is one for this stream.
func (a *allowance) lend() bool {
	if a.used.Load() <= waiting {
		return false
	}
	select {
	case a.shared <- struct{}{}:
		return true
	default:
		return false
	}
}
