package selecting

import (
	"go.podman.io/image/v5/docker/reference"
)

// References returns the names of the image that are references.
func (i *Wanted) References() []reference.Named {
	if i.Name == nil {
		return i.Names
	}
	return append([]reference.Named{i.Name}, i.Names...)
}

// AllNames returns the names of the image in the archive, each once, in the order of
// the archive.
func (i *Wanted) AllNames() []string {
	var names []string
	known := map[string]bool{} // There may be tens of thousands.
	if i.FreeName != "" {
		names = append(names, i.FreeName)
	}
	for _, named := range i.References() {
		if name := named.String(); name != i.FreeName && !known[name] {
			known[name] = true
			names = append(names, name)
		}
	}
	return names
}
