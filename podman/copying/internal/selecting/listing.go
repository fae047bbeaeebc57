package selecting

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/image/v5/docker"
	"go.podman.io/image/v5/docker/reference"
	ociarchive "go.podman.io/image/v5/oci/archive"
	ocilayout "go.podman.io/image/v5/oci/layout"
	"go.podman.io/image/v5/transports"
	"go.podman.io/image/v5/types"

	"github.com/dockerarchive/dockerarchive/internal/image"
	"github.com/dockerarchive/dockerarchive/internal/naming"
	dockerarchive "github.com/dockerarchive/dockerarchive/podman"
	"github.com/dockerarchive/dockerarchive/podman/internal/sources"
)

// containerdName is the annotation that containerd and Docker keep the full name of an
// image in.
const containerdName = "io.containerd.image.name"

// All returns the images that a reference means, for Save. A reference to an archive of
// any tool, or to an OCI image layout, that does not choose an image means all: each in
// its turn, once for every name that it has, and Whole. Any other reference means one
// image, under its name there or, in other transports, under that of the reference.
//
// An archive, which may come from a pipe, is opened once, and its images can be read
// until release is called. release is never nil.
func All(ctx context.Context, sys *types.SystemContext, ref types.ImageReference) (images []Wanted, release func() error, err error) {
	release = func() error { return nil }
	if name := ref.DockerReference(); name != nil {
		if free := freeName(name); free != "" && dockerarchive.IsArchive(ref) && isRegular(ref) {
			if images, release, err = freeImages(ctx, sys, ref, free); len(images) > 0 {
				return images, release, err
			}
			_ = release() // It has only been read from.
		}
		return []Wanted{{Source: ref, Name: name}}, func() error { return nil }, nil
	}
	switch ref.Transport().Name() {
	case dockerarchive.Transport.Name(), dockerarchive.ImageTransport.Name():
		return archiveImages(ctx, sys, ref)
	case ociarchive.Transport.Name():
		return ociArchiveImages(ctx, sys, ref)
	case ocilayout.Transport.Name():
		if dir := cosignLayout(sys, ref); dir != "" {
			return imagesOf(ctx, sys, dir, ref)
		}
		return layoutImages(ref), release, nil
	}
	return []Wanted{{Source: ref}}, release, nil
}

// archiveImages returns the image of an archive that ref chooses, or all.
func archiveImages(ctx context.Context, sys *types.SystemContext, ref types.ImageReference) ([]Wanted, func() error, error) {
	nothing := func() error { return nil }
	r, _, err := dockerarchive.NewReaderForReferenceContext(ctx, sys, ref)
	if err != nil {
		return nil, nothing, err
	}
	images, err := ImagesIn(r, within(ref, r))
	if err != nil {
		_ = r.Close() // It has only been read from.
		return nil, nothing, err
	}
	if len(images) == 0 { // The error of reading it says which images there are.
		return []Wanted{{Source: ref}}, r.Close, nil
	}
	return images, r.Close, nil
}

// freeName returns the single word that a name was given by, "" if it was more. In an
// archive that may be a tag, or any word that is the whole name of an image.
func freeName(name reference.Named) string {
	word, isLatest := strings.CutSuffix(reference.FamiliarString(name), ":latest")
	if !isLatest || !naming.IsFree(word) {
		return ""
	}
	return word
}

// isRegular reports whether an archive can be opened twice.
func isRegular(ref types.ImageReference) bool {
	path, _, _ := naming.Split(ref.StringWithinTransport())
	if _, remote := naming.Scheme(path); remote {
		return true
	}
	info, err := os.Stat(path)
	return err == nil && (info.Mode().IsRegular() || info.IsDir())
}

// freeImages returns the image of an archive whose whole name is one word, none if
// there is no such.
func freeImages(ctx context.Context, sys *types.SystemContext, ref types.ImageReference, free string) ([]Wanted, func() error, error) {
	r, _, err := dockerarchive.NewReaderForReferenceContext(ctx, sys, ref)
	if err != nil {
		return nil, func() error { return nil }, err
	}
	images, err := ImagesIn(r, free)
	if err != nil || len(images) != 1 || images[0].FreeName != free {
		images = nil
	}
	return images, r.Close, err
}

// ImagesIn returns the images of an archive, or those that are chosen by a name or as
// @POSITION.
func ImagesIn(r *dockerarchive.Reader, chosen string) ([]Wanted, error) {
	list, err := r.List()
	if err != nil {
		return nil, err
	}
	var images []Wanted
	for position, refs := range list {
		// By its position, for others may have the name too.
		source, err := r.IndexReference(position)
		if err != nil {
			return nil, err
		}
		others, about := r.OtherNames(position), r.IsReferrer(position)
		for _, named := range refs {
			name := within(named, r)
			if strings.HasPrefix(name, "@") && len(others) > 0 { // It has names, only no such.
				continue
			}
			if chosen != "" && chosen != name && chosen != fmt.Sprintf("@%d", position) {
				continue
			}
			img := Wanted{Source: source, Name: named.DockerReference(), Whole: chosen == "", Found: true, Referrer: about}
			if img.Name == nil && !strings.HasPrefix(name, "@") {
				img.FreeName = name
			}
			images = append(images, img)
		}
		for _, name := range others {
			if chosen == "" || chosen == fmt.Sprintf("@%d", position) {
				images = append(images, Wanted{Source: source, FreeName: name, Whole: chosen == "", Referrer: about})
			}
		}
	}
	return images, nil
}

// within returns the part of a reference that chooses an image in the archive.
func within(ref types.ImageReference, r *dockerarchive.Reader) string {
	return strings.TrimPrefix(strings.TrimPrefix(ref.StringWithinTransport(), r.Path()), ":")
}

// ociArchiveImages returns the image that a reference of containers/image's transport
// for OCI archives chooses, or all. Its own transport can neither tell two images of
// one name apart nor, in some versions, read one without unpacking the archive.
func ociArchiveImages(ctx context.Context, sys *types.SystemContext, ref types.ImageReference) ([]Wanted, func() error, error) {
	nothing := func() error { return nil }
	path, name, _ := naming.Split(ref.StringWithinTransport())
	if name != "" {
		return []Wanted{called(ref, name)}, nothing, nil
	}
	return imagesOf(ctx, sys, path, ref)
}

// imagesOf returns the images of an archive, or of a layout in a directory, to which the
// signature policy for ref applies.
func imagesOf(ctx context.Context, sys *types.SystemContext, path string, ref types.ImageReference) ([]Wanted, func() error, error) {
	archive, err := dockerarchive.ImageTransport.ParseReference(path)
	if err != nil {
		return nil, func() error { return nil }, err
	}
	images, release, err := archiveImages(ctx, sys, archive)
	for i := range images {
		images[i].Source = sources.UnderPolicy(images[i].Source, ref)
	}
	return images, release, err
}

// cosignLayout returns the directory of ref if ref means all its images and cosign has saved
// an image there, else "": its referrers are listed under no name, or not at all, and the
// transport of containers/image would not find them.
func cosignLayout(sys *types.SystemContext, ref types.ImageReference) string {
	dir, chosen, _ := naming.Split(ref.StringWithinTransport())
	listed, err := ocilayout.List(dir)
	if err != nil || chosen != "" || sys != nil && sys.OCISharedBlobDirPath != "" {
		return ""
	}
	var descriptors []imgspecv1.Descriptor
	for _, l := range listed {
		descriptors = append(descriptors, l.ManifestDescriptor)
	}
	if image.SavedByCosign(descriptors) == "" {
		return ""
	}
	return dir
}

// layoutImages returns the image of an OCI image layout that ref chooses, or all.
// Faults of the layout are reported when it is read.
func layoutImages(ref types.ImageReference) []Wanted {
	dir, chosen, _ := naming.Split(ref.StringWithinTransport())
	listed, err := ocilayout.List(dir)
	switch {
	case strings.HasPrefix(chosen, "@"):
		return []Wanted{{Source: ref}}
	case chosen != "":
		listed = slices.DeleteFunc(listed, func(l ocilayout.ListResult) bool { return refName(l) != chosen })
		if err != nil || len(listed) != 1 {
			return []Wanted{called(ref, chosen)}
		}
		return []Wanted{listedAs(ref, listed[0])}
	case err != nil || len(listed) == 0:
		return []Wanted{{Source: ref}}
	}
	called := map[string]int{}
	for _, l := range listed {
		called[refName(l)]++
	}
	var images []Wanted
	for position, l := range listed {
		source := l.Reference
		if called[refName(l)] > 1 {
			if byPosition, err := ocilayout.NewIndexReference(dir, position); err == nil {
				source = byPosition
			}
		}
		img := listedAs(source, l)
		img.Whole = true
		images = append(images, img)
	}
	return images
}

func refName(l ocilayout.ListResult) string {
	return l.ManifestDescriptor.Annotations[imgspecv1.AnnotationRefName]
}

// listedAs returns an image under the name that an OCI image layout has for it: the full
// one, if there is one.
func listedAs(ref types.ImageReference, l ocilayout.ListResult) Wanted {
	full := l.ManifestDescriptor.Annotations[containerdName]
	if named, err := reference.ParseNormalizedNamed(full); err == nil {
		return Wanted{Source: ref, Name: named}
	}
	if full != "" { // As containerd keeps it.
		return Wanted{Source: ref, FreeName: full}
	}
	return called(ref, refName(l))
}

// called returns an image under a name that may be a full one, where some tools
// write that, or anything.
func called(ref types.ImageReference, name string) Wanted {
	img := Wanted{Source: ref}
	if named, err := reference.ParseNamed(name); err == nil && !reference.IsNameOnly(named) {
		img.Name = named
	} else if !strings.HasPrefix(name, "@") { // A position is no name.
		img.FreeName = name
	}
	return img
}

// Named returns the images that names mean. One without a transport is in a registry.
func Named(ctx context.Context, sys *types.SystemContext, names []string) (images []Wanted, release func() error, err error) {
	var releases []func() error
	release = func() error {
		var errs []error
		for _, r := range releases {
			errs = append(errs, r())
		}
		return errors.Join(errs...)
	}
	for _, name := range names {
		ref, err := parse(name)
		if err != nil {
			return nil, func() error { return nil }, errors.Join(err, release())
		}
		found, r, err := All(ctx, sys, ref)
		if err != nil {
			return nil, func() error { return nil }, errors.Join(err, release())
		}
		images, releases = append(images, found...), append(releases, r)
	}
	return images, release, nil
}

// parse returns the reference that a name stands for.
func parse(name string) (types.ImageReference, error) {
	if transport, rest, ok := strings.Cut(name, ":"); ok {
		if t := transports.Get(transport); t != nil {
			return t.ParseReference(rest)
		}
	}
	named, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return nil, fmt.Errorf("image %q: %w", name, err)
	}
	return docker.NewReference(reference.TagNameOnly(named))
}
