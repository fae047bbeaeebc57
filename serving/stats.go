package serving

import "github.com/dockerarchive/dockerarchive/internal/blobcache"

// StoreStats are counts of requests to stores since the Server began.
type StoreStats struct {
	Requests int64 // requests sent
	Failed   int64 // requests without an answer, answered with 429 or 5xx, or broken off
	Retries  int64 // requests repeated, or sent for the rest of an answer
	Bytes    int64 // bytes received
}

// CacheStats are counts of the cache since the Server began, except Blobs, Bytes and Limit.
type CacheStats = blobcache.Stats

// StoreStats returns the counts of requests to stores; ok is false if no path is an address.
func (s *Server) StoreStats() (stats StoreStats, ok bool) {
	m := s.stores.meter
	return StoreStats{Requests: m.Requests.Load(), Failed: m.Failed.Load(), Retries: m.Retries.Load(), Bytes: m.Bytes.Load()}, len(s.locations) > 0
}

// CacheStats returns the counts of the cache; ok is false without a cache.
func (s *Server) CacheStats() (stats CacheStats, ok bool) {
	if s.cache == nil {
		return CacheStats{}, false
	}
	return s.cache.Stats(), true
}

// Failing returns the addresses whose last check failed, with the reasons. Their earlier archives are still served.
// The reasons are escaped for printing.
func (s *Server) Failing() map[string]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	failing := map[string]string{}
	for _, l := range s.locations {
		if l.failed != "" {
			failing[l.address] = l.failed
		}
	}
	return failing
}
