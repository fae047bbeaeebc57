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
	"github.com/spf13/cobra"

	"github.com/dockerarchive/dockerarchive"
)

// standardOutput is where an archive goes without --output.
const standardOutput = "/dev/stdout"

// saveOptions are the flags of the save command.
type saveOptions struct {
	global       *globalOptions
	source       registryOptions
	authfile     string
	output       string
	layout       string
	name         string
	fromFile     string
	platforms    []string
	allPlatforms bool
	jobs         int
	retryTimes   int
	keepGoing    bool
	dryRun       bool
	quiet        bool
}

func newSaveCommand(g *globalOptions) *cobra.Command {
	o := &saveOptions{global: g}
	cmd := &cobra.Command{
		Use:   "save [flags] IMAGE...",
		Short: "Save images, from anywhere, to one archive",
		Long: `Save images to one archive. IMAGE is a name in a registry, or TRANSPORT:DETAILS as
for skopeo: docker://, docker-daemon:, containers-storage:, oci:, docker-archive:
and others. Each distinct layer is fetched and stored once.

The archive is an OCI image layout and a docker archive at once; layers and
digests are those of the source. Of an image for several platforms, that of this
machine is saved unless --platform or --all-platforms say otherwise: one platform
under its own digest, all platforms as the original index, several as an index
that lists only these.

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
	f.StringVar(&o.layout, "layout", "oci", "`KIND` of archive: oci, or docker for readers that need layers uncompressed")
	f.StringVar(&o.name, "name", "", "`NAME[:TAG]` of the image in the archive, if only one is saved")
	f.StringVar(&o.fromFile, "from-file", "", "`FILE` with more images, one per line, - for standard input")
	f.StringSliceVar(&o.platforms, "platform", nil, "save `OS/ARCH[/VARIANT]` instead of this machine's platform; may be repeated")
	f.BoolVar(&o.allPlatforms, "all-platforms", false, "save all platforms")
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
		plan, err := dockerarchive.PlanSave(cmd.Context(), policy, images, options)
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
	results, err := dockerarchive.Save(cmd.Context(), policy, path, images, options)
	done()
	if err != nil && !errors.Is(err, dockerarchive.ErrImagesLeftOut) {
		return err
	}
	if !o.quiet {
		printSaved(out, results)
	}
	return reportImages(cmd.ErrOrStderr(), err, results)
}

// saveOptions translates the flags for the library.
func (o *saveOptions) saveOptions() (*dockerarchive.SaveOptions, error) {
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
	options := &dockerarchive.SaveOptions{
		SourceCtx: sys, DestinationCtx: sys,
		AllPlatforms: o.allPlatforms,
		Jobs:         o.jobs,
		RetryTimes:   o.retryTimes,
		KeepGoing:    o.keepGoing,
	}
	switch o.layout {
	case "oci":
		options.Transport = dockerarchive.ImageTransport
	case "docker":
		options.Transport = dockerarchive.Transport
	default:
		return nil, usagef("--layout %q is neither oci nor docker", o.layout)
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
func (o *saveOptions) images(ctx context.Context, sys *types.SystemContext, args []string) ([]dockerarchive.SaveImage, error) {
	if len(args) == 0 {
		return nil, usagef("there is no image to save")
	}
	if o.name != "" && len(args) > 1 {
		return nil, usagef("--name is for a single image")
	}
	var images []dockerarchive.SaveImage
	for _, arg := range args {
		ref, err := parseImage(arg)
		if err != nil {
			return nil, usagef("image %q: %w", arg, err)
		}
		if o.name != "" {
			name, err := reference.ParseNormalizedNamed(o.name)
			if err != nil {
				return nil, usagef("--name %q: %w", o.name, err)
			}
			return []dockerarchive.SaveImage{{Source: ref, Name: name}}, nil
		}
		named, err := nameImage(ctx, sys, ref)
		if err != nil {
			return nil, err
		}
		images = append(images, named...)
	}
	return images, nil
}

// parseImage parses TRANSPORT:DETAILS, or a name in a registry.
func parseImage(arg string) (types.ImageReference, error) {
	if transport, _, ok := strings.Cut(arg, ":"); ok && transports.Get(transport) != nil {
		return alltransports.ParseImageName(arg)
	}
	return docker.ParseReference("//" + arg)
}

// nameImage returns an image with the name that its reference says, or, of an
// archive, with those that it has there.
func nameImage(ctx context.Context, sys *types.SystemContext, ref types.ImageReference) ([]dockerarchive.SaveImage, error) {
	if name := ref.DockerReference(); name != nil {
		return []dockerarchive.SaveImage{{Source: ref, Name: name}}, nil
	}
	unnamed := []dockerarchive.SaveImage{{Source: ref}}
	switch ref.Transport().Name() {
	case ocilayout.Transport.Name():
		// Some tools write the full name where others write the tag.
		_, name, _ := strings.Cut(ref.StringWithinTransport(), ":")
		if named, err := reference.ParseNamed(name); err == nil {
			unnamed[0].Name = named
		}
		return unnamed, nil
	case dockerarchive.Transport.Name(), dockerarchive.ImageTransport.Name():
		return nameArchived(ctx, sys, ref)
	}
	return unnamed, nil
}

// nameArchived finds the names of the only image of an archive, or of the one at
// an index.
func nameArchived(ctx context.Context, sys *types.SystemContext, ref types.ImageReference) ([]dockerarchive.SaveImage, error) {
	path, index, indexed := strings.Cut(ref.StringWithinTransport(), ":@")
	r, err := dockerarchive.NewReaderContext(ctx, sys, path)
	if err != nil {
		return nil, err
	}
	defer r.Close() // It is only read.
	described, err := r.Images(ctx)
	if err != nil {
		return nil, err
	}
	var images []dockerarchive.SaveImage
	for _, d := range described {
		if indexed && index != fmt.Sprint(d.Position) || !indexed && len(described) > 1 {
			continue
		}
		for _, named := range d.References {
			if name := named.DockerReference(); name != nil {
				images = append(images, dockerarchive.SaveImage{Source: ref, Name: name})
			}
		}
	}
	if len(images) == 0 {
		images = []dockerarchive.SaveImage{{Source: ref}}
	}
	return images, nil
}

// printSaved prints a line for every image in the archive.
func printSaved(out io.Writer, results []dockerarchive.SaveResult) {
	for _, r := range results {
		if r.Err == nil {
			fmt.Fprintf(out, "%s %s\n", savedName(r), r.Digest)
		}
	}
}

func savedName(r dockerarchive.SaveResult) string {
	if r.Name == nil {
		return transports.ImageName(r.Source)
	}
	return r.Name.String()
}

// reportImages prints why images are left out, if err says that some are.
func reportImages(stderr io.Writer, err error, results []dockerarchive.SaveResult) error {
	if !errors.Is(err, dockerarchive.ErrImagesLeftOut) {
		return err
	}
	for _, r := range results {
		if r.Err != nil {
			printError(stderr, r.Err)
		}
	}
	return errReported
}

func printPlan(out io.Writer, plan *dockerarchive.SavePlan) error {
	printSaved(out, plan.Images)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "\nOFFSET\tSIZE\t  ENTRY")
	for _, e := range plan.Entries {
		fmt.Fprintf(w, "%s\t%s\t  %s\n", known(e.Offset), known(e.Size), e.Name)
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
