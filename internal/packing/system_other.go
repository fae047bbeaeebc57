//go:build !unix

package packing

import "io/fs"

// openFlags are nothing that this system needs.
const openFlags = 0

// identify returns nothing: owners are not numbers here.
func identify(fs.FileInfo) identity { return identity{} }

// permissions returns the permissions for a layer. This system has none as
// Linux has, so that everything can be executed, and written by its owner.
func permissions(m fs.FileMode) fs.FileMode { return m.Perm()&0o755 | 0o111 }
