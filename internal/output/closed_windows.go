package output

import "os"

// CheckOpen finds nothing: a write to a stream that is closed fails by itself.
func CheckOpen(*os.File) error { return nil }
