package compose

import (
	"archive/tar"
	"hash/maphash"

	"github.com/dockerarchive/dockerarchive/internal/layertar"
)

// maxLinkable is how many names of a layer, about 20 bytes each, are looked through. Hard
// links behind so many give no warning.
const maxLinkable = 1 << 20

// links looks for hard links of a layer to files that the layer itself does not have, as its
// entries pass.
type links struct {
	seed     maphash.Seed
	names    map[uint64]struct{} // hashes of paths: two that are the same only hide a warning
	symlinks layertar.Tree
	first    [2]string // name and target of the first one
	found    int
}

func newLinks() *links { return &links{seed: maphash.MakeSeed(), names: map[uint64]struct{}{}} }

// see notes an entry, whose names are clean.
func (l *links) see(h *tar.Header, path, target string) {
	path = l.resolve(path)
	if h.Typeflag == tar.TypeLink {
		if _, ok := l.names[maphash.String(l.seed, l.resolve(target))]; !ok && len(l.names) < maxLinkable {
			if l.found++; l.found == 1 {
				l.first = [2]string{h.Name, h.Linkname}
			}
		}
	}
	if len(l.names) < maxLinkable {
		l.names[maphash.String(l.seed, path)] = struct{}{}
	}
	if h.Typeflag == tar.TypeSymlink || l.symlinks.Len() > 0 && l.symlinks.Has(path) {
		l.symlinks.Add(layertar.Entry{Header: &tar.Header{Typeflag: h.Typeflag, Name: path, Linkname: h.Linkname}})
	}
}

// resolve returns where a file is put, in the directory that links of the layer lead to.
func (l *links) resolve(path string) string {
	dir, base := layertar.Split(path)
	if dir == "" || l.symlinks.Len() == 0 {
		return path
	}
	resolved, err := l.symlinks.Resolve(dir)
	if err != nil { // Reading the files reports it.
		return path
	}
	return layertar.Join(resolved, base)
}

// warn says that clients disagree.
func (l *links) warn(i *Image, layer string) {
	const refused = "is not in the layer itself: docker and podman refuse that; a squashed image has none"
	switch {
	case l.found == 1:
		i.warn("layer %s: %q is a hard link to %q, which %s", layer, l.first[0], l.first[1], refused)
	case l.found > 1:
		i.warn("layer %s: %d hard links, the first is %q, have targets such as %q, which %s", layer, l.found, l.first[0], l.first[1], refused)
	}
}
