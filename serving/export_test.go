package serving

// AwaitChecks returns when all blobs that were sent have been verified.
func (s *Server) AwaitChecks() { s.work.Wait() }

// Compare has passwords compared with hashes by a test.
func (u *Users) Compare(compare func(hash, password []byte) error) { u.compare = compare }

// MaxConnections returns how many there may be at once.
func MaxConnections() int { return connectionLimit() }

// OpenFiles returns how many files of archives are open, and how many may be kept so.
func (s *Server) OpenFiles() (open, limit int) {
	s.pool.mu.Lock()
	defer s.pool.mu.Unlock()
	return s.pool.open, s.pool.limit
}

// KeepOpen has no more files of archives be kept open.
func (s *Server) KeepOpen(limit int) {
	s.pool.mu.Lock()
	defer s.pool.mu.Unlock()
	s.pool.limit = limit
}

// Found returns how many archives the last look into the first address has found.
func (s *Server) Found() int {
	s.refreshing <- struct{}{}
	defer func() { <-s.refreshing }()
	return len(s.locations[0].found)
}

// StoreRetries is how often a request to a store is repeated.
const StoreRetries = storeRetries

// Refused returns how many files are known that could not be read.
func (s *Server) Refused() int {
	s.refused.mu.Lock()
	defer s.refused.mu.Unlock()
	return len(s.refused.all)
}
