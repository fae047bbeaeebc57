package fetching_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/dockerarchive/dockerarchive/internal/fetching"
)

// between are bounds that belong to what they bound.
type between [2]int

func exact(n int) between { return between{n, n} }

func (b between) holds(t *testing.T, what string, n int) {
	t.Helper()
	assert.True(t, b[0] <= n && n <= b[1], "%s: %d is not between %d and %d", what, n, b[0], b[1])
}

// These are the blobs that a server of each kind has: one of 30 seconds on a slow line, and
// one of 10 that is fetched after it.
const (
	largeBlob = 30 * lineRate
	smallBlob = 10 * lineRate
	total     = largeBlob + smallBlob
)

const (
	slow = lineRate
	fast = 60 * lineRate
)

type answering = func(ctx context.Context, data []byte, offset, length int64) (io.Reader, error)

// fails answers all ranges with an error.
func fails(err error) answering {
	return func(context.Context, []byte, int64, int64) (io.Reader, error) { return nil, err }
}

// every answers so many ranges well, and then one with an answer of its own.
func every(n int64, other answering) answering {
	var asked atomic.Int64
	return func(ctx context.Context, data []byte, offset, length int64) (io.Reader, error) {
		if asked.Add(1)%n == 0 {
			return other(ctx, data, offset, length)
		}
		return exactly(ctx, data, offset, length)
	}
}

// hanging sends a byte and then nothing until it is hung up.
func hanging(ctx context.Context, data []byte, offset, _ int64) (io.Reader, error) {
	return io.MultiReader(bytes.NewReader(data[offset:offset+1]), readerFunc(func([]byte) (int, error) {
		<-ctx.Done()
		return 0, context.Cause(ctx)
	})), nil
}

// whole answers a range with all of the blob.
func whole(_ context.Context, data []byte, _, _ int64) (io.Reader, error) {
	return bytes.NewReader(data), nil
}

// wrong answers with another range.
func wrong(_ context.Context, data []byte, _, length int64) (io.Reader, error) {
	return bytes.NewReader(data[:length]), nil
}

// silent does not answer until it is hung up.
func silent(ctx context.Context, _ []byte, _, _ int64) (io.Reader, error) {
	<-ctx.Done()
	return nil, context.Cause(ctx)
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// kind is a server of one kind, with bounds for the requests it gets.
type kind struct {
	jobs   int
	rate   int
	change func(*server)

	wholes, ranges between // requests, of whole blobs or all the rest of one, and of ranges
	sent, origin   between // bytes that the server sent, and that its origin sent to it
	took           between // milliseconds
}

// Every kind of server gets the requests that suit it: help where it helps, and few
// requests of those that are dear there.
func TestKindsOfServers(t *testing.T) {
	alone := between{40000, 40200} // On one slow line.
	helped := between{6600, 8700}  // By five others.
	errBusy := &busy{errTooMany, time.Minute}
	for name, c := range map[string]kind{
		"fast":                         {6, fast, nil, exact(2), exact(0), exact(total), exact(0), between{700, 740}},
		"without any limit":            {6, 0, nil, exact(2), exact(0), exact(total), exact(0), between{40, 40}},
		"fast, begins slowly":          {6, fast, func(s *server) { s.slow = 600 * time.Millisecond }, exact(2), exact(0), exact(total), exact(0), between{1500, 2000}},
		"fast, answers late":           {6, fast, func(s *server) { s.late = 10 * time.Second }, exact(2), exact(0), exact(total), exact(0), between{20600, 20800}},
		"fast, a cache":                {6, fast, func(s *server) { s.fills = 2 * fast }, exact(2), exact(0), exact(total), exact(total), between{700, 740}},
		"slow":                         {6, slow, nil, exact(2), between{400, 600}, exact(total), exact(0), helped},
		"slow, one job":                {1, slow, nil, exact(2), exact(0), exact(total), exact(0), alone},
		"slow, each begins slowly":     {6, slow, func(s *server) { s.slow = 600 * time.Millisecond }, exact(3), between{5, 40}, between{total, total + 2*smallPart}, exact(0), between{40000, 44000}},
		"slow in sum":                  {6, 0, func(s *server) { s.sum = slow }, exact(3), between{1, 150}, between{total, total + 2*smallPart}, exact(0), between{40000, 40300}},
		"no ranges":                    {6, slow, func(s *server) { s.answer = fails(fetching.ErrNoRanges) }, exact(2), exact(1), exact(total), exact(0), alone},
		"ranges fail for good":         {6, slow, func(s *server) { s.answer = fails(errors.New("not you")) }, exact(2), exact(1), exact(total), exact(0), alone},
		"ranges fail":                  {6, slow, func(s *server) { s.answer = fails(io.ErrUnexpectedEOF) }, exact(2), exact(4), exact(total), exact(0), alone},
		"all of it for a range":        {6, slow, func(s *server) { s.answer = whole }, exact(2), exact(1), between{total, total + 2*smallPart}, exact(0), alone},
		"wrong ranges":                 {6, slow, func(s *server) { s.answer = wrong }, exact(3), between{350, 400}, between{total + largeBlob, total + largeBlob + smallPart}, exact(0), between{45000, 47000}},
		"reads its way, slowly":        {6, slow, func(s *server) { s.reads = slow }, exact(2), exact(1), exact(total), exact(0), alone},
		"reads its way":                {6, slow, func(s *server) { s.reads = 7 * slow }, exact(2), exact(1), exact(total), exact(0), alone},
		"reads its way fast":           {6, slow, func(s *server) { s.reads = 1000 * slow }, exact(2), between{400, 600}, exact(total), exact(0), helped},
		"a cache, as slow":             {6, slow, func(s *server) { s.fills = slow }, exact(2), exact(1), exact(total), between{total, total + largeBlob}, alone},
		"a cache":                      {6, slow, func(s *server) { s.fills = 7 * slow }, exact(2), exact(1), exact(total), between{total, total + largeBlob}, alone},
		"a fast cache":                 {6, slow, func(s *server) { s.fills = 100 * slow }, exact(2), between{400, 600}, exact(total), exact(total), helped},
		"a fast cache that waits":      {6, slow, func(s *server) { s.fills = 100 * slow; s.lazy = true }, exact(2), exact(1), exact(total), exact(total + largeBlob), alone},
		"a faster cache that waits":    {6, slow, func(s *server) { s.fills = 150 * slow; s.lazy = true }, exact(3), between{370, 420}, between{total, total + 2*smallPart}, exact(2 * total), between{13000, 16000}},
		"too many requests":            {6, slow, func(s *server) { s.answer = fails(errBusy) }, exact(2), exact(1), exact(total), exact(0), alone},
		"too many requests sometimes":  {6, slow, func(s *server) { s.answer = every(5, fails(errBusy)) }, between{2, 4}, between{2, 200}, between{total, total + 100*smallPart}, exact(0), between{35000, 45000}},
		"hangs":                        {6, slow, func(s *server) { s.answer = hanging }, exact(2), exact(4), between{total, total + 20}, exact(0), alone},
		"hangs sometimes":              {6, slow, func(s *server) { s.answer = every(5, hanging) }, between{2, 8}, between{10, 400}, between{total, total + 50*smallPart}, exact(0), between{30000, 80000}},
		"hangs now and then":           {6, slow, func(s *server) { s.answer = every(50, hanging) }, between{2, 4}, between{400, 800}, between{total, total + 30*smallPart}, exact(0), between{8000, 30000}},
		"does not answer":              {6, slow, func(s *server) { s.answer = silent }, exact(2), exact(1), exact(total), exact(0), alone},
		"sometimes does not answer":    {6, slow, func(s *server) { s.answer = every(5, silent) }, between{2, 8}, between{10, 400}, between{total, total + 50*smallPart}, exact(0), between{30000, 80000}},
		"now and then does not answer": {6, slow, func(s *server) { s.answer = every(50, silent) }, between{2, 4}, between{400, 800}, between{total, total + 30*smallPart}, exact(0), between{8000, 30000}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { c.serves(t) })
		})
	}
}

// serves fetches two blobs from such a server.
func (c kind) serves(t *testing.T) {
	large, small := random(largeBlob), random(smallBlob)
	s := newServer(c.rate, large, small)
	s.late = 20 * time.Millisecond
	if c.change != nil {
		c.change(s)
	}
	o := retrying(new(store).options(), 3)
	o.Jobs, o.RangeSize = c.jobs, smallPart
	o.Busy = func(err error) bool { return errors.Is(err, errTooMany) }
	start := time.Now()
	fetchedInTurn(t, s, o, large, small)
	took := time.Since(start)
	c.wholes.holds(t, "requests of blobs", len(s.opens))
	c.ranges.holds(t, "requests of ranges", s.ranges)
	c.sent.holds(t, "bytes sent", s.sent)
	c.origin.holds(t, "bytes of the origin", s.origin)
	c.took.holds(t, "milliseconds", int(took.Milliseconds()))
	assert.LessOrEqual(t, s.peak(), c.jobs)
}
