//go:build !race

package delta

const raced = false
