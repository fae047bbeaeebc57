// Package raced lets tests do less under the race detector. The detector makes the work of a single goroutine, such
// as unpacking, ten times slower and finds nothing in it. make test-long does all of that work without it. The same
// goes for s390x, which make portable emulates: a part of the rounds shows whether the order of bytes matters.
package raced

import "testing"

// Rounds returns how many rounds a test does: all, or some under the race detector or on s390x.
func Rounds(t testing.TB, some, all int) int {
	t.Helper()
	if Enabled {
		t.Logf("%d of %d: this is slow here", some, all)
		return some
	}
	return all
}
