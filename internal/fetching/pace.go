package fetching

import "time"

const (
	// Patience is for how long a line shows its rate, where Options say nothing of it.
	Patience = time.Second / 4
	// worthHelp is how much longer than that the rest of a blob must take on its own line
	// for others to help: a second.
	worthHelp = 4
	// judged is how much longer than that each of two times is in which help must bring
	// something: a second in all. A range that hangs for a moment is no reason.
	judged = 2
	// clearly is how much faster a blob with helpers must be than its own line was.
	clearly = 1.25
)

// pace measures how fast bytes come while somebody waits for them. Time in which nobody
// waits is not counted: a line that keeps up with its reader is as fast as it need be.
type pace struct {
	window time.Duration

	bytes  int
	waited time.Duration // in the current window
	rates  [2]float64    // of the windows before, the latest first, in bytes a second
	count  int           // how many of them there were
}

// add adds bytes that came after a wait, and reports whether a window is full.
func (p *pace) add(n int, waited time.Duration) bool {
	p.bytes += n
	p.waited += waited
	if p.waited < p.window || p.bytes == 0 {
		return false
	}
	p.rates = [2]float64{float64(p.bytes) / p.waited.Seconds(), p.rates[0]}
	p.bytes, p.waited = 0, 0
	p.count++
	return true
}

// drop forgets the latest window.
func (p *pace) drop() {
	p.rates = [2]float64{p.rates[1]}
	p.count = min(p.count, len(p.rates)) - 1
}

// reset forgets all.
func (p *pace) reset() { *p = pace{window: p.window} }

// slower reports whether all that is remembered was slower than a rate.
func (p *pace) slower(rate float64) bool {
	return p.count >= len(p.rates) && max(p.rates[0], p.rates[1]) < rate
}

// steady returns the rate, once it does not rise any more as it does when a connection
// begins. A moment in which little comes is not yet the rate.
func (p *pace) steady() (rate float64, ok bool) {
	if p.count < len(p.rates) || p.rates[0] > clearly*p.rates[1] {
		return 0, false
	}
	return max(p.rates[0], p.rates[1]), true
}
