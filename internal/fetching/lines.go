package fetching

import "sync"

// buffers are what ranges that come before their turn are kept in. They are made when they
// are needed, and given back to the system when nobody helps any blob.
type buffers struct {
	mu    sync.Mutex
	free  [][]byte
	left  int // that may still be made
	size  int
	blobs int // that are helped
}

// open says that a blob is helped, and close that it is no more.
func (b *buffers) open() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.blobs++
}

func (b *buffers) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.blobs--; b.blobs == 0 {
		b.left += len(b.free)
		b.free = nil
	}
}

func (b *buffers) tryGet() []byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	if n := len(b.free); n > 0 {
		buffer := b.free[n-1]
		b.free = b.free[:n-1]
		return buffer
	}
	if b.left == 0 {
		return nil
	}
	b.left--
	return make([]byte, b.size)
}

func (b *buffers) put(buffer []byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.blobs == 0 {
		b.left++
		return
	}
	b.free = append(b.free, buffer)
}

// lines counts connections that read: each blob has a line for itself, and those that
// are left help.
type lines struct {
	mu      sync.Mutex
	max     int
	blobs   int
	helpers int
	changes int // how often blobs became more or fewer
}

func (l *lines) begin() { l.add(1) }
func (l *lines) end()   { l.add(-1) }

func (l *lines) add(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.blobs += n
	l.changes++
}

// free reports whether somebody could help, and how often that has changed with the
// number of blobs: a rate from when these were more or fewer says little.
func (l *lines) free() (changes int, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.changes, l.blobs+l.helpers < l.max
}

func (l *lines) tryHelp(h *host) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.blobs+l.helpers >= l.max || !h.tryHelp() {
		return false
	}
	l.helpers++
	return true
}

func (l *lines) helped(h *host) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.helpers--
	h.helped()
}
