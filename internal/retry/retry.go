package main

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

// firstRetryDelay is doubled for every further attempt.
const firstRetryDelay = time.Second

// retry calls f until it succeeds, fails for good, or has been tried again so
// many times.
func retry(ctx context.Context, times int, announce func(error), f func() error) error {
	delay := firstRetryDelay
	for {
		err := f()
		if err == nil || times <= 0 || ctx.Err() != nil || !mayPass(err) {
			return err
		}
		announce(err)
		timer := time.NewTimer(delay)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return err
		}
		times--
		delay *= 2
	}
}

// mayPass reports whether an error may not occur the next time: that of a network
// or of a server that is overloaded.
func mayPass(err error) bool {
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
