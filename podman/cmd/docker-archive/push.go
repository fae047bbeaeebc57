package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/docker/go-units"
	"github.com/spf13/cobra"
	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/transports"
	"go.podman.io/image/v5/types"

	"github.com/dockerarchive/dockerarchive/internal/naming"
	"github.com/dockerarchive/dockerarchive/internal/printable"
	dockerarchive "github.com/dockerarchive/dockerarchive/podman"
	"github.com/dockerarchive/dockerarchive/podman/copying"
	"github.com/dockerarchive/dockerarchive/podman/internal/registries"
)

// pushOptions are the flags of the push command.
type pushOptions struct {
	global    *globalOptions
	registry  registryOptions
	base      baseOptions
	platforms []string
	maps      []string
	keepHost  bool
	compress  string
	jobs      int
	chunkSize string
	retryOptions
	keepGoing   bool
	dryRun      bool
	asJSON      bool
	told        bool // --json has been printed
	quiet       bool
	printMirror string
	only        reference.NamedTagged // of the only image, nil if images keep their names
}

func newPushCommand(g *globalOptions) *cobra.Command {
	o := &pushOptions{global: g}
	cmd := &cobra.Command{
		Use:   "push [flags] ARCHIVE[:NAME|:@N]... REGISTRY[/PREFIX|/NAME:TAG]",
		Short: "Push the images in archives to a registry",
		Long: `Push all images of archives, or those chosen by name or position, to a
registry: registry.example.com/team/app:1 becomes REGISTRY/PREFIX/team/app:1.
The only image of an archive can get a new name, HOST/NAME:TAG.

Digests are kept wherever the archive has the manifests. Indexes, attestations,
signatures and SBOMs go along. An image without a name is named after the file.

Blobs that the registry has are not sent. Repeat an interrupted push to
continue it.`,
		Example: `  docker-archive push images.tar registry.internal:5000
  docker-archive push app.tar registry.internal:5000/team/app:2
  docker-archive push app.tar:example.com/app:1 registry.internal --keep-host
  docker-archive push images.tar registry.internal --map example.com/team=apps
  docker-archive push images.tar registry.internal --print-mirror containerd`,
		Args:              atLeast(2, "archives and a registry"),
		ValidArgsFunction: completeImages,
		RunE: func(cmd *cobra.Command, args []string) error {
			registry := args[len(args)-1]
			err := o.run(cmd, args[:len(args)-1], registry)
			if err != nil && o.asJSON && !o.told {
				err = errors.Join(err, printJSON(cmd.OutOrStdout(), pushedJSON{Registry: registry, Images: []pushedImageJSON{}, Error: unprefixed(err.Error())}))
			}
			return err
		},
	}
	f := cmd.Flags()
	o.registry.stdin = cmd.InOrStdin
	o.registry.register(f, "", "destination")
	g.registerAuthfile(f)
	f.StringSliceVar(&o.platforms, "platform", nil, "push only `OS/ARCH[/VARIANT]` of an index; repeatable")
	f.StringArrayVar(&o.maps, "map", nil, "replace a prefix of names below REGISTRY by `FROM=TO`; repeatable")
	f.BoolVar(&o.keepHost, "keep-host", false, "keep the host of a name as a part of the path")
	f.StringVar(&o.compress, "dest-compress-format", "gzip", "compress uncompressed layers with `FORMAT`: gzip or zstd")
	o.base.register(f)
	f.IntVar(&o.jobs, "jobs", 6, "send up to `N` layers at the same time")
	f.StringVar(&o.chunkSize, "chunk-size", "", "send layers in requests of `SIZE`, such as 50M, for a proxy's limit")
	o.retryOptions.register(f, "try up to `N` more times after failures that may pass")
	f.BoolVar(&o.keepGoing, "keep-going", false, "go on after an image fails; the exit status is 1 then")
	f.BoolVar(&o.dryRun, "dry-run", false, "print what would be pushed and how much is missing")
	f.BoolVar(&o.asJSON, "json", false, "print what became of the images as JSON")
	f.BoolVarP(&o.quiet, "quiet", "q", false, "print errors only")
	f.StringVar(&o.printMirror, "print-mirror", "", "only print mirror settings for `CLIENT`: containerd, crio, docker, …")
	return cmd
}

func (o *pushOptions) run(cmd *cobra.Command, archives []string, registry string) error {
	if isArchive(registry) && len(archives) == 1 && !isArchive(archives[0]) {
		return guessError{usagef("push takes archives first, then a registry"), fmt.Sprintf("docker-archive push %s %s", shortened(registry), shortened(archives[0]))}
	}
	registry = strings.TrimSuffix(strings.TrimPrefix(registry, "docker://"), "/")
	registry, o.only = wholeTarget(registry)
	named, err := registries.ParseNamed(registry + "/name")
	if errors.Is(err, reference.ErrNameNotCanonical) {
		return usagef("%q needs what images are put under there, as in docker.io/USER", registry)
	}
	if err != nil {
		return usagef("%q is not of the form REGISTRY[/PREFIX]: %w", registry, err)
	}
	options, err := o.pushOptions()
	if err != nil {
		return err
	}
	options.DestinationCtx = trustingLoopback(options.DestinationCtx, named)
	if slices.ContainsFunc(archives, isRemote) { // The credentials are the registry's, and no server's with archives.
		source := *options.SourceCtx
		source.DockerAuthConfig, options.SourceCtx = nil, &source
	}
	if err := o.base.open(cmd.Context(), o.global, options.SourceCtx, 0); err != nil {
		return err
	}
	defer o.base.close()
	images, release, err := o.images(cmd, options.SourceCtx, archives, registry)
	defer release()
	if err == nil && o.only != nil {
		images, err = onlyTarget(images, o.only)
	}
	if err != nil {
		return err
	}
	if o.printMirror != "" {
		return printMirror(cmd.OutOrStdout(), o.printMirror, o.mirror(cmd.Context(), options.DestinationCtx, registry, named, images))
	}
	policy, err := o.global.policy(options.SourceCtx)
	if err != nil {
		return err
	}
	defer policy.Destroy() // Holds nothing that could be lost.
	stderr, done := cmd.ErrOrStderr(), func() {}
	if !o.quiet && !o.dryRun {
		options.Progress, done = newSending(stderr)
	}
	options.Planned = func(planned []copying.PushResult) error {
		sayUnnamed(discardIf(o.quiet, stderr), planned)
		return nil
	}
	results, err := copying.Push(cmd.Context(), policy, images, options)
	done()
	host := reference.Domain(named)
	if results == nil || err != nil && !errors.Is(err, copying.ErrNotAllPushed) {
		return o.registry.failed(host, err)
	}
	if printErr := o.print(cmd.OutOrStdout(), registry, results); printErr != nil {
		return printErr
	}
	return o.reportPushed(stderr, host, err, results)
}

// wholeTarget returns the registry and the name if an argument is HOST/NAME:TAG, the new name of
// the only image; nil if it is REGISTRY[/PREFIX].
func wholeTarget(arg string) (registry string, name reference.NamedTagged) {
	named, err := registries.ParseNamed(arg)
	if err != nil {
		return arg, nil
	}
	tagged, ok := named.(reference.NamedTagged)
	if _, digested := named.(reference.Digested); !ok || digested {
		return arg, nil
	}
	return reference.Domain(named), tagged
}

// onlyTarget gives the only image that name in the registry, and puts its referrers beside it.
func onlyTarget(images []copying.PushImage, target reference.NamedTagged) ([]copying.PushImage, error) {
	only := 0
	for n := range images {
		if images[n].Referrer && len(images) > 1 {
			besideSubject(&images[n])
			continue
		}
		only++
		images[n].Targets, images[n].Otherwise = []reference.Named{target}, nil
		if images[n].Name == nil {
			images[n].Name, images[n].Names = target, []reference.Named{target}
		}
	}
	if only != 1 {
		return nil, usagef("%s is the name of one image, but there are %d: choose one with ARCHIVE:NAME, or push all to %s", target, only, reference.Domain(target))
	}
	return images, nil
}

// besideSubject has a referrer go where its subject goes, and only there, under its digest tag if
// it has one.
func besideSubject(img *copying.PushImage) {
	if tagged, ok := img.Name.(reference.Tagged); ok {
		img.FreeName = tagged.Tag()
	}
	img.Name, img.Names, img.Targets, img.Otherwise = nil, nil, nil, nil
}

// pushOptions translates the flags for the library.
func (o *pushOptions) pushOptions() (*copying.PushOptions, error) {
	if o.jobs < 1 {
		return nil, usagef("--jobs must be at least 1")
	}
	if err := o.retryOptions.check(); err != nil {
		return nil, err
	}
	base, err := o.global.systemContext()
	if err != nil {
		return nil, err
	}
	sys, err := o.registry.apply(*base)
	if err != nil {
		return nil, err
	}
	destCtx := *sys
	options := &copying.PushOptions{Reading: copying.Reading{SourceCtx: sys, Jobs: o.jobs, RetryTimes: o.retryTimes, RetryDelay: o.retryDelay}, DestinationCtx: &destCtx, KeepGoing: o.keepGoing, DryRun: o.dryRun}
	if options.Platforms, err = parsePlatforms(o.platforms); err != nil {
		return nil, err
	}
	if o.chunkSize != "" {
		if options.ChunkSize, err = parseSize(o.chunkSize); err != nil || options.ChunkSize < 1 {
			return nil, usagef("--chunk-size %q is no size, such as 50M", o.chunkSize)
		}
	}
	switch o.compress {
	case "gzip":
	case "zstd":
		options.Compression = copying.ZstdLayers
	default:
		return nil, usagef("--dest-compress-format %q is neither gzip nor zstd", o.compress)
	}
	return options, nil
}

// images returns the images of archives with their targets. release is never nil.
func (o *pushOptions) images(cmd *cobra.Command, sys *types.SystemContext, archives []string, registry string) (images []copying.PushImage, release func(), err error) {
	m, err := parseMap(o.maps, registry)
	if err != nil {
		return nil, func() {}, err
	}
	release, err = eachArchive(cmd, o.global, sys, &o.base, archives, func(arg string, found []copying.SaveImage) error {
		of, err := o.targets(found, arg, m, registry)
		images = append(images, of...)
		return err
	})
	if err == nil {
		m.warn(discardIf(o.quiet, cmd.ErrOrStderr()))
	}
	return images, release, err
}

// archiveReference parses an argument: TRANSPORT:DETAILS, or the path of an archive, perhaps with
// the name of an image.
func archiveReference(arg string) (types.ImageReference, error) {
	if transport, details, ok := cutTransport(arg); ok && !isPath(arg) {
		return transport.ParseReference(details)
	}
	if arg == "-" {
		arg = "/dev/stdin"
	}
	return dockerarchive.ImageTransport.ParseReference(arg)
}

// isRemote reports whether an archive is on a server.
func isRemote(arg string) bool {
	_, remote := naming.Scheme(archivePath(arg))
	return remote
}

func isPath(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// targets puts the names of an image together, which AllImages returns one by one, and maps them
// to names in the registry.
func (o *pushOptions) targets(found []copying.SaveImage, arg string, m nameMap, registry string) ([]copying.PushImage, error) {
	var images []copying.PushImage
	byPlace := map[string]int{}
	type targetOf struct {
		image  int
		target string
	}
	known := map[targetOf]bool{} // An image may have tens of thousands of names.
	unnamed := 0
	for _, img := range found {
		place := img.Source.StringWithinTransport()
		n, ok := byPlace[place]
		if !ok {
			n = len(images)
			byPlace[place] = n
			images = append(images, copying.PushImage{SaveImage: img})
		}
		if _, _, tagged := naming.SplitTag(img.FreeName); img.Name == nil && tagged && o.only == nil {
			target, err := o.otherTarget(registry, m, img.FreeName)
			if err != nil {
				return nil, err
			}
			images[n].Targets = append(images[n].Targets, target)
			continue
		}
		if img.Name == nil {
			tag := img.FreeName
			if !naming.IsTag(tag) {
				tag = fmt.Sprintf("image-%d", unnamed)
				unnamed++
			}
			var err error
			if images[n].Otherwise, err = o.unnamed(registry, arg, tag); err != nil {
				return nil, err
			}
			continue
		}
		target, err := o.target(registry, m, img.Name)
		if err != nil {
			return nil, err
		}
		images[n].Names = append(images[n].Names, img.Name)
		if of := (targetOf{n, target.String()}); !known[of] {
			known[of] = true
			images[n].Targets = append(images[n].Targets, target)
		}
	}
	return images, nil
}

// target returns the name of an image in the registry.
func (o *pushOptions) target(registry string, m nameMap, name reference.Named) (reference.Named, error) {
	mapped, err := m.name(name)
	if err != nil || mapped == name {
		if err == nil {
			mapped, err = copying.PushTarget(registry, name, o.keepHost)
		}
		return mapped, err
	}
	target := reference.TrimNamed(mapped)
	if tagged, ok := mapped.(reference.Tagged); ok {
		return reference.WithTag(target, tagged.Tag())
	}
	if digested, ok := mapped.(reference.Digested); ok {
		return reference.WithDigest(target, digested.Digest())
	}
	return reference.TagNameOnly(target), nil
}

// otherTarget returns the name in the registry of an image whose name is no reference because of
// its host: the registry's host replaces that.
func (o *pushOptions) otherTarget(registry string, m nameMap, name string) (reference.Named, error) {
	named, err := registries.ParseNormalizedNamed(name)
	if err != nil && len(m) == 0 {
		if _, path, ok := strings.Cut(name, "/"); ok {
			named, err = reference.ParseNormalizedNamed("registry.invalid/" + path)
		}
	}
	if err != nil || o.keepHost {
		return nil, fmt.Errorf("the name %s cannot be pushed, since no registry can have it: rename the image (docker-archive rename ARCHIVE @N NEW)", printable.String(name))
	}
	return o.target(registry, m, named)
}

var notInName = regexp.MustCompile(`[^a-z0-9]+`)

// unnamed returns the name for an image without one: by the file that it is in.
func (o *pushOptions) unnamed(registry, arg, tag string) (reference.Named, error) {
	_, path, ok := cutTransport(arg)
	if !ok {
		path = arg
	}
	path, _, _ = naming.Split(path) // The same, whether the archive or an image in it is pushed.
	base, _, _ := strings.Cut(filepath.Base(path), ".")
	repository := strings.Trim(notInName.ReplaceAllString(strings.ToLower(base), "-"), "-")
	if repository == "" {
		repository = "archive"
	}
	named, err := registries.ParseNamed(registry + "/" + repository)
	if err != nil {
		return nil, err
	}
	return reference.WithTag(named, tag)
}

// sayUnnamed prints the new names of images without one.
func sayUnnamed(stderr io.Writer, planned []copying.PushResult) {
	for _, r := range planned {
		if r.Otherwise != nil && len(r.Targets) == 1 && r.Targets[0].String() == r.Otherwise.String() {
			fmt.Fprintf(stderr, "docker-archive: %s has no name, and is pushed as %s\n", printable.String(transports.ImageName(r.Source)), r.Otherwise)
		}
	}
}

// print prints a line for each name, or all as JSON.
func (o *pushOptions) print(out io.Writer, registry string, results []copying.PushResult) error {
	if o.asJSON {
		o.told = true
		return printJSON(out, newPushedJSON(registry, results))
	}
	if o.quiet {
		return nil
	}
	for _, r := range results {
		if r.Err != nil {
			continue
		}
		for _, t := range r.Targets {
			said := "up to date"
			if !r.UpToDate {
				said = fmt.Sprintf("sent %s, %s was there", units.HumanSize(float64(r.Sent)), units.HumanSize(float64(r.There)))
			}
			if o.dryRun && !r.UpToDate {
				said = fmt.Sprintf("to be sent: %s, %s is there", units.HumanSize(float64(r.Sent)), units.HumanSize(float64(r.There)))
			}
			if _, err := fmt.Fprintf(out, "%s %s (%s)\n", printable.String(t.String()), r.Digest, said); err != nil {
				return err
			}
		}
	}
	return nil
}

// reportPushed prints warnings about images and, if err says that some were not pushed, why.
func (o *pushOptions) reportPushed(stderr io.Writer, host string, err error, results []copying.PushResult) error {
	for _, r := range results {
		for _, w := range r.Warnings {
			fmt.Fprintf(discardIf(o.quiet, stderr), "docker-archive: warning: %s: %s\n", printable.String(transports.ImageName(r.Source)), printable.String(w))
		}
		if r.Err != nil {
			printError(stderr, o.registry.failed(host, r.Err))
		}
	}
	if err != nil {
		return errReported
	}
	return nil
}
