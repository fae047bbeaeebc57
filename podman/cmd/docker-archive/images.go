package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"go.podman.io/image/v5/docker"
	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/transports"
	"go.podman.io/image/v5/transports/alltransports"
	"go.podman.io/image/v5/types"

	"github.com/dockerarchive/dockerarchive/internal/printable"
	"github.com/dockerarchive/dockerarchive/podman/copying"
)

// dockerDaemon is the transport in which a name may mean a repository.
const dockerDaemon = "docker-daemon"

// imageList are the images of a command line.
type imageList struct {
	images   []copying.SaveImage
	releases []func() error
	leftOut  bool // something could not be listed, and was reported
	registry *registryOptions
	loopback map[*types.SystemContext]*types.SystemContext // of images in registries on this machine
	places   map[string]string                             // in files, of images by their sources
}

// release closes the sources of the images.
func (l *imageList) release() {
	for _, release := range l.releases {
		_ = release() // It has only been read from.
	}
}

// context is contextOf, and one for all registries on this machine.
func (l *imageList) context(sys *types.SystemContext, ref types.ImageReference) *types.SystemContext {
	own := contextOf(sys, ref)
	if own == sys {
		return sys
	}
	if l.loopback[sys] == nil {
		l.loopback[sys] = own
	}
	return l.loopback[sys]
}

// report returns err or, if there is none, that something is left out.
func (l *imageList) report(err error) error {
	if err == nil && l.leftOut {
		return errReported
	}
	return err
}

// images returns the images of the command line with their names. With --keep-going, images
// that cannot be listed are reported and left out.
func (o *saveOptions) images(cmd *cobra.Command, sys *types.SystemContext, args []argument) (*imageList, error) {
	if len(args) == 0 {
		if o.archive == "" && hasInput(cmd.InOrStdin()) {
			return nil, guessError{usagef("there is no image to save"), "docker-archive save --from-file - -o images.tar reads a list of images"}
		}
		return nil, usagef("there is no image to save")
	}
	names, err := o.parseNames(args)
	if err != nil {
		return nil, err
	}
	renamed, err := parseMap(o.maps, "")
	if err != nil {
		return nil, err
	}
	if err := o.useAll(sys, args); err != nil {
		return nil, err
	}
	list := &imageList{places: map[string]string{}, registry: &o.source, loopback: map[*types.SystemContext]*types.SystemContext{}}
	var wrong faults
	for _, arg := range args {
		if strings.HasPrefix(arg.text, dockerDaemon+":") {
			if err := locateDaemon(sys); err != nil {
				return nil, err // It would fail for all.
			}
		}
		var images []copying.SaveImage
		text, err := wholeID(cmd.Context(), sys, arg.text)
		if err == nil {
			arg.text = text
			images, err = o.list(cmd.Context(), arg.access.context(sys), list, arg, cmd.ErrOrStderr())
		}
		if err == nil && len(names) > 0 {
			images, err = rename(images, names, arg.text)
		}
		if err == nil {
			images, err = arg.apply(o, images)
		}
		if err == nil && arg.name == "" && len(names) == 0 { // A name for one image takes precedence.
			err = renamed.images(images)
		}
		var usage usageError
		switch {
		case err == nil:
			list.add(images, arg.place)
		case cmd.Context().Err() != nil:
			list.release()
			return nil, err
		case !o.keepGoing || errors.As(err, &usage):
			wrong = append(wrong, arg.wrong(o.explain(args, arg.text, err)))
		default:
			printError(cmd.ErrOrStderr(), arg.wrong(err))
			o.unlisted.notSaved(arg.text, err)
			list.leftOut = true
		}
	}
	if len(wrong) > 0 {
		list.release()
		return nil, wrong.err()
	}
	renamed.warn(discardIf(o.quiet, cmd.ErrOrStderr()))
	return list, nil
}

// parseNames parses the names of --name.
func (o *saveOptions) parseNames(args []argument) ([]reference.Named, error) {
	if len(o.names) > 0 && len(args) > 1 {
		return nil, usagef("--name is for a single image")
	}
	var names []reference.Named
	for _, name := range o.names {
		named, err := reference.ParseNormalizedNamed(name)
		if err != nil {
			return nil, usagef("--name %q: %w", name, err)
		}
		names = append(names, named)
	}
	return names, nil
}

// rename gives the only one of images, which may be there once for each of its names,
// the names of --name instead.
func rename(images []copying.SaveImage, names []reference.Named, arg string) ([]copying.SaveImage, error) {
	img := images[0]
	for _, other := range images[1:] {
		if other.Source.StringWithinTransport() != img.Source.StringWithinTransport() {
			return nil, usagef("a name is for a single image: %s means several", arg)
		}
	}
	img.FreeName, img.Name, img.Names, img.Found = "", names[0], names[1:], false
	return []copying.SaveImage{img}, nil
}

// list returns the images that an argument means.
func (o *saveOptions) list(ctx context.Context, sys *types.SystemContext, list *imageList, arg argument, stderr io.Writer) ([]copying.SaveImage, error) {
	again := func(err error) {
		if !o.quiet {
			fmt.Fprintf(stderr, "docker-archive: %s; trying again\n", printable.Error(err))
		}
	}
	if arg.tags != nil {
		return o.tagged(ctx, sys, arg, again)
	}
	transport, repository, err := o.parseRepository(arg.text)
	if err != nil {
		return nil, err
	}
	if repository != nil {
		return o.allOf(ctx, sys, transport, repository, again)
	}
	ref, name, err := parseImage(arg.text)
	if err != nil {
		return nil, usagef("image %q: %w", shortened(arg.text), err)
	}
	if ref, err = o.base.complete(ref); err != nil {
		return nil, err
	}
	if name != nil {
		return []copying.SaveImage{{Source: ref, SourceCtx: list.context(sys, ref), Name: name}}, nil
	}
	images, release, err := copying.AllImages(ctx, sys, ref)
	list.releases = append(list.releases, release)
	return images, err
}

// archivesOf returns the paths of the archives that arguments name, and of the archive that add
// changes.
func (o *saveOptions) archivesOf(args []argument) []string {
	var refs []types.ImageReference
	for _, arg := range args {
		if ref, _, err := parseImage(arg.text); err == nil { // Else opening it reports the error.
			refs = append(refs, ref)
		}
	}
	paths := archivePaths(refs...)
	if o.archive != "" {
		paths = append(paths, o.archive)
	}
	return paths
}

// allOf returns the images of a repository under all of its tags.
func (o *saveOptions) allOf(ctx context.Context, sys *types.SystemContext, transport types.ImageTransport, repository reference.Named, again func(error)) (images []copying.SaveImage, err error) {
	if transport.Name() == docker.Transport.Name() {
		sys = trustingLoopback(sys, repository)
	}
	err = copying.Retry(ctx, o.retryTimes, o.retryDelay, again, func() (err error) {
		images, err = copying.AllTags(ctx, sys, transport, repository)
		return err
	})
	return images, err
}

// parseRepository returns where a repository is and its name, if an argument means all
// of its tags: a name without a tag or a digest in the daemon, and with --all-tags in a
// registry. The name is nil if the argument means something else.
func (o *saveOptions) parseRepository(arg string) (types.ImageTransport, reference.Named, error) {
	var transport types.ImageTransport = docker.Transport
	name := strings.TrimPrefix(arg, docker.Transport.Name()+"://")
	if other, rest, ok := cutTransport(arg); ok {
		transport, name = other, rest
	}
	switch {
	case transport.Name() == dockerDaemon:
	case !o.allTags:
		return nil, nil, nil
	case transport.Name() != docker.Transport.Name():
		return nil, nil, usagef("--all-tags is for repositories, and %q is none", arg)
	}
	named, err := reference.ParseNormalizedNamed(name)
	switch {
	case err == nil && reference.IsNameOnly(named):
		return transport, named, nil
	case !o.allTags:
		return nil, nil, nil // Its meaning is up to the transport.
	case err != nil:
		return nil, nil, usagef("image %q: %w", shortened(arg), err)
	}
	return nil, nil, usagef("--all-tags is for all tags of a repository, and %q has a tag or a digest", arg)
}

// cutTransport takes the transport off an argument, if it has one and that is not a
// registry's.
func cutTransport(arg string) (transport types.ImageTransport, rest string, ok bool) {
	name, rest, ok := strings.Cut(arg, ":")
	if !ok || name == docker.Transport.Name() {
		return nil, "", false
	}
	transport = transports.Get(name)
	return transport, rest, transport != nil
}

// parseImage parses TRANSPORT:DETAILS, or a name in a registry. The name is the image's name in
// the archive, if its reference has one.
func parseImage(arg string) (types.ImageReference, reference.Named, error) {
	if _, _, ok := cutTransport(arg); ok {
		ref, err := alltransports.ParseImageName(arg)
		if err != nil {
			return nil, nil, err
		}
		return ref, ref.DockerReference(), nil
	}
	if scheme, rest, ok := strings.Cut(arg, "://"); ok && (scheme == "http" || scheme == "https") {
		return nil, nil, fmt.Errorf("an image is called by its registry, without %s://; did you mean %s?", scheme, rest)
	}
	arg = strings.TrimPrefix(arg, docker.Transport.Name()+"://")
	named, err := reference.ParseNormalizedNamed(arg)
	if err != nil {
		return nil, nil, err
	}
	digested, isDigested := named.(reference.Digested)
	if _, isTagged := named.(reference.Tagged); !isDigested || !isTagged {
		ref, err := docker.ParseReference("//" + arg)
		return ref, reference.TagNameOnly(named), err
	}
	// Read by the digest, even if the tag has moved, and named by the tag, as docker, podman
	// and Kubernetes do it.
	ref, err := docker.ParseReference(fmt.Sprintf("//%s@%s", named.Name(), digested.Digest()))
	if err != nil {
		return nil, nil, err
	}
	tagged, err := reference.WithTag(reference.TrimNamed(named), named.(reference.Tagged).Tag())
	return ref, tagged, err
}
