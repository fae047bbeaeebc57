// Package register makes this project's docker-archive transport the one that
// containers/image uses, and adds image-archive. Import it for its side effect:
//
//	import _ "github.com/dockerarchive/dockerarchive/register"
//
// No build tags are needed for it. A program that copies images has package signature of
// containers/image, which needs the C library gpgme or, without, the tag
// containers_image_openpgp; one with containers-storage: and cgo needs btrfs' headers
// or exclude_graphdriver_btrfs.
//
// Every program that looks its transports up by name, as those built on
// transports/alltransports do, then reads and writes docker-archive: through
// this project.
//
// A program that also calls functions of containers/image's package docker/archive
// has to import this project there as well: those refuse references of another
// transport ("Internal error: NewReaderForReference called for a non-docker/archive
// ImageReference"). In skopeo that is one import, in cmd/skopeo/list_tags.go; in
// libimage, which podman and buildah use, it is four, in load.go, pull.go, push.go
// and save.go. The functions of this project take references of the built-in
// transport too, by their strings.
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
