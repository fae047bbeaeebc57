//go:build race

package delta

// raced is whether the race detector watches, which makes all of this many times slower.
const raced = true
