//go:build interop && interopall

package interop

func init() { askAboutAll = true }
