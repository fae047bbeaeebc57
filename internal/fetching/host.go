package fetching

import (
	"cmp"
	"sync"
	"time"
)

const (
	// badRanges is how many ranges in a row come late or break at a host that is better
	// asked for whole blobs.
	badRanges = 4
	// lostHelps is how often a blob may lose its help because a range came too slowly twice.
	lostHelps = 3
	// recent is how many helped blobs a doubtful one counts for: another one of these is one
	// too many.
	recent = 8
	// pause is for how long, at least, nobody begins to help at a host that refused a
	// request because it has too many.
	pause = time.Second
	// recovery is how many ranges come well before one more may help than after a refusal.
	recovery = 64
)

// host is what is known of ranges that come from one place. Its methods may be called
// concurrently.
type host struct {
	mu      sync.Mutex
	asking  bool      // a first range is on its way
	known   bool      // a range has come
	over    bool      // no further range is to be asked for
	blobs   int       // that had a first range
	doubted int       // the number of the latest one of them that was doubtful; 0 is none
	bad     int       // ranges in a row that came late, too slowly or not at all
	lost    int       // blobs that went on without help because of one range
	good    int       // ranges since most changed
	helpers int       // connections that help
	most    int       // how many may; 0 is any number
	until   time.Time // when others may begin to help
}

// mayHelp reports whether ranges may help with a blob of this host. The first range of it
// tells; as long as none has come from the host, others wait for the one that is on its way.
func (h *host) mayHelp() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.over || h.asking || !h.hasRoom() {
		return false
	}
	h.asking = !h.known
	return true
}

// isKnown reports whether a range has come.
func (h *host) isKnown() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.known
}

// asked ends what mayHelp began.
func (h *host) asked() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.asking = false
}

// began notes that the first range of a blob has come.
func (h *host) began() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.known = true
	h.blobs++
}

// doubt notes a blob whose last bytes took long to begin. Chance may be the reason, or a
// server that reads its way to them, or fetches a whole blob for them: not always too
// slowly to help, but at a price. Two such blobs are no chance.
func (h *host) doubt() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.doubted > 0 && h.blobs-h.doubted < recent {
		h.over = true
	}
	h.doubted = h.blobs
}

// came notes a range that has come, late or not. A single one may have met with anything;
// several, that the host reads its way to what it is asked for.
func (h *host) came(late bool) {
	if late {
		h.spoilt()
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.bad = 0
	if h.good++; h.good >= recovery && h.most > 0 {
		h.most, h.good = h.most+1, 0 // No more than jobs, because of lines.
	}
}

// spoilt notes a range that did not come, or too slowly.
func (h *host) spoilt() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.bad++; h.bad >= badRanges {
		h.over = true
	}
}

// loses notes that a blob goes on without help, because of one range. All behind that range
// comes again.
func (h *host) loses() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.lost++; h.lost >= lostHelps {
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
	h.over = true
}

func (h *host) ended() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.over
}

// fewer is for a host that refused a request because it has too many: nobody begins to help
// there before it wants to be asked again, and then half as many do. Others that it refused
// at the same time change nothing. If nobody helps yet, half of jobs may. A blob's own line
// stays.
func (h *host) fewer(jobs int, after time.Duration) {
	if h == nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.hasWaited() {
		h.most, h.good = max(cmp.Or(h.helpers, h.most, jobs)/2, 1), 0
	}
	if until := time.Now().Add(max(after, pause)); until.After(h.until) {
		h.until = until
	}
}

func (h *host) hasWaited() bool { return !time.Now().Before(h.until) }

func (h *host) hasRoom() bool { return (h.most == 0 || h.helpers < h.most) && h.hasWaited() }

// tryHelp counts one that begins to help, if it may.
func (h *host) tryHelp() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.over || !h.hasRoom() {
		return false
	}
	h.helpers++
	return true
}

// helped is called when one helps no more.
func (h *host) helped() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.helpers--
}
