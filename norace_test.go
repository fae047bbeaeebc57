//go:build !race

package dockerarchive

const raceEnabled = false
