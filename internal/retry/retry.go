// Package retry tries again what failed for a reason that may pass. It knows
// which reasons those are, and nothing of what is tried.
package retry

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"syscall"
	"time"

	"github.com/containers/image/v5/docker"
)

// FirstDelay is how long Do waits before the second attempt, unless it is told
// otherwise. The delay is doubled for every further one.
const FirstDelay = time.Second

// Backoff counts attempts and waits between them.
type Backoff struct {
	Times int           // how often to try again
	Delay time.Duration // before the next attempt
}

// New returns a Backoff for so many further attempts.
func New(times int) *Backoff { return &Backoff{Times: times, Delay: FirstDelay} }

// Again reports whether to try again after err, having waited for it. announce,
// if not nil, is called before the wait.
func (b *Backoff) Again(ctx context.Context, err error, announce func(error)) bool {
	if err == nil || b.Times <= 0 || ctx.Err() != nil || !MayPass(err) {
		return false
	}
	if announce != nil {
		announce(err)
	}
	timer := time.NewTimer(b.Delay)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return false
	}
	b.Times--
	b.Delay *= 2
	return true
}

// Do calls f until it succeeds, fails for good, or has been tried again as often
// as b allows.
func (b *Backoff) Do(ctx context.Context, announce func(error), f func() error) error {
	for {
		err := f()
		if !b.Again(ctx, err, announce) {
			return err
		}
	}
}

// MayPass reports whether an error may not occur the next time: that of a network
// or of a server that is overloaded.
func MayPass(err error) bool {
	var status docker.UnexpectedHTTPStatusError
	if errors.As(err, &status) {
		return status.StatusCode >= http.StatusInternalServerError || status.StatusCode == http.StatusTooManyRequests
	}
	var dns *net.DNSError
	if errors.As(err, &dns) {
		return !dns.IsNotFound
	}
	var op *net.OpError
	return errors.As(err, &op) ||
		errors.Is(err, docker.ErrTooManyRequests) ||
		errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, syscall.ECONNRESET) ||
		errors.Is(err, syscall.ECONNREFUSED) ||
		errors.Is(err, syscall.ETIMEDOUT)
}
