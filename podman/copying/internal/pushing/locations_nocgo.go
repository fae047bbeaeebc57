//go:build !cgo

package pushing

const hasSQLite = false
