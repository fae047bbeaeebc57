// Package register makes this project's docker-archive transport the one that
// containers/image uses, and adds image-archive. Import it for its side effect:
//
//	import _ "github.com/dockerarchive/dockerarchive/register"
//
// Every program that looks its transports up by name, as those built on
// transports/alltransports do, then reads and writes docker-archive: through
// this project.
package register

import (
	// Imported so that its init function, which registers the built-in
	// transport, has run before ours replaces it, wherever else it is imported.
	_ "github.com/containers/image/v5/docker/archive"
	"github.com/containers/image/v5/transports"

	"github.com/dockerarchive/dockerarchive"
)

func init() {
	transports.Delete(dockerarchive.Transport.Name())
	transports.Register(dockerarchive.Transport)
	transports.Register(dockerarchive.ImageTransport)
}
