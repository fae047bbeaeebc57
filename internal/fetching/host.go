package fetching

import (
	"sync"
	"time"
)

// dearRanges is how many ranges in a row take long to begin where each is dear.
const dearRanges = 4

// host is what is known of ranges that come from one place. Its methods may be called
// concurrently.
type host struct {
	mu     sync.Mutex
	asking bool // a first range is on its way
	proven bool // a range has come, and at once
	over   bool // no further range is to be asked for
	late   int  // ranges in a row that took long to begin
	broken int  // first ranges that failed for a reason that may pass
}

// hostOf returns what is known of the host of a source, nil if it gives no ranges.
func (f *Fetcher) hostOf(source Source) *host {
	ranged, ok := source.(RangeSource)
	if !ok || ranged.Host() == "" {
		return nil
	}
	name := ranged.Host()
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.hosts[name] == nil {
		f.hosts[name] = &host{}
	}
	return f.hosts[name]
}

// mayHelp reports whether ranges help at this host, and whether that is known. If it is
// not, and no other worker is finding out, the caller now does.
func (h *host) mayHelp() (may, proven bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.over || h.asking {
		return false, false
	}
	h.asking = !h.proven
	return true, h.proven
}

// answered ends what mayHelp began.
func (h *host) answered(proven bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.asking, h.proven = false, proven
}

// failed counts a first range that broke, which is none's fault at first.
func (h *host) failed() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.asking = false
	if h.broken++; h.broken > 2 {
		h.over = true
	}
}

// end ends all help at this host.
func (h *host) end() {
	if h == nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.asking, h.over = false, true
}

func (h *host) ended() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.over
}

func (h *host) isProven() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.proven
}

// began notes how long a range took to begin, and how long is too long. A single one may
// have met with anything; several, that a host reads its way to what it is asked for.
func (h *host) began(after, tooLong time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.late++; after <= tooLong {
		h.late = 0
	}
	if h.late >= dearRanges {
		h.over = true
	}
}
