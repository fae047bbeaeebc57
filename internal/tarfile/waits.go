package tarfile

import (
	"sync"
	"time"
)

// pace measures which share of its time a blob waits for its source.
type pace struct {
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

func (p *pace) set(waiting bool, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.addLocked(now)
	p.waiting = waiting
}

func (p *pace) slow(now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.addLocked(now)
	total := p.wait + p.progress
	return total >= slowAfter && float64(p.wait) >= slowShare*float64(total)
}

func (p *pace) addLocked(now time.Time) {
	if !p.since.IsZero() {
		d := now.Sub(p.since)
		if p.waiting {
			p.wait += d
		} else {
			p.progress += d
		}
		for p.wait+p.progress > measureWindow {
			p.wait /= 2
			p.progress /= 2
		}
	}
	p.since = now
}
