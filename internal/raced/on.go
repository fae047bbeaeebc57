//go:build race

package raced

// Enabled is whether the race detector watches.
const Enabled = true
