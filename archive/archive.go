// Package archive reads image archives: the tar files that docker save, podman
// save, skopeo, crane, BuildKit, containerd and others write, and tar files of
// OCI image layouts. It needs no daemon, no registry and no library for either,
// and copies nothing out of the archive to read it.
//
// An [Archive] holds an [Image] for each item of its table of contents. What an
// image's name stands for is a [Manifest], or, of an image for several
// platforms, an index of manifests; a manifest lists its config and its [Layer]s.
// All of them are read as a [Blob] by their digests. A program that wants the
// files of an image asks for the manifest of a platform and opens its layers; one
// that passes images on takes manifests and blobs as they are.
//
//	a, err := archive.Open(ctx, "images.tar")
//	img, err := a.Find("alpine:3.20")
//	m, err := img.ForPlatform(ctx, v1.Platform{OS: "linux", Architecture: "arm64"})
//	layers, err := m.Layers(ctx)
//	files, err := layers[0].Open(ctx) // a tar stream, uncompressed and verified
//
// # Trust
//
// An archive is taken to be hostile: no name in it is ever used as a path, what
// it asks of memory is bounded, and content is verified against its digest as it
// is read, except for a [Blob.Section]. Errors are classified by package
// [github.com/dockerarchive/dockerarchive/errdef]. An archive may have been saved
// without some of its platforms or layers: reading those fails with
// [io/fs.ErrNotExist], and everything else goes on.
package archive

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/dockerarchive/dockerarchive/internal/catalog"
	"github.com/dockerarchive/dockerarchive/internal/input"
	"github.com/dockerarchive/dockerarchive/internal/tarfile"
	"github.com/dockerarchive/dockerarchive/internal/verify"
)

// Archive is an archive of images that is being read. All methods, and those of
// all that comes from it, may be called concurrently, but not after Close.
type Archive struct {
	catalog *catalog.Catalog
	images  []*Image
	size    int64
	close   func() error
}

// Open opens the archive at path, "-" and /dev/stdin being the standard input. If
// it is compressed or comes from a pipe, it is first copied, uncompressed, to a
// temporary file without a name. The caller must close it. The error wraps
// errdef.ErrNoImageArchive, ErrDamaged or ErrLimit where the file is to blame.
func Open(ctx context.Context, path string) (*Archive, error) {
	file, err := input.Open(ctx, path, input.Options{})
	if err != nil {
		return nil, err
	}
	a, err := New(ctx, file, file.Size())
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, errors.Join(err, file.Close()))
	}
	a.close = sync.OnceValue(file.Close)
	return a, nil
}

// New returns the archive that r holds in its first size bytes, which must not be
// compressed. Its errors are those of Open. r is read for as long as the archive
// is used, concurrently; closing it is up to the caller.
func New(ctx context.Context, r io.ReaderAt, size int64) (*Archive, error) {
	index, err := tarfile.NewIndex(ctx, r, size)
	if err != nil {
		return nil, err
	}
	c, err := catalog.Load(ctx, index)
	if err != nil {
		return nil, err
	}
	a := &Archive{catalog: c, size: size, close: func() error { return nil }}
	for _, img := range c.Images() {
		a.images = append(a.images, &Image{Position: img.Position, Names: img.Names, catalog: c, image: img})
	}
	return a, nil
}

// Close closes the file that Open opened. It may be called more than once.
func (a *Archive) Close() error { return a.close() }

// Size returns how many bytes the archive has when it is not compressed.
func (a *Archive) Size() int64 { return a.size }

// Images returns all images in the order of the archive. The caller must not
// change them.
func (a *Archive) Images() []*Image { return a.images }

// Find returns the image of a name, written as in the archive or in any way that
// docker takes it ("alpine" for "docker.io/library/alpine:latest"); of a position,
// if the name is @N; or, if it is empty, the only image. The error is an
// errdef.NoImageError or an AmbiguousError.
func (a *Archive) Find(name string) (*Image, error) {
	position := -1
	if n, err := strconv.Atoi(strings.TrimPrefix(name, "@")); err == nil && strings.HasPrefix(name, "@") {
		name, position = "", n
	}
	if name != "" {
		if found := a.named(name); len(found) == 1 {
			return found[0], nil
		}
		if normalized, ok := catalog.Normalize(name); ok {
			name = normalized
		}
	}
	img, _, err := a.catalog.Choose(name, position)
	if err != nil {
		return nil, err
	}
	return a.images[img.Position], nil
}

// named returns the images of which name is one of the Names.
func (a *Archive) named(name string) []*Image {
	var found []*Image
	for _, img := range a.images {
		if slices.Contains(img.Names, name) {
			found = append(found, img)
		}
	}
	return found
}

// Verify tests everything that the archive says of itself: every blob against its
// name, its digest and its diff ID, every size in a descriptor, every link and
// every reference. It returns all that is wrong; the error is for what keeps it
// from being tested. progress, if not nil, is called, concurrently, with how many
// more of the Size bytes have been read.
func (a *Archive) Verify(ctx context.Context, progress func(bytes int)) (problems []error, err error) {
	claims, problems, err := a.catalog.Claims(ctx)
	if err != nil {
		return nil, err
	}
	mismatches, err := verify.Claims(ctx, claims, progress)
	if err != nil {
		return nil, fmt.Errorf("verifying the archive: %w", err)
	}
	return append(problems, mismatches...), nil
}
