// Package dockerarchive reads and writes container images as files: the tar
// archives of docker save, podman save and skopeo's docker-archive transport.
//
// It is a [containers/image] transport. Its functions have the names and the
// signatures of that library's own docker/archive package, so that a program
// moves over by changing one import; package
// [github.com/dockerarchive/dockerarchive/register] does it without.
//
// It exists twice, for containers/image under either of its names: the module
// dockerarchive is for that of github.com/containers, its module dockerarchive/podman for
// that of go.podman.io, which is maintained. No build tags are needed.
//
// # Writing
//
// An image is written by copying it to a reference:
//
//	ref, err := dockerarchive.ParseReference("out.tar:example.com/app:1.0")
//	_, err = copy.Image(ctx, policy, ref, source, nil)
//
// Package github.com/dockerarchive/dockerarchive/podman/copying does that for today's
// library, from registries with several connections. Several images share one archive, and the layers they have in
// common, by being copied to references of one [Writer]. The archive appears at its
// path when the last byte is written; until then, and after any failure, the path
// holds what it held before. The bytes depend on the images, their names, their
// order and the layout only. [NewWriterTo] writes to any io.Writer.
//
// There are two layouts: [Transport] writes what docker save wrote before Docker
// 25 and containers/image still does, [ImageTransport] an OCI image layout that
// is a docker archive as well, and keeps digests, compression and all platforms.
//
// # Reading
//
// References of both transports read archives in either layout, and those of all
// other tools, from files and pipes, compressed or not. A [Reader] opens an
// archive once for any number of images; [NewReaderAt] and [NewReaderFrom] read
// archives that are no files. Where an archive contradicts itself, the listing of an
// image that agrees with its config is taken, with a warning, or the image is
// refused. Errors to tell apart are those of package
// [github.com/dockerarchive/dockerarchive/errdef].
//
// # Trust
//
// An archive is taken to be hostile: no name in it is ever used as a path, and sizes
// and counts that it claims are bounded. As with every ImageSource, the caller must
// verify the digest of a blob; copy.Image does. [Reader.Verify] checks everything
// that an archive says of itself.
//
// [containers/image]: https://github.com/containers/image
package dockerarchive
