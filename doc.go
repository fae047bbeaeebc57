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
// [Copy] does that and makes the most of this package. Several images share one
// archive, and the layers they have in common, by being copied to references of
// one [Writer], or all at once by [Save]. The archive appears at its path when
// the last byte is written; until then, and after any failure, the path holds
// what it held before. The bytes depend on the images, their names, their order
// and the layout only.
//
// There are two layouts: [Transport] writes what docker save wrote before Docker
// 25 and containers/image still does, [ImageTransport] an OCI image layout that
// is a docker archive as well, and keeps digests, compression and all platforms.
//
// # Reading
//
// References of both transports read archives in either layout, and those of all
// other tools, from files and pipes, compressed or not. A [Reader] opens an
// archive once for any number of images.
//
// # Trust
//
// An archive is taken to be hostile: no name in it is ever used as a path, and
// what it claims of sizes and counts is bounded. As with every ImageSource, who
// reads a blob must verify its digest; copy.Image does. [Reader.Verify] checks
// everything that an archive says of itself.
//
// [containers/image]: https://github.com/containers/image
package dockerarchive
