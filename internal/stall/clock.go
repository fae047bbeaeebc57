package stall

import "time"

// clock is the time that counts for a Watch. Most of it is stopped and started again long before it is over, so that
// one timer is left alone then, and looks what it is for when it fires.
type clock struct {
	since time.Time     // when it was started
	limit time.Duration // when it is over; 0 if it does not run
	told  bool          // the caller has been told since then
	timer *time.Timer
	fires time.Time // when timer does; zero if it does not
}

// start has time count from now on, up to a limit. mu is held.
func (w *Watch) start(limit time.Duration) {
	if w.ended {
		return
	}
	w.since, w.limit, w.told = time.Now(), limit, false
	w.wake(w.next())
}

// halt has time count no more. mu is held.
func (w *Watch) halt() { w.limit = 0 }

// next returns when something has to be done. mu is held.
func (w *Watch) next() time.Time {
	if w.told {
		return w.since.Add(w.limit)
	}
	return w.since.Add(min(w.limit, w.silence) * 5 / 6)
}

// wake has the timer fire at a time, or before. mu is held.
func (w *Watch) wake(at time.Time) {
	switch {
	case !w.fires.IsZero() && !w.fires.After(at):
		return
	case w.timer == nil:
		w.timer = time.AfterFunc(time.Until(at), w.look)
	default:
		w.timer.Reset(time.Until(at))
	}
	w.fires = at
}

// look is called when the timer fires.
func (w *Watch) look() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.fires = time.Time{}
	if w.limit == 0 {
		return
	}
	if at := w.next(); time.Now().Before(at) {
		w.wake(at)
		return
	}
	if w.told {
		w.cancel(silentError{w.host, w.limit})
		return
	}
	w.told = true
	w.wake(w.next().Add(w.silence)) // waiting may not return.
	host := w.host
	w.mu.Unlock() // Nobody who reads waits for it.
	w.waiting(host)
	w.mu.Lock()
	if w.limit > 0 && !w.ended {
		w.wake(w.next()) // Only now, so that the call comes before the end, however busy the machine is.
	}
}
