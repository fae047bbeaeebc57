// Package raced lets tests do less under the race detector. The detector makes the work of a single goroutine, such
// as unpacking, ten times slower and finds nothing in it. make test-long does all of that work without it.
package raced

import "testing"

// Rounds returns how many rounds a test does: all, or some under the race detector.
func Rounds(t testing.TB, some, all int) int {
	t.Helper()
	if Enabled {
		t.Logf("%d of %d under the race detector", some, all)
		return some
	}
	return all
}
