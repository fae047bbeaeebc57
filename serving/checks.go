package serving

import (
	"context"
	"crypto/sha256"
	"errors"
	"net"
	"net/netip"
	"slices"
	"sync"
)

const (
	// maxWaiting is how many passwords may wait to be checked.
	maxWaiting = 64
	// maxWaitingFrom is how many of them may be from one address.
	maxWaitingFrom = 16
	// maxWrong is how many wrong passwords are remembered to say whose turn it is.
	maxWrong = 64
)

// ErrBusy means that so many passwords wait to be checked that this one is not.
var ErrBusy = errors.New("too many passwords are waiting to be checked")

// claimant is a client that claims to be a user.
type claimant struct{ address, user string }

// claim is a password that is the same however often it is sent.
type claim struct {
	claimant
	password [sha256.Size]byte // a keyed hash
	hash     string            // that it is checked against
}

// check is a password that waits to be checked, or is being checked.
type check struct {
	claim
	number  int64 // in the order in which they came
	run     func() bool
	waiters int
	done    chan struct{} // closed when right or err is set
	right   bool
	err     error
}

// checks checks passwords, one at a time, because that takes long by design. The order is
// made for a server under attack: addresses that sent the fewest wrong passwords lately come
// first, then their users with the fewest, then the latest claim. So nobody waits for
// passwords that somebody else keeps sending. Its methods may be called concurrently.
type checks struct {
	mu      sync.Mutex
	all     map[claim]*check // waiting, and running
	waiting []*check
	running bool
	came    int64
	wrong   []claimant // claimants that sent the latest wrong passwords
}

// do returns what run returns, or an error if ctx ends before or the queue is full. Equal
// claims share one check.
func (c *checks) do(ctx context.Context, of claim, run func() bool) (bool, error) {
	one := c.join(of, run)
	select {
	case <-one.done:
		return one.right, one.err
	case <-ctx.Done():
		c.leave(one)
		return false, context.Cause(ctx)
	}
}

func (c *checks) join(of claim, run func() bool) *check {
	c.mu.Lock()
	defer c.mu.Unlock()
	if one := c.all[of]; one != nil {
		one.waiters++
		return one
	}
	c.came++
	one := &check{claim: of, number: c.came, run: run, waiters: 1, done: make(chan struct{})}
	if c.all == nil {
		c.all = map[claim]*check{}
	}
	c.all[of] = one
	c.waiting = append(c.waiting, one)
	c.makeRoom(of.address)
	if !c.running {
		c.running = true
		go c.work()
	}
	return one
}

// leave takes a check off the list if nobody waits for it any more.
func (c *checks) leave(one *check) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if one.waiters--; one.waiters == 0 && slices.Contains(c.waiting, one) {
		c.remove(one)
	}
}

// remove takes a check off the list. It must be called with c.mu held, as must be the
// methods that follow.
func (c *checks) remove(one *check) {
	i := slices.Index(c.waiting, one)
	c.waiting = slices.Delete(c.waiting, i, i+1)
	delete(c.all, one.claim)
}

// makeRoom turns away the last check in turn of an address that has too many waiting, or of
// the addresses that have most.
func (c *checks) makeRoom(address string) {
	number, most := map[string]int{}, 0
	for _, w := range c.waiting {
		number[w.address]++
		most = max(most, number[w.address])
	}
	if number[address] <= maxWaitingFrom && len(c.waiting) <= maxWaiting {
		return
	}
	var last *check
	for _, w := range c.waiting {
		if number[w.address] == most && (last == nil || c.before(last, w)) {
			last = w
		}
	}
	c.remove(last)
	last.err = ErrBusy
	close(last.done)
}

// before reports whether it is the turn of a before that of b.
func (c *checks) before(a, b *check) bool {
	fromA, ofA := c.lately(a.claimant)
	fromB, ofB := c.lately(b.claimant)
	switch {
	case fromA != fromB:
		return fromA < fromB
	case ofA != ofB:
		return ofA < ofB
	}
	return a.number > b.number
}

// lately returns how many wrong passwords came lately from an address, and for a user there.
func (c *checks) lately(of claimant) (from, user int) {
	for _, w := range c.wrong {
		if w.address == of.address {
			from++
			if w.user == of.user {
				user++
			}
		}
	}
	return from, user
}

// work runs checks until none is waiting.
func (c *checks) work() {
	for one := c.next(); one != nil; one = c.next() {
		one.right = one.run()
		c.mu.Lock()
		delete(c.all, one.claim)
		if !one.right {
			c.wrong = append(c.wrong, one.claimant)
			c.wrong = c.wrong[max(len(c.wrong)-maxWrong, 0):]
		}
		c.mu.Unlock()
		close(one.done)
	}
}

// next removes the check whose turn it is from the list of waiting ones, and returns it; nil
// if none waits.
func (c *checks) next() *check {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.waiting) == 0 {
		c.running = false
		return nil
	}
	first := c.waiting[0]
	for _, w := range c.waiting[1:] {
		if c.before(w, first) {
			first = w
		}
	}
	c.remove(first)
	c.all[first.claim] = first // Others may still join it.
	return first
}

// addressOf returns what counts as one address: for IPv6 it is a network, because a client
// may have all of its addresses.
func addressOf(remote string) string {
	host, _, err := net.SplitHostPort(remote)
	if err != nil {
		host = remote
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return host
	}
	ip = ip.Unmap().WithZone("")
	if ip.Is4() {
		return ip.String()
	}
	network, err := ip.Prefix(64)
	if err != nil {
		return ip.String()
	}
	return network.String()
}
