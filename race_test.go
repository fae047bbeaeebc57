//go:build race

package dockerarchive

// raceEnabled says that the race detector makes everything ten times slower.
const raceEnabled = true
