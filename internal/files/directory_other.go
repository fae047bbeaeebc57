//go:build !linux

package files

import "io/fs"

// xattrs would return the extended attributes of a file.
func (d *Directory) xattrs(string, fs.FileInfo) (map[string]string, error) { return nil, nil }
