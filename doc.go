// Package dockerarchive reads and writes container images as files: the tar
// archives of docker save, podman save and skopeo's docker-archive transport.
//
// It is a [containers/image] transport. Its functions have the names and the
// signatures of that library's own docker/archive package, so that a program
// moves over by changing one import; package
// [github.com/dockerarchive/dockerarchive/register] does it without.
//
// # Writing
//
// An image is written by copying it to a reference:
//
//	ref, err := dockerarchive.ParseReference("out.tar:example.com/app:1.0")
//	_, err = copy.Image(ctx, policy, ref, source, nil)
//
// Several images share one archive, and the layers they have in common, by
// being copied to references of one [Writer]. The archive appears at its path
// when the last byte is written; until then, and after any failure, the path
// holds what it held before. The bytes depend on the images, their names and
// their order only.
//
// [containers/image]: https://github.com/containers/image
package dockerarchive
