// Package archive reads image archives: the tar files that docker save, podman
// save, skopeo, crane, BuildKit, containerd and others write, and tar files of
// OCI image layouts. It needs no daemon, no registry and no library for either,
// and copies nothing out of the archive to read it.
//
// An [Archive] holds an [Image] for each item of its table of contents. An image's name
// stands for a [Manifest] or, if the image is for several platforms, an index of
// manifests. A manifest lists its config and its [Layer]s. All of them are read as a
// [Blob] by their digests. A program that wants the files of an image asks for the
// manifest of a platform and opens its layers; one that passes images on takes manifests
// and blobs as they are.
//
//	a, err := archive.Open(ctx, "images.tar")
//	img, err := a.Find("alpine:3.20")
//	m, err := img.ForPlatform(ctx, v1.Platform{OS: "linux", Architecture: "arm64"})
//	layers, err := m.Layers(ctx)
//	files, err := layers[0].Open(ctx) // a tar stream, uncompressed and verified
//
// # Trust
//
// An archive is taken to be hostile: no name in it is ever used as a path, the memory it
// can claim is bounded, and content is verified against its digest as it is read, except
// for a [Blob.Section]. Errors are classified by package
// [github.com/dockerarchive/dockerarchive/errdef]. An archive may have been saved without
// some of its platforms or layers: reading those fails with [io/fs.ErrNotExist], and
// everything else goes on.
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

	"github.com/opencontainers/go-digest"

	"github.com/dockerarchive/dockerarchive/errdef"
	"github.com/dockerarchive/dockerarchive/internal/catalog"
	"github.com/dockerarchive/dockerarchive/internal/input"
	"github.com/dockerarchive/dockerarchive/internal/naming"
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

	checkParts func(ctx context.Context) ([]error, error)
}

// Opener opens archives. The zero value will do; it may be used concurrently.
type Opener struct {
	// TempDir is the directory for temporary files, which have no names; "" is the
	// system's for large ones.
	TempDir string
	// Bases, if not nil, have layers that an archive is without, which is then as complete
	// as with them. They must not be closed before the archives.
	Bases *Bases
	// Access is how an archive elsewhere is reached.
	Access Access
}

// Access is how to ask a server for an archive. The zero value asks without credentials,
// and trusts the system's certificates.
type Access = input.Access

// Open opens the archive at path; "-" and /dev/stdin are the standard input. For an
// archive in parts, path is any part, or the directory that holds them and no others. If
// it is compressed or comes from a pipe, it is first copied, uncompressed, to a temporary
// file without a name. A directory with an OCI layout is read where it is. The path may
// be an address of a scheme whose package the program imports, such as store/https. The
// caller must close the Archive. The error wraps errdef.ErrNoImageArchive, ErrDamaged or
// ErrLimit where the file is to blame.
func (o Opener) Open(ctx context.Context, path string) (*Archive, error) {
	path = naming.HideQuery(path)
	file, err := input.Open(ctx, path, o.options())
	if err != nil {
		return nil, err
	}
	a, err := o.open(ctx, file)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	return a, nil
}

// Read reads an archive from r to its end, compressed or not, into a temporary file
// without a name. The caller must close the Archive. Its errors are those of Open.
func (o Opener) Read(ctx context.Context, r io.Reader) (*Archive, error) {
	file, err := input.FromReader(ctx, r, o.options())
	if err != nil {
		return nil, err
	}
	return o.open(ctx, file)
}

// New returns the archive that r holds in its first size bytes. If it is not
// compressed, nothing is copied: r is read for as long as the archive is used,
// concurrently. The caller must close the Archive, which does not close r. Its
// errors are those of Open.
func (o Opener) New(ctx context.Context, r io.ReaderAt, size int64) (*Archive, error) {
	file, err := input.FromReaderAt(ctx, r, size, o.options())
	if err != nil {
		return nil, err
	}
	return o.open(ctx, file)
}

// Open is that of the zero Opener.
func Open(ctx context.Context, path string) (*Archive, error) { return Opener{}.Open(ctx, path) }

// Read is that of the zero Opener.
func Read(ctx context.Context, r io.Reader) (*Archive, error) { return Opener{}.Read(ctx, r) }

// New is that of the zero Opener.
func New(ctx context.Context, r io.ReaderAt, size int64) (*Archive, error) {
	return Opener{}.New(ctx, r, size)
}

func (o Opener) options() input.Options {
	return input.Options{TempDir: o.TempDir, Access: o.Access, Looks: tarfile.CheckStart}
}

// open closes the file if it fails.
func (o Opener) open(ctx context.Context, file *input.File) (*Archive, error) {
	// The kernel can send sections of the underlying file.
	r, offset, _ := file.Outer()
	if offset != 0 {
		r = file
	}
	index, err := tarfile.NewIndex(ctx, r, file.Size())
	var c *catalog.Catalog
	if err == nil {
		c, err = catalog.Load(ctx, index)
	}
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	if o.Bases != nil {
		if err := o.Bases.Complete(ctx, c); err != nil {
			return nil, errors.Join(err, file.Close())
		}
	}
	a := &Archive{catalog: c, size: file.Size(), close: sync.OnceValue(file.Close), checkParts: file.CheckParts}
	for _, img := range c.Images() {
		a.images = append(a.images, &Image{Position: img.Position, Names: img.Names, catalog: c, image: img})
	}
	return a, nil
}

// Close frees what Open, Read or New needed. It may be called more than once.
func (a *Archive) Close() error { return a.close() }

// Size returns how many bytes the archive has when it is not compressed.
func (a *Archive) Size() int64 { return a.size }

// Images returns the images in the order of the archive. Signatures and other referrers
// are not among them: Referrers returns those.
func (a *Archive) Images() []*Image {
	var images []*Image
	for n, img := range a.catalog.Images() {
		if len(img.Subjects()) == 0 {
			images = append(images, a.images[n])
		}
	}
	return images
}

// All returns all images and referrers in the order of the archive, each at its Position.
// The caller must not change them.
func (a *Archive) All() []*Image { return a.images }

// Find returns an image by its name, written as in the archive or in any way that docker
// takes it ("alpine" for "docker.io/library/alpine:latest"); by its position, if the name
// is @N; or, if name is empty, the only one that is no referrer. The error is an
// errdef.NoImageError or an AmbiguousError.
func (a *Archive) Find(name string) (*Image, error) {
	position := -1
	if n, err := strconv.Atoi(strings.TrimPrefix(name, "@")); err == nil && strings.HasPrefix(name, "@") {
		name, position = "", n
	}
	img, _, err := a.catalog.Choose(name, position, nil)
	if err != nil {
		return nil, err
	}
	return a.images[img.Position], nil
}

// Referrers returns what the archive has about a manifest or an index, such as
// signatures and SBOMs: images whose manifests have it as their subject, and those
// that have the name of a digest tag for it; in the order of the archive.
func (a *Archive) Referrers(d digest.Digest) []*Image {
	var found []*Image
	for _, img := range a.catalog.Referrers(d) {
		found = append(found, a.images[img.Position])
	}
	return found
}

// Report is what Verify finds.
type Report struct {
	// Problems are all that is wrong, each with the image or the entry it concerns.
	Problems []error
	// Notes are observations that are not errors: parts of images that were never there,
	// and content that no image refers to.
	Notes []string
	// LeftOut are layers that images need and the archive leaves out on purpose, and
	// where they are. Everything else is there.
	LeftOut []errdef.LeftOut
}

// Held is which layers of its images an archive has in full: by the digests, and the
// sizes in bytes, in manifests and, for layers that no manifest describes, by diff ID.
type Held = catalog.Held

// Held returns which layers of its images the archive has, as far as names and sizes
// tell: Verify reads them. It fails for an image that cannot be read.
func (a *Archive) Held(ctx context.Context) (*Held, error) { return a.catalog.Held(ctx) }

// Verify tests everything that the archive says of itself: every blob against its
// name, its digest and its diff ID, every size and media type in a descriptor,
// every link, every name and every reference. The error says why it could not be tested.
// progress, if not nil, is called, concurrently, with how many more of the Size bytes
// have been read.
func (a *Archive) Verify(ctx context.Context, progress func(bytes int)) (*Report, error) {
	findings, err := a.catalog.Claims(ctx)
	if err != nil {
		return nil, err
	}
	parts, err := a.checkParts(ctx)
	var mismatches []error
	if err == nil {
		mismatches, err = verify.Claims(ctx, findings.Claims, progress)
	}
	if err != nil {
		return nil, fmt.Errorf("verifying the archive: %w", err)
	}
	mismatches = append(mismatches, verify.Deltas(findings.Deltas)...)
	return &Report{Problems: slices.Concat(parts, findings.Problems, mismatches), Notes: findings.Notes, LeftOut: findings.LeftOut}, nil
}
