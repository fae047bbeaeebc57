package selecting

import (
	"slices"

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
	if i.FreeName != "" {
		names = append(names, i.FreeName)
	}
	for _, named := range i.References() {
		if name := named.String(); !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}
