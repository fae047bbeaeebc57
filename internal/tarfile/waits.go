package tarfile

import (
	"sync"
	"time"
)

// waits measures which share of its time a blob waits for its source.
type waits struct {
	mu       sync.Mutex
	since    time.Time // of the state below; zero before the first call of set
	waiting  bool
	wait     time.Duration
	progress time.Duration
}

// The figures that decide whether waiting in line for a blob would lose time.
// Below three quarters the processor is busy enough that copying a spooled blob
// later costs more than is gained.
const (
	slowShare     = 0.75
	slowAfter     = 50 * time.Millisecond  // time that must have been measured
	measureWindow = 400 * time.Millisecond // after which older times count half
)

func (w *waits) set(waiting bool, now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.addLocked(now)
	w.waiting = waiting
}

func (w *waits) slow(now time.Time) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.addLocked(now)
	total := w.wait + w.progress
	return total >= slowAfter && float64(w.wait) >= slowShare*float64(total)
}

func (w *waits) addLocked(now time.Time) {
	if !w.since.IsZero() {
		d := now.Sub(w.since)
		if w.waiting {
			w.wait += d
		} else {
			w.progress += d
		}
		for w.wait+w.progress > measureWindow {
			w.wait /= 2
			w.progress /= 2
		}
	}
	w.since = now
}
