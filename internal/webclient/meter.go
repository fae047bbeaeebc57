package webclient

import (
	"context"
	"io"
	"net/http"
	"sync/atomic"
)

// Meter counts requests and bytes. A nil Meter counts nothing. It may be used concurrently.
type Meter struct {
	Requests atomic.Int64 // that were sent
	Failed   atomic.Int64 // of those: without an answer, answered with 429 or 5xx, or broken off
	Retries  atomic.Int64 // of those: repeated, or for the rest of an answer
	Bytes    atomic.Int64 // of the bodies of answers
}

type meterKey struct{}

// WithMeter returns a context whose requests m counts.
func WithMeter(ctx context.Context, m *Meter) context.Context {
	return context.WithValue(ctx, meterKey{}, m)
}

// MeterOf returns the Meter of a context, nil if it has none.
func MeterOf(ctx context.Context) *Meter {
	m, _ := ctx.Value(meterKey{}).(*Meter)
	return m
}

// Again counts a repeated request.
func (m *Meter) Again() {
	if m != nil {
		m.Retries.Add(1)
	}
}

// Counted is a transport that counts each request in the Meter of its context.
type Counted struct{ http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (c Counted) RoundTrip(request *http.Request) (*http.Response, error) {
	m := MeterOf(request.Context())
	if m == nil {
		return c.RoundTripper.RoundTrip(request)
	}
	m.Requests.Add(1)
	answer, err := c.RoundTripper.RoundTrip(request)
	if err != nil {
		m.failed(request.Context())
		return nil, err
	}
	if answer.StatusCode >= http.StatusInternalServerError || answer.StatusCode == http.StatusTooManyRequests {
		m.Failed.Add(1)
	}
	answer.Body = &countedBody{ReadCloser: answer.Body, meter: m, ctx: request.Context()}
	return answer, nil
}

// failed counts a failed request, unless the client has ended it.
func (m *Meter) failed(ctx context.Context) {
	if ctx.Err() == nil {
		m.Failed.Add(1)
	}
}

// countedBody is the body of an answer.
type countedBody struct {
	io.ReadCloser
	meter *Meter
	ctx   context.Context
}

// Read implements io.Reader.
func (b *countedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.meter.Bytes.Add(int64(n))
	if err != nil && err != io.EOF {
		b.meter.failed(b.ctx)
	}
	return n, err
}
