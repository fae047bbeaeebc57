package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/spf13/cobra"
	"go.podman.io/image/v5/copy"
	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/manifest"
	"go.podman.io/image/v5/signature"
	"go.podman.io/image/v5/transports"
	"go.podman.io/image/v5/transports/alltransports"
	"go.podman.io/image/v5/types"
	"go.podman.io/storage"

	"github.com/dockerarchive/dockerarchive/compose"
	"github.com/dockerarchive/dockerarchive/errdef"
	"github.com/dockerarchive/dockerarchive/internal/printable"
	dockerarchive "github.com/dockerarchive/dockerarchive/podman"
	"github.com/dockerarchive/dockerarchive/podman/copying"
	"github.com/dockerarchive/dockerarchive/podman/making"
	"github.com/dockerarchive/dockerarchive/progress"
)

// makeOptions are the flags of the make command.
type makeOptions struct {
	global   *globalOptions
	registry registryOptions

	base, rebase string
	container    string
	layers       layerFlags
	config       configFlags

	squash           bool
	omitHistory      bool
	createdBy        string
	comment          string
	timestamp        string
	rewriteTimestamp bool
	format           string
	compress         string

	output     string
	tags       []string
	layout     string
	digestfile string
	iidfile    string
	quiet      bool

	retryTimes int
}

func newMakeCommand(g *globalOptions) *cobra.Command {
	o := &makeOptions{global: g}
	cmd := &cobra.Command{
		Use:   "make [flags] [DESTINATION]",
		Short: "Make an image without a daemon or root",
		Long: `Make an image from layers, files and a base image, and change its config. It
goes straight to an archive (--output), or to DESTINATION, TRANSPORT:DETAILS as
for skopeo.

--layer, --add, --remove, --opaque, --diff and --rootfs take effect in their
order. Each --layer, --diff and --rootfs makes a layer, and so do consecutive
--add, --remove and --opaque. The layers of the base keep their digests.

The same input always makes the same image: files are sorted, owners are
numbers, and times are at most $SOURCE_DATE_EPOCH, --timestamp or the time of
the newest input.`,
		Example: `  docker-archive make -b alpine:3.20 --add app:/usr/bin/ -t app:1 -o app.tar
  docker-archive make --layer rootfs.tar.gz --cmd '["sh"]' -t base:1 -o base.tar
  docker-archive make -b docker-archive:app.tar --squash -t app:1 -o flat.tar
  docker-archive make -b app:1 --rebase alpine:3.19=alpine:3.20 -t app -o a.tar
  docker-archive make --base app:1 --remove /etc/secret -t app:2 -o app.tar`,
		Args: usageArgs(func(cmd *cobra.Command, args []string) error {
			if len(args) > 1 {
				return fmt.Errorf("make takes one destination, but is given %q", args)
			}
			return nil
		}),
		RunE: func(cmd *cobra.Command, args []string) error { return o.run(cmd, args) },
	}
	f := cmd.Flags()
	o.registry.register(f, "", "base or destination")
	g.registerPlatform(f)
	g.registerAuthfile(f)
	f.StringVarP(&o.base, "base", "b", "", "build on `IMAGE`: a name in a registry, or TRANSPORT:DETAILS")
	f.StringVar(&o.container, "container", "", "commit `CONTAINER` of containers/storage, as buildah commit does")
	f.StringVar(&o.rebase, "rebase", "", "replace the lowest layers: those of image OLD by NEW's, `OLD=NEW`")
	o.layers.register(f)
	o.config.register(f)
	f.BoolVar(&o.squash, "squash", false, "merge all layers into one, those of the base included")
	f.Bool("parents", true, "")
	_ = f.MarkDeprecated("parents", "directories always keep what they are in the base") // It is there.
	f.BoolVar(&o.omitHistory, "omit-history", false, "leave the history out")
	f.StringVar(&o.createdBy, "created-by", "", "`TEXT` of the history on how a layer was made")
	f.StringVarP(&o.comment, "message", "m", "", "comment `TEXT` of the history")
	f.StringVar(&o.timestamp, "timestamp", "", "`TIME` of the image: seconds, RFC 3339 or now ($SOURCE_DATE_EPOCH)")
	f.BoolVar(&o.rewriteTimestamp, "rewrite-timestamp", false, "give the files of new layers that time too")
	f.StringVarP(&o.format, "format", "f", "oci", "`TYPE` of manifest and config: oci or docker")
	f.StringVar(&o.compress, "compress", "gzip", "compress new layers with `ALGORITHM[:LEVEL]`: gzip, zstd or none")
	f.StringVarP(&o.output, "output", "o", "", "archive `FILE` to write, - for standard output")
	f.StringArrayVarP(&o.tags, "tag", "t", nil, "`NAME[:TAG]` of the image in the archive; repeatable")
	f.StringVar(&o.layout, "layout", "image", "`KIND` of archive: image or docker")
	f.StringVar(&o.digestfile, "digestfile", "", "write the digest of the manifest to `FILE`")
	f.StringVar(&o.iidfile, "iidfile", "", "write the ID of the image to `FILE`")
	f.BoolVarP(&o.quiet, "quiet", "q", false, "print errors only")
	f.IntVar(&o.retryTimes, "retry-times", 3, "try up to `N` more times to read a base")
	registerBucket(cmd)
	return cmd
}

func (o *makeOptions) run(cmd *cobra.Command, args []string) error {
	names, err := o.check(args)
	if err != nil {
		return err
	}
	base, err := o.global.systemContext()
	if err != nil {
		return err
	}
	sys, err := o.registry.apply(*base)
	if err != nil {
		return err
	}
	if len(args) == 1 { // Before a base is asked for, which may be in another registry.
		if dest, err := alltransports.ParseImageName(args[0]); err == nil {
			if err := o.registry.use(sys, dest); err != nil {
				return err
			}
		}
	}
	policy, err := o.global.policy(sys)
	if err != nil {
		return err
	}
	defer policy.Destroy() // Holds nothing that could be lost.
	bases := &openBases{policy: policy, sys: sys, registry: &o.registry, retryTimes: o.retryTimes}
	defer bases.close()
	img, err := o.describe(cmd, bases)
	if err != nil {
		return err
	}
	var m []byte
	if len(args) == 1 {
		m, err = o.copyTo(cmd, policy, sys, img, args[0])
	} else {
		m, err = o.write(cmd, sys, img, names)
	}
	if err != nil {
		return err
	}
	return o.writeDigests(m)
}

// isContext reports whether a destination is an existing directory, as the last argument of docker build is.
func isContext(arg string) bool {
	_, _, transport := cutTransport(arg)
	info, err := os.Stat(arg)
	return !transport && err == nil && info.IsDir()
}

// check returns the names of the image, if the flags fit each other.
func (o *makeOptions) check(args []string) ([]reference.Named, error) {
	if err := (&retryOptions{retryTimes: o.retryTimes}).check(); err != nil {
		return nil, err
	}
	switch {
	case len(args) == 0 && o.output == "":
		return nil, usagef("there is neither --output nor a destination")
	case len(args) == 1 && isContext(args[0]), strings.HasSuffix(o.format, "ockerfile"):
		return nil, guessError{usagef("make runs no Dockerfile"), "docker-archive make --base HOST/base:1 --add DIR:/app --cmd RUN -t app:1 -o app.tar"}
	case len(args) == 1 && o.output != "":
		return nil, usagef("--output and the destination %s contradict each other", args[0])
	case len(args) == 1 && len(o.tags) > 0:
		return nil, usagef("--tag is for archives: a destination has its name in it")
	case o.layout != "image" && o.layout != "docker":
		return nil, usagef("--layout %q is neither image nor docker", o.layout)
	case o.format != "oci" && o.format != "docker":
		return nil, usagef("--format %q is neither oci nor docker", o.format)
	case o.base != "" && o.container != "":
		return nil, usagef("--base and --container contradict each other")
	case o.base == "" && o.container == "" && o.rebase != "":
		return nil, usagef("--rebase needs --base")
	case o.base == "" && o.container == "" && len(o.layers.steps) == 0:
		return nil, usagef("there is nothing to make an image of: --base, --container, --layer or --add")
	}
	var names []reference.Named
	for _, tag := range o.tags {
		named, err := reference.ParseNormalizedNamed(tag)
		if err != nil {
			return nil, usagef("--tag %q: %w", tag, err)
		}
		names = append(names, named)
	}
	return names, nil
}

// describe translates the flags for the library.
func (o *makeOptions) describe(cmd *cobra.Command, bases *openBases) (*compose.Image, error) {
	parent, err := o.config.parentID()
	if err != nil {
		return nil, err
	}
	img := &compose.Image{
		Squash: o.squash, OmitHistory: o.omitHistory, RewriteTimes: o.rewriteTimestamp,
		Parent: parent, TempDir: o.global.tmpdir,
		Annotations: map[string]string{}, UnsetAnnotations: o.config.unsetAnnotations, ClearAnnotations: o.config.clearAnnotations,
	}
	if o.format == "docker" {
		img.Format = compose.Docker
	}
	if img.Compression, err = parseCompression(o.compress); err != nil {
		return nil, err
	}
	if img.Created, err = o.created(); err != nil {
		return nil, err
	}
	img.NotAfter = time.Now() // Nothing else of an image tells the time.
	img.Warn = func(message string) {
		fmt.Fprintf(discardIf(o.quiet, cmd.ErrOrStderr()), "docker-archive: %s\n", printable.String(message))
	}
	if o.rewriteTimestamp && img.Created.IsZero() {
		return nil, usagef("--rewrite-timestamp needs --timestamp or SOURCE_DATE_EPOCH")
	}
	for _, annotation := range o.config.annotations {
		name, value, ok := strings.Cut(annotation, "=")
		if !ok {
			return nil, usagef("--annotation %q is not of the form NAME=VALUE", annotation)
		}
		img.Annotations[name] = value
	}
	change, err := o.config.change(o.global, o.base == "" && o.container == "")
	if err != nil {
		return nil, err
	}
	img.Change = change
	if img.Layers, img.SquashRewriting, err = o.layers.layers(cmd.InOrStdin(), cmd.ErrOrStderr(), o.quiet); err != nil {
		return nil, err
	}
	if o.container != "" {
		if err := o.useContainer(cmd.Context(), img, bases); err != nil {
			return nil, err
		}
	}
	if len(img.Layers) == 0 && o.rebase == "" && !o.squash {
		img.Layers = []compose.Layer{{}} // A step of the history.
	}
	for i := range img.Layers {
		h := &img.Layers[i].History
		h.CreatedBy, h.Comment = cmp.Or(o.createdBy, h.CreatedBy), cmp.Or(o.comment, h.Comment)
	}
	return img, o.openBases(cmd.Context(), img, bases)
}

// openBases opens the images that the image is made of.
func (o *makeOptions) openBases(ctx context.Context, img *compose.Image, bases *openBases) error {
	var ref types.ImageReference
	var err error
	if o.base != "" {
		if img.Base, ref, err = bases.open(ctx, "--base", o.base); err != nil {
			return err
		}
		img.BaseName = baseName(ref)
	}
	if o.rebase == "" {
		return nil
	}
	old, on, ok := strings.Cut(o.rebase, "=")
	if !ok {
		return usagef("--rebase %q is not of the form OLD=NEW", o.rebase)
	}
	if img.Replace, _, err = bases.open(ctx, "--rebase", old); err != nil {
		return err
	}
	if img.On, ref, err = bases.open(ctx, "--rebase", on); err != nil {
		return err
	}
	img.BaseName = baseName(ref)
	return nil
}

// baseName returns the name of an image elsewhere, or "".
func baseName(ref types.ImageReference) string {
	if named := ref.DockerReference(); named != nil {
		return named.String()
	}
	return ""
}

// openBases are images that others are made of.
type openBases struct {
	policy   *signature.PolicyContext
	sys      *types.SystemContext
	registry *registryOptions
	bases    []*making.Base
	store    storage.Store // of --container, or nil

	retryTimes int
}

func (b *openBases) close() {
	for _, base := range b.bases {
		_ = base.Close() // It has only been read from.
	}
	if b.store != nil {
		_, _ = b.store.Shutdown(false) // Nothing was mounted.
	}
}

// open opens the image that a flag names, if the policy accepts it.
func (b *openBases) open(ctx context.Context, flag, name string) (compose.Base, types.ImageReference, error) {
	if strings.HasPrefix(name, dockerDaemon+":") {
		if err := locateDaemon(b.sys); err != nil {
			return nil, nil, err
		}
	}
	name, err := wholeID(ctx, b.sys, name)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", flag, err)
	}
	ref, _, err := parseImage(withTransport(name))
	if err != nil {
		return nil, nil, usagef("%s %q: %w", flag, shortened(name), err)
	}
	base, err := b.openReference(ctx, ref)
	return base, ref, err
}

func (b *openBases) openReference(ctx context.Context, ref types.ImageReference) (compose.Base, error) {
	var base *making.Base
	sys := contextOf(b.sys, ref)
	if err := b.registry.use(sys, ref); err != nil {
		return nil, err
	}
	err := copying.Retry(ctx, b.retryTimes, 0, nil, func() (err error) {
		base, err = making.OpenBase(ctx, sys, b.policy, ref)
		return err
	})
	if err != nil {
		return nil, &errdef.ImageError{Op: "opening", Image: transports.ImageName(ref), Err: b.registry.failed(hostOf(ref), err)}
	}
	base.RetryTimes = b.retryTimes
	b.bases = append(b.bases, base)
	return base, nil
}

// write writes the image straight to an archive, and returns its manifest.
func (o *makeOptions) write(cmd *cobra.Command, sys *types.SystemContext, img *compose.Image, names []reference.Named) ([]byte, error) {
	path, out := o.output, cmd.OutOrStdout()
	if path == "-" || path == standardOutput {
		path, out = standardOutput, cmd.ErrOrStderr()
	}
	options := &making.ArchiveOptions{Names: names, Transport: dockerarchive.ImageTransport, DestinationCtx: sys}
	if o.layout == "docker" {
		options.Transport = dockerarchive.Transport
	}
	made, err := making.WriteArchive(cmd.Context(), path, img, options)
	if err != nil {
		return nil, fmt.Errorf("making %s: %w", o.output, err)
	}
	if o.quiet {
		return made.Manifest, nil
	}
	if len(names) == 0 {
		_, err = fmt.Fprintf(out, "- %s\n", made.Digest())
	}
	for _, name := range names {
		if err == nil {
			_, err = fmt.Fprintf(out, "%s %s\n", reference.TagNameOnly(name), made.Digest())
		}
	}
	return made.Manifest, err
}

// copyTo copies the image to its destination, and returns its manifest there.
func (o *makeOptions) copyTo(cmd *cobra.Command, policy *signature.PolicyContext, sys *types.SystemContext, img *compose.Image, destination string) ([]byte, error) {
	dest, err := alltransports.ParseImageName(destination)
	if err != nil {
		return nil, usagef("destination: %w", err)
	}
	show, done := func(progress.Event) {}, func() {}
	if !o.quiet {
		show, done = newCopying(cmd.ErrOrStderr())
	}
	m, err := copying.Copy(cmd.Context(), policy, dest, making.Reference(img, dest.DockerReference()),
		&copying.CopyOptions{Options: copy.Options{SourceCtx: sys, DestinationCtx: contextOf(sys, dest)}, Progress: show})
	done()
	if err != nil {
		return nil, fmt.Errorf("making %s: %w", transports.ImageName(dest), o.registry.failed(hostOf(dest), err))
	}
	if !o.quiet {
		_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s %s\n", transports.ImageName(dest), digest.FromBytes(m))
	}
	return m, err
}

// writeDigests writes the digests of the manifest and of the config to the files that
// are to have them.
func (o *makeOptions) writeDigests(m []byte) error {
	parsed, err := manifest.FromBlob(m, manifest.GuessMIMEType(m))
	if err != nil {
		return err
	}
	for path, d := range map[string]digest.Digest{o.digestfile: digest.FromBytes(m), o.iidfile: parsed.ConfigInfo().Digest} {
		if path == "" {
			continue
		}
		if err := os.WriteFile(path, []byte(d.String()), 0o644); err != nil {
			return fmt.Errorf("writing the digest: %w", err)
		}
	}
	return nil
}

// parseCompression parses ALGORITHM[:LEVEL].
func parseCompression(s string) (c compose.Compression, err error) {
	name, level, leveled := strings.Cut(s, ":")
	most := 0
	switch name {
	case "gzip":
		c.Algorithm, most = compose.Gzip, 9
	case "zstd":
		c.Algorithm, most = compose.Zstd, 22
	case "none":
		c.Algorithm = compose.None
	case "xz", "bzip2":
		return c, usagef("--compress %q: there is no media type for layers in %s", s, name)
	default:
		return c, usagef("--compress %q is neither gzip, zstd nor none", s)
	}
	if leveled {
		if c.Level, err = strconv.Atoi(level); err != nil || c.Level < 1 || c.Level > most {
			return c, usagef("--compress %q: there is no such level", s)
		}
	}
	return c, nil
}

// created returns when the image was made, by --timestamp or SOURCE_DATE_EPOCH; with the zero
// time, its parts decide.
func (o *makeOptions) created() (time.Time, error) {
	switch value, epoch := o.timestamp, os.Getenv("SOURCE_DATE_EPOCH"); {
	case value == "now":
		return time.Now().UTC().Truncate(time.Second), nil
	case value != "":
		seconds, err := strconv.ParseInt(value, 10, 64)
		if err == nil {
			return time.Unix(seconds, 0).UTC(), nil
		}
		t, err := time.Parse(time.RFC3339, value)
		if err != nil {
			return t, usagef("--timestamp %q is neither seconds since 1970, RFC 3339, nor now", value)
		}
		return t.UTC(), nil
	case epoch != "":
		seconds, err := strconv.ParseInt(epoch, 10, 64)
		if err != nil {
			return time.Time{}, usagef("SOURCE_DATE_EPOCH=%q is not a number of seconds since 1970", epoch)
		}
		return time.Unix(seconds, 0).UTC(), nil
	}
	return time.Time{}, nil
}

// discardIf returns where warnings go.
func discardIf(quiet bool, w io.Writer) io.Writer {
	if quiet {
		return io.Discard
	}
	return w
}
