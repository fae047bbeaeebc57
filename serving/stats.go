package serving

import "github.com/dockerarchive/dockerarchive/internal/blobcache"

// StoreStats are counts of what was asked of stores since the Server began.
type StoreStats struct {
	Requests int64 // that were sent
	Failed   int64 // requests without an answer, refused by a store that fails or throttles, or broken off
	Retries  int64 // requests that were made again, or for the rest of an answer
	Bytes    int64 // that came
}

// CacheStats are counts of the cache since the Server began, but for Blobs, Bytes and Limit.
type CacheStats = blobcache.Stats

// StoreStats returns what was asked of stores; ok is false if no path is an address.
func (s *Server) StoreStats() (stats StoreStats, ok bool) {
	m := s.stores.meter
	return StoreStats{Requests: m.Requests.Load(), Failed: m.Failed.Load(), Retries: m.Retries.Load(), Bytes: m.Bytes.Load()}, len(s.locations) > 0
}

// CacheStats returns the counts of the cache; ok is false if there is none.
func (s *Server) CacheStats() (stats CacheStats, ok bool) {
	if s.cache == nil {
		return CacheStats{}, false
	}
	return s.cache.Stats(), true
}

// Failing returns the addresses that could not be looked up the last time, with the reasons: what was found there
// before is still served. The reasons are escaped for printing.
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
