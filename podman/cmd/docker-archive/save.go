package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/docker/go-units"
	"github.com/opencontainers/go-digest"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"go.podman.io/image/v5/signature"
	"go.podman.io/image/v5/transports"

	"github.com/dockerarchive/dockerarchive/internal/output"
	"github.com/dockerarchive/dockerarchive/internal/printable"
	dockerarchive "github.com/dockerarchive/dockerarchive/podman"
	"github.com/dockerarchive/dockerarchive/podman/copying"
)

// standardOutput is where an archive goes without --output.
const standardOutput = "/dev/stdout"

// saveOptions are the flags of the save command.
type saveOptions struct {
	global               *globalOptions
	source               registryOptions
	output               string
	layout               string
	names                []string
	fromFiles            []string
	fromYAML             []string
	maps                 []string
	compress             string
	json                 bool
	digestfile           string
	sha256               bool
	split                string
	allTags              bool
	platforms            []string
	allPlatforms         bool
	anyPlatform          bool
	skipMissing          bool
	keepIndex            bool
	skipNonDistributable bool
	without              []string
	delta                deltaOptions
	base                 baseOptions
	keepUntagged         bool
	referrers            []string
	jobs                 int
	retryOptions
	keepGoing bool
	noSync    bool
	dryRun    bool
	force     bool
	resume    bool
	quiet     bool

	told     bool      // --json has been printed
	unlisted savedJSON // with the images that are left out before anything is saved

	archive string // that images are added to; "" is for a new one
	wait    bool   // for other processes that change it
}

// layoutFormat is --layout as podman save has it.
type layoutFormat struct{ layout *string }

// String returns the layout.
func (f layoutFormat) String() string { return "" }

// Type returns the placeholder of the value in help.
func (f layoutFormat) Type() string { return "KIND" }

// Set takes podman's name of a layout.
func (f layoutFormat) Set(format string) error {
	layout, ok := map[string]string{"docker-archive": "docker", "oci-archive": "image"}[format]
	switch {
	case ok:
		*f.layout = layout
		return nil
	case strings.HasSuffix(format, "dir"):
		return guessError{errors.New("a directory is no archive"), "docker-archive copy docker://HOST/app:1 oci:DIR:app, or dir:DIR"}
	}
	return guessError{errors.New("it is neither docker-archive nor oci-archive"), "docker-archive save --layout image, oci or docker"}
}

func newSaveCommand(g *globalOptions) *cobra.Command {
	o := &saveOptions{global: g}
	cmd := &cobra.Command{
		Use:        "save [flags] IMAGE...",
		Short:      "Save images, from anywhere, to one archive",
		SuggestFor: []string{"pull"},
		Long: `Save images to one archive. IMAGE is a name in a registry, or TRANSPORT:DETAILS
as for skopeo: docker://, docker-daemon:, containers-storage:, oci:,
docker-archive:, image-archive: and others. Each distinct layer is fetched and
stored once. An archive or an OCI layout means all its images, so archives are
merged. SOURCE=NAME names an image.

The archive is an OCI image layout that docker load reads too, with the layers
and digests of the source, unless --layout says otherwise. This machine's
platform is saved, unless --platform or --all-platforms is given.

The archive appears when it is complete. A failure keeps the old one.`,
		Example: `  docker-archive save -o images.tar alpine:3.20 quay.io/podman/hello
  docker-archive save alpine | docker load
  docker-archive save --all-platforms --from-file images.txt -o images.tar
  docker-archive save --from-yaml manifests.yaml -o images.tar
  docker-archive save --split 4G --from-file images.txt -o /media/stick/a.tar
  docker-archive save --delta january.tar --from-file images.txt -o february.tar
  docker-archive save -o both.tar docker-archive:one.tar docker-archive:two.tar`,
		RunE: func(cmd *cobra.Command, args []string) error { return o.failed(cmd, o.run(cmd, args)) },
	}
	f := cmd.Flags()
	o.source.stdin = cmd.InOrStdin
	o.register(f)
	f.StringVarP(&o.output, "output", "o", "-", "`FILE` to write, - for standard output")
	f.StringVar(&o.layout, "layout", "image", "archive of this `KIND`: image, oci (no manifest.json) or docker")
	f.Var(layoutFormat{&o.layout}, "format", "KIND of archive as podman save has it: docker-archive or oci-archive")
	hide(f, "format")
	f.BoolVar(&o.dryRun, "dry-run", false, "print what the archive would hold, and write nothing")
	f.StringSliceVar(&o.without, "without", nil, "leave out layers of `ARCHIVE` or a list, - for stdin; repeatable")
	o.delta.register(f)
	f.BoolVar(&o.force, "force", false, "replace an existing archive, once the new one is complete")
	f.BoolVar(&o.resume, "resume", false, "keep FILE.partial after a failure, and go on with it if it is there")
	f.StringVar(&o.compress, "compress", "", "compress the archive: `HOW` is none, gzip or zstd (default by suffix)")
	f.StringVar(&o.split, "split", "", "write parts of at most `SIZE` bytes, such as 4G: FILE.000, FILE.001")
	f.BoolVar(&o.sha256, "sha256", false, "print the SHA-256 of the archive too")
	registerBucket(cmd)
	return cmd
}

// register makes the flags that save and add have in common.
func (o *saveOptions) register(f *pflag.FlagSet) {
	o.source.register(f, "", "source")
	o.global.registerAuthfile(f)
	f.StringSliceVar(&o.names, "name", nil, "`NAME[:TAG]` of the only image that is saved; repeatable")
	f.StringArrayVar(&o.fromFiles, "from-file", nil, "save the images listed in `FILE` too, - for stdin; repeatable")
	f.StringArrayVar(&o.fromYAML, "from-yaml", nil, "save images of `FILE`: Kubernetes, compose, hauler, …; repeatable")
	f.StringArrayVar(&o.maps, "map", nil, mapUsage)
	f.BoolVar(&o.allTags, "all-tags", false, "save all tags of the given repositories")
	f.StringSliceVar(&o.platforms, "platform", nil, "save `OS/ARCH[/VARIANT]` instead of this machine's; repeatable")
	f.BoolVar(&o.allPlatforms, "all-platforms", false, "save all platforms")
	f.BoolVar(&o.anyPlatform, "any-platform", false, "save single-platform images even if they are for another platform")
	f.BoolVar(&o.skipMissing, "skip-missing", false, "save an index even if the source lacks some of its manifests")
	f.BoolVar(&o.keepIndex, "keep-index", false, "keep the original index when only some platforms are saved")
	f.BoolVar(&o.skipNonDistributable, "skip-non-distributable", false, "leave out layers that must not be distributed")
	registerReferrers(f, &o.referrers)
	o.base.register(f)
	f.IntVar(&o.jobs, "jobs", 6, "read up to `N` layers, or parts of them, at the same time")
	o.retryOptions.register(f, "resume reading a layer up to `N` times after failures that may pass")
	refuseDecryption(f)
	f.BoolVar(&o.keepGoing, "keep-going", false, "leave out images that fail; the exit status is 1 then")
	f.BoolVar(&o.noSync, "no-sync", false, "do not wait until the archive is on the disk")
	f.BoolVar(&o.json, "json", false, "print what has been saved as JSON")
	f.StringVar(&o.digestfile, "digestfile", "", "write name and digest of every image to `FILE`")
	f.BoolVarP(&o.quiet, "quiet", "q", false, "print errors only")
}

func (o *saveOptions) run(cmd *cobra.Command, args []string) error {
	if o.source.passwordStdin && (slices.Contains(o.fromFiles, "-") || slices.Contains(o.fromYAML, "-")) {
		return usagef("standard input is either a password or a list")
	}
	if slices.Contains(o.without, "-") && (o.source.passwordStdin || slices.Contains(o.fromFiles, "-") || slices.Contains(o.fromYAML, "-")) {
		return usagef("standard input is read once: as what --without leaves out, a list of images or a password")
	}
	options, err := o.saveOptions()
	if err != nil {
		return err
	}
	listed, err := o.listed(cmd.InOrStdin())
	if err != nil {
		return err
	}
	if err := listed.report(o, cmd.ErrOrStderr()); err != nil {
		return err
	}
	if options.Without, err = readWithout(cmd, o.without, trustOf(options.SourceCtx)); err != nil {
		return err
	}
	if err := o.delta.open(cmd, o.global, options); err != nil {
		return err
	}
	defer o.delta.from.close()
	if err := o.base.open(cmd.Context(), o.global, options.SourceCtx, 0); err != nil {
		return err
	}
	defer o.base.close()
	all := append(given(args), listed.images...)
	o.base.lendEachOther(cmd, o.global, o.archivesOf(all)...)
	images, err := o.images(cmd, options.SourceCtx, all)
	if err != nil {
		return err
	}
	images.leftOut = images.leftOut || len(listed.wrong) > 0
	defer images.release()
	if len(images.images) == 0 {
		return errReported
	}
	return images.report(images.place(o.save(cmd, images, options)))
}

// save saves images, or prints the plan.
func (o *saveOptions) save(cmd *cobra.Command, list *imageList, options *copying.SaveOptions) error {
	policy, err := o.global.policy(options.SourceCtx)
	if err != nil {
		return err
	}
	defer policy.Destroy() // Holds nothing that could be lost.
	if o.dryRun {
		plan, err := copying.PlanSave(cmd.Context(), policy, list.images, options)
		if plan == nil {
			return err
		}
		if err := o.tellPlan(cmd.OutOrStdout(), plan, options); err != nil {
			return err
		}
		return list.reportImages(cmd.ErrOrStderr(), o.quiet, err, plan.Images)
	}
	if o.archive != "" {
		o.output = o.archive
	}
	path, out := o.output, cmd.OutOrStdout()
	if path == "-" || path == standardOutput {
		path, out = standardOutput, cmd.ErrOrStderr()
	}
	shown := path
	replace := func(err error) error { return err }
	if o.force && path != standardOutput {
		var ctx context.Context
		if ctx, path, replace, err = replacing(cmd.Context(), path); err != nil {
			return err
		}
		cmd.SetContext(ctx)
	}
	done := func() {}
	if !o.quiet {
		options.Progress, done = newProgress(cmd.ErrOrStderr())
	}
	results, err := o.write(cmd.Context(), policy, path, list.images, options)
	done()
	if err != nil && !errors.Is(err, copying.ErrImagesLeftOut) {
		if cmd.Context().Err() != nil {
			fmt.Fprintf(cmd.ErrOrStderr(), "docker-archive: %s\n", printable.String(left(shown, o.resume)))
		}
		return replace(err)
	}
	if err := replace(nil); err != nil {
		return err
	}
	if err := o.tell(out, shown, results, options); err != nil {
		return err
	}
	return list.reportImages(cmd.ErrOrStderr(), o.quiet, err, results)
}

// write writes images to a new or an existing archive.
func (o *saveOptions) write(ctx context.Context, policy *signature.PolicyContext, path string, images []copying.SaveImage, options *copying.SaveOptions) ([]copying.SaveResult, error) {
	if o.archive == "" {
		return copying.Save(ctx, policy, path, images, options)
	}
	return copying.Add(ctx, policy, path, images, &copying.AddOptions{
		Reading: options.Reading, Selection: options.Selection, KeepGoing: options.KeepGoing,
		DestinationCtx: options.DestinationCtx, NoSync: options.NoSync, Wait: o.wait, KeepUntagged: o.keepUntagged,
	})
}

// left says what is at a path when saving to it has been interrupted.
func left(path string, resume bool) string {
	if _, err := os.Stat(path + ".partial"); err == nil && resume {
		return "what has been fetched is in " + path + ".partial; --resume goes on with it"
	}
	switch {
	case output.IsRemote(path) && resume:
		return path + " has not changed; --resume goes on with the parts that the store has"
	case output.IsRemote(path):
		return path + " has not changed"
	}
	if path == standardOutput {
		return "what has gone to standard output is not a complete archive"
	}
	info, err := os.Stat(path)
	switch {
	case err != nil || info.Mode().IsRegular() && info.Size() == 0:
		return "nothing has been written to " + path
	case info.Mode().IsRegular():
		return path + " is what it was before"
	default:
		return "what has gone to " + path + " is not a complete archive"
	}
}

// saveOptions translates the flags for the library.
func (o *saveOptions) saveOptions() (*copying.SaveOptions, error) {
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
	sys, err := o.source.apply(*base)
	if err != nil {
		return nil, err
	}
	options := &copying.SaveOptions{
		Reading: copying.Reading{SourceCtx: sys, Jobs: o.jobs, RetryTimes: o.retryTimes, RetryDelay: o.retryDelay},
		Selection: copying.Selection{
			AllPlatforms: o.allPlatforms, AnyPlatform: o.anyPlatform, SkipMissing: o.skipMissing, KeepIndex: o.keepIndex,
			SkipNonDistributable: o.skipNonDistributable, Referrers: referrerOptions(o.referrers),
		},
		DestinationCtx: sys,
		Compression:    o.compress,
		KeepGoing:      o.keepGoing,
		NoSync:         o.noSync,
		Resume:         o.resume,
	}
	if err := o.checkResume(); err != nil {
		return nil, err
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
	if options.Platforms, err = parsePlatforms(o.platforms); err != nil {
		return nil, err
	}
	if !slices.Contains([]string{"", "none", "gzip", "zstd"}, o.compress) {
		if strings.HasPrefix(o.compress, "-") {
			return nil, guessError{usagef("--compress takes gzip or zstd, and is given %q", o.compress), "docker-archive save --compress gzip -o FILE …; or -o FILE.tar.gz alone"}
		}
		return nil, usagef("--compress %q is neither none, gzip nor zstd", o.compress)
	}
	if options.Split, err = o.splitSize(); err != nil {
		return nil, err
	}
	if o.sha256 {
		options.ArchiveDigest = new(digest.Digest)
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
	if o.layout == "docker" && len(o.without) > 0 {
		return nil, usagef("--layout docker holds all layers of an image: --without is for the others")
	}
	if o.layout == "docker" && len(o.delta.paths) > 0 {
		return nil, usagef("--layout docker holds all layers of an image: --delta is for the others")
	}
	if o.delta.textOnly && len(o.delta.paths) == 0 {
		return nil, usagef("--text-only says how deltas are made: it needs --delta")
	}
	if o.keepIndex && o.allPlatforms {
		return nil, usagef("--all-platforms keeps the index anyway")
	}
	if o.layout == "docker" && options.Referrers != nil {
		return nil, usagef("--layout docker has no manifests that --referrers could be about")
	}
	return options, nil
}

// checkResume refuses flags that leave nothing to resume.
func (o *saveOptions) checkResume() error {
	switch algorithm := o.compress; {
	case !o.resume:
		return nil
	case o.output == "-" || o.output == standardOutput:
		return usagef("--resume needs --output FILE: a stream cannot be gone on with")
	case o.force:
		return usagef("--resume does not replace an archive: leave out --force, and remove the old one before")
	case algorithm == "gzip" || algorithm == "zstd":
		return usagef("--resume is for archives that are not compressed")
	}
	return nil
}

// printSaved prints a line for every name of the images in the archive.
func printSaved(out io.Writer, results []copying.SaveResult) error {
	for _, r := range results {
		if r.Err != nil {
			continue
		}
		names := r.AllNames()
		if len(names) == 0 {
			names = []string{savedName(r)}
		}
		for _, name := range names {
			if _, err := fmt.Fprintln(out, printable.String(name), r.Digest); err != nil {
				return err
			}
		}
	}
	return nil
}

// savedName returns a name for an image: its first name, or where it is from.
func savedName(r copying.SaveResult) string {
	if names := r.AllNames(); len(names) > 0 {
		return names[0]
	}
	return transports.ImageName(r.Source)
}

// printWarnings prints each warning once, with the first image that it is about.
func printWarnings(stderr io.Writer, results []copying.SaveResult) {
	var texts []string
	about := map[string][]copying.SaveResult{}
	for _, r := range results {
		for _, w := range r.Warnings {
			if about[w] == nil {
				texts = append(texts, w)
			}
			about[w] = append(about[w], r)
		}
	}
	for _, w := range texts {
		name := printable.String(savedName(about[w][0]))
		if more := len(about[w]) - 1; more > 0 {
			name += fmt.Sprintf(" and %d more", more)
		}
		fmt.Fprintf(stderr, "docker-archive: warning: %s: %s\n", name, printable.String(w))
	}
}

// reportImages prints warnings about images and, if err says that some are left
// out, why.
func (l *imageList) reportImages(stderr io.Writer, quiet bool, err error, results []copying.SaveResult) error {
	printWarnings(discardIf(quiet, stderr), results)
	if !errors.Is(err, copying.ErrImagesLeftOut) {
		return err
	}
	for _, r := range results {
		if r.Err != nil {
			printError(stderr, l.place(r.Err))
		}
	}
	return errReported
}

// tellPlan prints the planned content of an archive.
func (o *saveOptions) tellPlan(out io.Writer, plan *copying.SavePlan, options *copying.SaveOptions) error {
	if o.json {
		o.told = true
		planned := o.saved(cmp.Or(o.archive, o.output), plan.Images, options)
		planned.Size, planned.Fetch = &plan.Size, &plan.Fetch
		return printJSON(out, planned)
	}
	if err := printPlan(out, plan); err != nil {
		return err
	}
	return o.tellLeftOut(out, plan.Images)
}

func printPlan(out io.Writer, plan *copying.SavePlan) error {
	if err := printSaved(out, plan.Images); err != nil {
		return err
	}
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
