// Package layouts knows which transports write archives, and in which layout. It asks the
// transports of this module, which do not have that in their interface.
package layouts

import (
	"fmt"

	"go.podman.io/image/v5/types"

	"github.com/dockerarchive/dockerarchive/internal/layout"
	dockerarchive "github.com/dockerarchive/dockerarchive/podman"
)

type transport interface {
	Layout(sys *types.SystemContext) layout.Layout
}

// Of returns the layout of the archives that a transport writes; nil means an
// image-archive. Only transports of this module write archives.
func Of(t types.ImageTransport, sys *types.SystemContext) (layout.Layout, error) {
	if t == nil {
		t = dockerarchive.ImageTransport
	}
	ours, ok := t.(transport)
	if !ok {
		return nil, fmt.Errorf("transport %s does not write archives", t.Name())
	}
	return ours.Layout(sys), nil
}

// All returns the layouts that an archive may have.
func All(sys *types.SystemContext) []layout.Layout {
	var all []layout.Layout
	for _, t := range []types.ImageTransport{dockerarchive.ImageTransport, dockerarchive.Transport} {
		if l, err := Of(t, sys); err == nil { // Ours all write archives.
			all = append(all, l)
		}
	}
	return all
}
