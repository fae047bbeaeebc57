//go:build unix && !linux

package spool

import "os"

func systemDir() string { return "/var/tmp" }

func createUnnamed(dir string) (*os.File, error) { return createUnlinked(dir) }
