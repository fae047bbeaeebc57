package fetching

// Len returns how many hosts are remembered.
func (h *Hosts) Len() int { return len(h.known) }
