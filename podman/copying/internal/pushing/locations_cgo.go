//go:build cgo

package pushing

// hasSQLite says that the SQLite of containers/image, which is written in C, is there.
const hasSQLite = true
