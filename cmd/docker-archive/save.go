package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"

	"github.com/containers/image/v5/docker"
	"github.com/containers/image/v5/docker/reference"
	ocilayout "github.com/containers/image/v5/oci/layout"
	"github.com/containers/image/v5/transports"
	"github.com/containers/image/v5/transports/alltransports"
	"github.com/containers/image/v5/types"
	"github.com/docker/go-units"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/spf13/cobra"

	"github.com/dockerarchive/dockerarchive"
	"github.com/dockerarchive/dockerarchive/copying"
	"github.com/dockerarchive/dockerarchive/internal/printable"
)

// standardOutput is where an archive goes without --output.
const standardOutput = "/dev/stdout"

// saveOptions are the flags of the save command.
type saveOptions struct {
	global               *globalOptions
	source               registryOptions
	authfile             string
	output               string
	layout               string
	name                 string
	fromFile             string
	platforms            []string
	allPlatforms         bool
	anyPlatform          bool
	skipMissing          bool
	keepIndex            bool
	skipNonDistributable bool
	jobs                 int
	retryTimes           int
	keepGoing            bool
	dryRun               bool
	quiet                bool
}

func newSaveCommand(g *globalOptions) *cobra.Command {
	o := &saveOptions{global: g}
	cmd := &cobra.Command{
		Use:   "save [flags] IMAGE...",
		Short: "Save images, from anywhere, to one archive",
		Long: `Save images to one archive. IMAGE is a name in a registry, or TRANSPORT:DETAILS as
for skopeo: docker://, docker-daemon:, containers-storage:, oci:, docker-archive:
and others. Each distinct layer is fetched and stored once.

The archive is an OCI image layout and a docker archive at once, or one of them
(--layout); layers and digests are those of the source. Of an image for several platforms, that of this
machine is saved unless --platform or --all-platforms say otherwise: one platform
under its own digest, all platforms as the original index, several as an index
that lists only these, or with --keep-index the original one.

The archive appears when it is complete; what was there is kept if saving fails.
For every image a line with name and digest is printed, on standard error if the
archive goes to standard output.`,
		Example: `  docker-archive save -o images.tar alpine:3.20 quay.io/podman/hello
  docker-archive save alpine | docker load
  docker-archive save --all-platforms --from-file images.txt -o images.tar
  docker-archive save --layout docker --name app:1 -o app.tar oci:layout:app`,
		RunE: func(cmd *cobra.Command, args []string) error { return o.run(cmd, args) },
	}
	f := cmd.Flags()
	o.source.register(f, "", "source")
	f.StringVar(&o.authfile, "authfile", os.Getenv("REGISTRY_AUTH_FILE"), "`FILE` with credentials for registries (default that of docker and podman login)")
	f.StringVarP(&o.output, "output", "o", "-", "`FILE` to write, - for standard output")
	f.StringVar(&o.layout, "layout", "image", "`KIND` of archive: image; oci, which is that without manifest.json; or docker, for readers that need layers uncompressed")
	f.StringVar(&o.name, "name", "", "`NAME[:TAG]` of the image in the archive, if only one is saved")
	f.StringVar(&o.fromFile, "from-file", "", "`FILE` with more images, one per line, - for standard input")
	f.StringSliceVar(&o.platforms, "platform", nil, "save `OS/ARCH[/VARIANT]` instead of this machine's platform; may be repeated")
	f.BoolVar(&o.allPlatforms, "all-platforms", false, "save all platforms")
	f.BoolVar(&o.anyPlatform, "any-platform", false, "save an image that is for one platform only even if that is not asked for")
	f.BoolVar(&o.skipMissing, "skip-missing", false, "save of an index what there is; the index is kept as it is")
	f.BoolVar(&o.keepIndex, "keep-index", false, "of platforms that are chosen, keep the index with its digest although it lists more")
	f.BoolVar(&o.skipNonDistributable, "skip-non-distributable", false, "leave out layers that are not to be distributed")
	f.IntVar(&o.jobs, "jobs", 6, "read up to `N` layers at the same time")
	f.IntVar(&o.retryTimes, "retry-times", 3, "resume reading a layer up to `N` times after failures that may pass")
	f.BoolVar(&o.keepGoing, "keep-going", false, "leave out images that cannot be saved; the exit status is 1 then")
	f.BoolVar(&o.dryRun, "dry-run", false, "print what the archive would hold, and write nothing")
	f.BoolVarP(&o.quiet, "quiet", "q", false, "print errors only")
	return cmd
}

func (o *saveOptions) run(cmd *cobra.Command, args []string) error {
	options, err := o.saveOptions()
	if err != nil {
		return err
	}
	listed, err := o.listed(cmd.InOrStdin())
	if err != nil {
		return err
	}
	images, err := o.images(cmd.Context(), options.SourceCtx, append(args, listed...))
	if err != nil {
		return err
	}
	policy, err := o.global.policy(options.SourceCtx)
	if err != nil {
		return err
	}
	defer policy.Destroy() // Holds nothing that could be lost.
	if o.dryRun {
		plan, err := copying.PlanSave(cmd.Context(), policy, images, options)
		if plan == nil {
			return err
		}
		if err := printPlan(cmd.OutOrStdout(), plan); err != nil {
			return err
		}
		return reportImages(cmd.ErrOrStderr(), err, plan.Images)
	}
	path, out := o.output, cmd.OutOrStdout()
	if path == "-" || path == standardOutput {
		path, out = standardOutput, cmd.ErrOrStderr()
	}
	done := func() {}
	if !o.quiet {
		options.Progress, done = newProgress(cmd.ErrOrStderr())
	}
	results, err := copying.Save(cmd.Context(), policy, path, images, options)
	done()
	if err != nil && !errors.Is(err, copying.ErrImagesLeftOut) {
		return err
	}
	if !o.quiet {
		printSaved(out, results)
	}
	return reportImages(cmd.ErrOrStderr(), err, results)
}

// saveOptions translates the flags for the library.
func (o *saveOptions) saveOptions() (*copying.SaveOptions, error) {
	if o.jobs < 1 {
		return nil, usagef("--jobs must be at least 1")
	}
	base, err := o.global.systemContext()
	if err != nil {
		return nil, err
	}
	sys, err := o.source.apply(*base, o.authfile)
	if err != nil {
		return nil, err
	}
	options := &copying.SaveOptions{
		SourceCtx: sys, DestinationCtx: sys,
		AllPlatforms:         o.allPlatforms,
		AnyPlatform:          o.anyPlatform,
		SkipMissing:          o.skipMissing,
		KeepIndex:            o.keepIndex,
		SkipNonDistributable: o.skipNonDistributable,
		Jobs:                 o.jobs,
		RetryTimes:           o.retryTimes,
		KeepGoing:            o.keepGoing,
	}
	switch o.layout {
	case "image", "oci":
		options.Transport = dockerarchive.ImageTransport
		options.SkipDockerManifest = o.layout == "oci"
	case "docker":
		options.Transport = dockerarchive.Transport
	default:
		return nil, usagef("--layout %q is neither image, oci nor docker", o.layout)
	}
	for _, s := range o.platforms {
		p, err := parsePlatform(s)
		if err != nil {
			return nil, err
		}
		options.Platforms = append(options.Platforms, p)
	}
	if o.allPlatforms && len(o.platforms) > 0 {
		return nil, usagef("--platform and --all-platforms contradict each other")
	}
	if o.layout == "docker" && (o.allPlatforms || len(o.platforms) > 1) {
		return nil, usagef("--layout docker holds one platform only")
	}
	if o.layout == "docker" && (o.keepIndex || o.skipNonDistributable) {
		return nil, usagef("--layout docker has no index, and holds all layers of an image: --keep-index and --skip-non-distributable are for the others")
	}
	if o.keepIndex && o.allPlatforms {
		return nil, usagef("--all-platforms keeps the index anyway")
	}
	return options, nil
}

// listed returns the images in the file of --from-file.
func (o *saveOptions) listed(stdin io.Reader) ([]string, error) {
	if o.fromFile == "" {
		return nil, nil
	}
	in := stdin
	if o.fromFile != "-" {
		f, err := os.Open(o.fromFile)
		if err != nil {
			return nil, fmt.Errorf("reading the list of images: %w", err)
		}
		defer f.Close() // It is only read.
		in = f
	}
	var images []string
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		line, _, _ := strings.Cut(lines.Text(), "#")
		if line = strings.TrimSpace(line); line != "" {
			images = append(images, line)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("reading the list of images from %s: %w", o.fromFile, err)
	}
	return images, nil
}

// images returns the images of the command line with their names.
func (o *saveOptions) images(ctx context.Context, sys *types.SystemContext, args []string) ([]copying.SaveImage, error) {
	if len(args) == 0 {
		return nil, usagef("there is no image to save")
	}
	if o.name != "" && len(args) > 1 {
		return nil, usagef("--name is for a single image")
	}
	var images []copying.SaveImage
	for _, arg := range args {
		ref, name, err := parseImage(arg)
		if err != nil {
			return nil, usagef("image %q: %w", arg, err)
		}
		if o.name != "" {
			if name, err = reference.ParseNormalizedNamed(o.name); err != nil {
				return nil, usagef("--name %q: %w", o.name, err)
			}
		}
		if name != nil {
			images = append(images, copying.SaveImage{Source: ref, Name: name})
			continue
		}
		named, err := nameImages(ctx, sys, ref)
		if err != nil {
			return nil, err
		}
		images = append(images, named...)
	}
	return images, nil
}

// parseImage parses TRANSPORT:DETAILS, or a name in a registry. The name is what the
// image is called in the archive, if its reference says so.
func parseImage(arg string) (types.ImageReference, reference.Named, error) {
	if transport, _, ok := strings.Cut(arg, ":"); ok && transports.Get(transport) != nil && transport != docker.Transport.Name() {
		ref, err := alltransports.ParseImageName(arg)
		if err != nil {
			return nil, nil, err
		}
		return ref, ref.DockerReference(), nil
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
	// By the digest, whatever the tag means by now, and called by the tag, as docker,
	// podman and Kubernetes have it.
	ref, err := docker.ParseReference(fmt.Sprintf("//%s@%s", named.Name(), digested.Digest()))
	if err != nil {
		return nil, nil, err
	}
	tagged, err := reference.WithTag(reference.TrimNamed(named), named.(reference.Tagged).Tag())
	return ref, tagged, err
}

// nameImages returns the images that a reference without a name leads to: all of an
// archive or an OCI layout, each with the names that it has there.
func nameImages(ctx context.Context, sys *types.SystemContext, ref types.ImageReference) ([]copying.SaveImage, error) {
	switch ref.Transport().Name() {
	case ocilayout.Transport.Name():
		return nameLayout(ref)
	case dockerarchive.Transport.Name(), dockerarchive.ImageTransport.Name():
		return nameArchived(ctx, sys, ref)
	}
	return []copying.SaveImage{{Source: ref}}, nil
}

// nameLayout names the image of an OCI layout that ref chooses, or all.
func nameLayout(ref types.ImageReference) ([]copying.SaveImage, error) {
	dir, name, chosen := strings.Cut(ref.StringWithinTransport(), ":")
	if chosen && name != "" && !strings.HasPrefix(name, "@") {
		return []copying.SaveImage{called(ref, name)}, nil
	}
	listed, err := ocilayout.List(dir)
	if err != nil || len(listed) < 2 || strings.HasPrefix(name, "@") {
		return []copying.SaveImage{{Source: ref}}, nil // What is wrong is said when it is read.
	}
	var images []copying.SaveImage
	for _, l := range listed {
		images = append(images, called(l.Reference, l.ManifestDescriptor.Annotations[imgspecv1.AnnotationRefName]))
	}
	return images, nil
}

// called returns an image under a name that may be a full one, where some tools
// write that, or anything.
func called(ref types.ImageReference, name string) copying.SaveImage {
	img := copying.SaveImage{Source: ref}
	if named, err := reference.ParseNamed(name); err == nil && !reference.IsNameOnly(named) {
		img.Name = named
	} else {
		img.FreeName = name
	}
	return img
}

// nameArchived names the image of an archive that ref chooses, or all.
func nameArchived(ctx context.Context, sys *types.SystemContext, ref types.ImageReference) ([]copying.SaveImage, error) {
	r, _, err := dockerarchive.NewReaderForReferenceContext(ctx, sys, ref)
	if err != nil {
		return nil, err
	}
	defer r.Close() // It is only read.
	list, err := r.List()
	if err != nil {
		return nil, err
	}
	chosen := within(ref, r)
	var images []copying.SaveImage
	for position, refs := range list {
		source, err := dockerarchive.NewIndexReference(r.Path(), position)
		if err != nil {
			return nil, err
		}
		for _, named := range refs {
			name := within(named, r)
			if chosen != "" && chosen != name && chosen != fmt.Sprintf("@%d", position) {
				continue
			}
			img := copying.SaveImage{Source: source, Name: named.DockerReference()}
			if img.Name == nil && !strings.HasPrefix(name, "@") {
				img.FreeName = name
			}
			images = append(images, img)
		}
	}
	if len(images) == 0 { // Whoever reads it says which images there are.
		images = []copying.SaveImage{{Source: ref}}
	}
	return images, nil
}

// within returns what a reference says of an image in the archive.
func within(ref types.ImageReference, r *dockerarchive.Reader) string {
	return strings.TrimPrefix(strings.TrimPrefix(ref.StringWithinTransport(), r.Path()), ":")
}

// printSaved prints a line for every image in the archive.
func printSaved(out io.Writer, results []copying.SaveResult) {
	for _, r := range results {
		if r.Err == nil {
			fmt.Fprintln(out, printable.String(savedName(r)), r.Digest)
		}
	}
}

func savedName(r copying.SaveResult) string {
	switch {
	case r.Name != nil:
		return r.Name.String()
	case r.FreeName != "":
		return r.FreeName
	}
	return transports.ImageName(r.Source)
}

// reportImages prints what should be known of images and, if err says that some are
// left out, why.
func reportImages(stderr io.Writer, err error, results []copying.SaveResult) error {
	for _, r := range results {
		for _, w := range r.Warnings {
			fmt.Fprintf(stderr, "docker-archive: warning: %s: %s\n", printable.String(savedName(r)), printable.String(w))
		}
	}
	if !errors.Is(err, copying.ErrImagesLeftOut) {
		return err
	}
	for _, r := range results {
		if r.Err != nil {
			printError(stderr, r.Err)
		}
	}
	return errReported
}

func printPlan(out io.Writer, plan *copying.SavePlan) error {
	printSaved(out, plan.Images)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "\nOFFSET\tSIZE\t  ENTRY")
	for _, e := range plan.Entries {
		fmt.Fprintf(w, "%s\t%s\t  %s\n", known(e.Offset), known(e.Size), printable.String(e.Name))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	size := "unknown until the layers are decompressed"
	if plan.Size >= 0 {
		size = fmt.Sprintf("%d bytes (%s)", plan.Size, units.HumanSize(float64(plan.Size)))
	}
	_, err := fmt.Fprintf(out, "\nsize of the archive: %s\nto be fetched: %s bytes\n", size, known(plan.Fetch))
	return err
}

func known(n int64) string {
	if n < 0 {
		return "?"
	}
	return fmt.Sprint(n)
}
