// Package retry repeats an attempt that failed for a reason that may pass. It
// knows the standard library's errors for such reasons, and nothing of the
// attempt: if a client has error types of its own, its caller hands in a
// Classifier.
package retry

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cenkalti/backoff/v5"
)

const (
	// FirstDelay is how long a Policy waits before the second attempt, unless it
	// is told otherwise. The delay is doubled for every further one.
	FirstDelay = time.Second
	// MaxDelay is the longest delay that doubling leads to.
	MaxDelay = 30 * time.Second
	// MaxAfter is how long a server may ask to be left alone. If it asks for more,
	// the attempt is not repeated.
	MaxAfter = 5 * time.Minute
	// Jitter is the part of a delay by which it is randomly shorter or longer, so
	// that clients that failed together do not come back together.
	Jitter = 0.2
)

// Verdict says what to do about an error.
type Verdict struct {
	Retry bool          // whether the reason may pass
	After time.Duration // for which the server asks to wait; 0 if it does not say
}

// Classifier judges the errors that it knows. It returns false for others.
type Classifier func(error) (Verdict, bool)

// Policy says when to try again, how often, and after which time. Its zero value
// tries nothing again. It may be used concurrently.
type Policy struct {
	Times       int           // how often to try again
	FirstDelay  time.Duration // before the second attempt; 0 stands for the constant
	Delay       time.Duration // before every further attempt; 0 lets it follow from FirstDelay
	Classifiers []Classifier  // asked in this order, and before the package's own rules
}

// Backoff counts the attempts at one thing and waits between them. It must not
// be used concurrently.
type Backoff struct {
	policy Policy
	left   int
	delays backoff.ExponentialBackOff
}

// Backoff returns a Backoff for the attempts at one thing.
func (p Policy) Backoff() *Backoff {
	first := p.FirstDelay
	if first == 0 {
		first = FirstDelay
	}
	return &Backoff{policy: p, left: p.Times, delays: backoff.ExponentialBackOff{
		InitialInterval:     first,
		RandomizationFactor: Jitter,
		Multiplier:          2,
		MaxInterval:         max(first, MaxDelay),
	}}
}

// Next returns nil if the attempt that failed with err is to be repeated, having
// waited for the right time. Otherwise it returns err, with the reason why it
// waits no longer if that is not in err itself. announce, if not nil, is called
// with err before the wait.
func (b *Backoff) Next(ctx context.Context, err error, announce func(error)) error {
	if b.left <= 0 || ctx.Err() != nil {
		return err
	}
	verdict := b.policy.Judge(err)
	if !verdict.Retry {
		return err
	}
	if verdict.After > MaxAfter {
		return fmt.Errorf("%w (not tried again: the server asks to wait %v, and %v is the most)", err, verdict.After, MaxAfter)
	}
	if announce != nil {
		announce(err)
	}
	b.left--
	delay := b.policy.Delay
	if delay == 0 {
		delay = b.delays.NextBackOff()
	}
	return b.wait(ctx, err, max(delay, verdict.After))
}

// Resume is Next for the rest of something, after an attempt that brought part of it. If that was worthwhile,
// the next attempt follows at once, and there are as many as at first: a server that breaks off now and then
// gives most over a new connection.
func (b *Backoff) Resume(ctx context.Context, err error, worthwhile bool, announce func(error)) error {
	if !worthwhile {
		return b.Next(ctx, err, announce)
	}
	*b = *b.policy.Backoff()
	if !b.Judge(err).Retry {
		return err
	}
	if announce != nil {
		announce(err)
	}
	return nil
}

// Judge returns the verdict about an error, without counting an attempt.
func (b *Backoff) Judge(err error) Verdict { return b.policy.Judge(err) }

// wait returns err, with the cause, if ctx ends before delay has passed.
func (b *Backoff) wait(ctx context.Context, err error, delay time.Duration) error {
	select {
	case <-time.After(delay):
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%w while waiting to try again after: %w", context.Cause(ctx), err)
	}
}

// Do calls f until it succeeds, fails for good, or has been tried again as often
// as p allows, and returns the last error. announce is that of Backoff.Next.
func (p Policy) Do(ctx context.Context, announce func(error), f func() error) error {
	b := p.Backoff()
	for {
		err := f()
		if err == nil {
			return nil
		}
		if err := b.Next(ctx, err, announce); err != nil {
			return err
		}
	}
}

// Final returns err as an error after which nothing is tried again.
func Final(err error) error { return &finalError{err} }

// IsFinal reports whether nothing is tried again after an error.
func IsFinal(err error) bool {
	var final *finalError
	return errors.As(err, &final)
}

type finalError struct{ error }

// Unwrap returns the error.
func (e *finalError) Unwrap() error { return e.error }

// Judge returns the verdict about an error, which must not be nil. An error that
// no Classifier knows, and that has a method RetryAfter, says itself when to
// come back.
func (p Policy) Judge(err error) Verdict {
	if ended(err) || IsFinal(err) {
		return Verdict{}
	}
	for _, classify := range p.Classifiers {
		if verdict, known := classify(err); known {
			return verdict
		}
	}
	var asks interface{ RetryAfter() time.Duration }
	if errors.As(err, &asks) {
		return Verdict{Retry: true, After: asks.RetryAfter()}
	}
	return Verdict{Retry: mayPass(err)}
}
