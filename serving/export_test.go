package serving

// AwaitChecks returns when all blobs that were sent have been verified.
func (s *Server) AwaitChecks() { s.checks.Wait() }
