// Package raced lets tests do less under the race detector. It makes the work of a single goroutine, such as
// unpacking, ten times slower and finds nothing in it. Everything is done without it, by make test-long.
package raced

import "testing"

// Rounds returns how much of something a test does: all of it, or some under the race detector.
func Rounds(t testing.TB, some, all int) int {
	t.Helper()
	if Enabled {
		t.Logf("%d of %d under the race detector", some, all)
		return some
	}
	return all
}
