package fetching_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/internal/fetching"
)

// asking fetches a blob of a server with a Fetcher of its own, and returns how many ranges it
// asks for.
func asking(t *testing.T, s *server, hosts *fetching.Hosts, blob []byte) int {
	t.Helper()
	o := retrying(new(store).options(), 3)
	o.Jobs, o.RangeSize, o.Hosts = 6, smallPart, hosts
	o.Busy = func(err error) bool { return errors.Is(err, errTooMany) }
	before := s.ranges
	fetchedInTurn(t, s, o, blob)
	return s.ranges - before
}

// Fetchers that share Hosts ask a host only once for what it refuses.
func TestHosts(t *testing.T) {
	const none, helped = 0, 2 // Two are more than the first one.
	forTheImage := fmt.Errorf("not you: %w", fetching.ErrRefused)
	for name, c := range map[string]struct {
		answer answering
		reads  int
		later  int // ranges that are asked for at least, and at most if that is not helped
	}{
		"no ranges":         {fails(fetching.ErrNoRanges), 0, none},
		"wrong ranges":      {wrong, 0, none},
		"reads its way":     {nil, 7 * slow, none},
		"too many requests": {fails(&busy{errTooMany, time.Hour}), 0, none},
		"refused to one":    {fails(forTheImage), 0, 1},
		"helps":             {nil, 0, helped},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				one, two := random(30*lineRate), random(20*lineRate)
				s := newServer(lineRate, one, two)
				s.answer, s.reads = c.answer, c.reads
				hosts := new(fetching.Hosts)
				assert.NotZero(t, asking(t, s, hosts, one))
				if n := asking(t, s, hosts, two); c.later < helped {
					assert.Equal(t, c.later, n)
				} else {
					assert.GreaterOrEqual(t, n, c.later)
				}
				assert.NotZero(t, asking(t, s, nil, two), "by itself")
				s.host = "other.example.com"
				assert.NotZero(t, asking(t, s, hosts, two), "another host")
			})
		})
	}
}

// An image whose mirror turns out to be another host is judged by that.
func TestHostsOfMirrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		blob := random(30 * lineRate)
		s, hosts := newServer(lineRate, blob), new(fetching.Hosts)
		s.answer = fails(fetching.ErrNoRanges)
		assert.Equal(t, 1, asking(t, s, hosts, blob))
		s.answer, s.prepared = nil, func() { s.host = "mirror.example.com" }
		assert.NotZero(t, asking(t, s, hosts, blob))
		s.host = "registry.example.com"
		assert.NotZero(t, asking(t, s, hosts, blob))
		s.host, s.answer = "registry.example.com", fails(fetching.ErrNoRanges)
		s.prepared = func() { s.host = "broken.example.com" }
		assert.Equal(t, 1, asking(t, s, hosts, blob))
		s.host, s.answer, s.prepared = "registry.example.com", nil, nil
		assert.Greater(t, asking(t, s, hosts, blob), 1, "the mirror is to blame")
	})
}

// A blob that is wrong also without ranges says nothing of its host.
func TestDamagedBlobBlamesNoHost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		damaged, blob := random(30*lineRate), random(29*lineRate)
		s, hosts := newServer(lineRate, damaged, blob), new(fetching.Hosts)
		wanted := descriptor(damaged)
		s.blobs[wanted.Digest] = append(bytes.Clone(damaged[1:]), 0)
		o := retrying(new(store).options(), 3)
		o.Jobs, o.RangeSize, o.Hosts = 6, smallPart, hosts
		f := fetching.New(o)
		f.Need(f.AddImage(s, "", wrapped("x")), wanted)
		require.ErrorIs(t, run(t.Context(), f, f.Blobs()), fetching.ErrMismatch)
		synctest.Wait()
		assert.NotZero(t, s.ranges)
		assert.NotZero(t, asking(t, s, hosts, blob))
	})
}

// Fetchers with fewer jobs leave nothing behind that bounds others.
func TestHostsOfFewerJobs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		blob := random(30 * lineRate)
		s, hosts := newServer(lineRate, blob), new(fetching.Hosts)
		o := retrying(new(store).options(), 3)
		o.Jobs, o.RangeSize, o.Hosts = 2, smallPart, hosts
		fetchedInTurn(t, s, o, blob)
		s.most = 0
		assert.NotZero(t, asking(t, s, hosts, blob))
		assert.Equal(t, 6, s.peak())
	})
}

// However many hosts there are, what is remembered is bounded.
func TestManyHosts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		blob := random(lineRate)
		s, hosts := newServer(lineRate, blob), new(fetching.Hosts)
		for n := range 300 {
			s.host = fmt.Sprintf("%d.example.com", n)
			asking(t, s, hosts, blob)
		}
		assert.Equal(t, 256, hosts.Len())
	})
}

// A context that remembers hosts is not given others.
func TestRemembering(t *testing.T) {
	assert.Nil(t, fetching.HostsOf(t.Context()))
	ctx := fetching.Remembering(t.Context())
	inner, cancel := context.WithCancel(ctx)
	defer cancel()
	assert.NotNil(t, fetching.HostsOf(ctx))
	assert.Same(t, fetching.HostsOf(ctx), fetching.HostsOf(fetching.Remembering(inner)))
}
