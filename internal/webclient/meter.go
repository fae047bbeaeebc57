package webclient

import (
	"context"
	"io"
	"net/http"
	"sync/atomic"
)

// Meter counts what goes over connections. A nil Meter counts nothing. It may be used concurrently.
type Meter struct {
	Requests atomic.Int64 // that were sent
	Failed   atomic.Int64 // of those: without an answer, refused as a server does that fails, or broken off
	Retries  atomic.Int64 // of the requests that were made again, or went on with the rest of an answer
	Bytes    atomic.Int64 // of the bodies of answers
}

type meterKey struct{}

// WithMeter has the requests with a context, or with one that comes from it, counted.
func WithMeter(ctx context.Context, m *Meter) context.Context {
	return context.WithValue(ctx, meterKey{}, m)
}

// MeterOf returns the Meter of a context, nil if it has none.
func MeterOf(ctx context.Context) *Meter {
	m, _ := ctx.Value(meterKey{}).(*Meter)
	return m
}

// Again counts a request that is made again.
func (m *Meter) Again() {
	if m != nil {
		m.Retries.Add(1)
	}
}

// Counted counts the requests of a transport by the Meter of their contexts.
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

// failed counts a request, unless the client has ended it.
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
