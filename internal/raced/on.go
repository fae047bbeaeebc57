//go:build race || s390x

package raced

// Enabled says whether the race detector is on.
const Enabled = true
