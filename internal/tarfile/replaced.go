package tarfile

import (
	"archive/tar"
	"iter"
)

// ReplacedEntries yields the entries that a later one of the same cleaned name replaces, also
// links, but no directories. A client that reads an archive from its start may take any of
// them. An entry that is no regular file has the size -1.
func (x *Index) ReplacedEntries() iter.Seq[Member] {
	return func(yield func(Member) bool) {
		for i, e := range x.entries {
			last := x.byName[e.name]
			if last == int32(i) || e.kind == tar.TypeDir && x.entries[last].kind == tar.TypeDir {
				continue
			}
			m := Member{Name: e.name, Offset: e.offset, Size: e.size}
			if e.kind != tar.TypeReg {
				m.Size = -1
			}
			if !yield(m) {
				return
			}
		}
	}
}

// BehindLinks yields the names of entries with a directory that is a link, or a file: a client
// that unpacks the archive may have them elsewhere, or something else in their places.
func (x *Index) BehindLinks() iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, e := range x.entries {
			for i, r := range e.name {
				if r != '/' {
					continue
				}
				if n, ok := x.byName[e.name[:i]]; ok && x.entries[n].kind != tar.TypeDir {
					if !yield(e.name) {
						return
					}
					break
				}
			}
		}
	}
}
