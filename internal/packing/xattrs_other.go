//go:build !linux

package packing

import "io/fs"

// fileXattrs returns nothing: this system's attributes mean nothing to Linux.
func (d *disk) fileXattrs(fs.File) (map[string]string, error) { return nil, nil }

func (d *disk) xattrs(string) (map[string]string, error) { return nil, nil }
