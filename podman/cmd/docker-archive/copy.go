package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	encconfig "github.com/containers/ocicrypt/config"
	enchelpers "github.com/containers/ocicrypt/helpers"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/spf13/cobra"
	"go.podman.io/image/v5/copy"
	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/manifest"
	"go.podman.io/image/v5/transports"
	"go.podman.io/image/v5/transports/alltransports"

	"github.com/dockerarchive/dockerarchive/internal/naming"
	dockerarchive "github.com/dockerarchive/dockerarchive/podman"
	"github.com/dockerarchive/dockerarchive/podman/copying"
	"github.com/dockerarchive/dockerarchive/progress"
)

// copyOptions are the flags of the copy command.
type copyOptions struct {
	global           *globalOptions
	src, dest        registryOptions
	base             baseOptions
	skopeo           skopeoOptions
	additionalTags   []string
	all              bool
	format           string
	preserveDigests  bool
	removeSignatures bool
	decryptionKeys   []string
	digestfile       string
	maps             []string
	jobs             uint
	retryOptions
	force  bool
	noSync bool
	quiet  bool
}

func newCopyCommand(g *globalOptions) *cobra.Command {
	o := &copyOptions{global: g}
	cmd := &cobra.Command{
		Use:        "copy [flags] SOURCE DESTINATION",
		Short:      "Copy an image between archives, registries and other stores",
		SuggestFor: []string{"push", "pull", "load", "sync"},
		Long: `Copy an image. SOURCE and DESTINATION are TRANSPORT:DETAILS, as for skopeo:
docker://, docker-archive:, image-archive: (an archive that keeps digests,
compressed layers and all platforms), oci:, dir:, docker-daemon:,
containers-storage: and others. Without a transport, a file or a name like that
of an archive is an image-archive:, the directory of an OCI layout oci:,
anything else docker://.

A new archive appears when it is complete. An existing one gets the image
added, and is unchanged if the copy fails. An archive can also go to
/dev/stdout or a pipe; progress goes to standard error.`,
		Example: `  docker-archive copy docker://alpine:3.20 docker-archive:alpine.tar:alpine:3.20
  docker-archive copy --all docker://alpine:3.20 image-archive:all.tar:alpine
  docker-archive copy oci:layout docker-archive:/dev/stdout:app:1 | docker load
  docker-archive copy images.tar:alpine:3.20 docker://example.com/alpine:3.20
  docker-archive copy docker-archive:alpine.tar dir:alpine`,
		Args: exactArgs(2, "a source and a destination"),
		RunE: func(cmd *cobra.Command, args []string) error { return o.run(cmd, args[0], args[1]) },
	}
	f := cmd.Flags()
	g.registerPlatform(f)
	o.src.stdin, o.dest.stdin = cmd.InOrStdin, cmd.InOrStdin
	o.src.register(f, "src-", "source")
	o.dest.register(f, "dest-", "destination")
	o.skopeo.register(f)
	g.registerAuthfile(f)
	f.StringSliceVar(&o.additionalTags, "additional-tag", nil, "give the image in an archive another `NAME:TAG`; repeatable")
	f.BoolVarP(&o.all, "all", "a", false, "copy all images of an index, if DESTINATION can hold one")
	f.StringVarP(&o.format, "format", "f", "", "manifest `TYPE` at the destination: oci or v2s2 (default as it is)")
	f.BoolVar(&o.preserveDigests, "preserve-digests", false, "fail if the digests of the image cannot be kept")
	f.BoolVar(&o.removeSignatures, "remove-signatures", false, "do not copy signatures")
	f.StringSliceVar(&o.decryptionKeys, "decryption-key", nil, "decrypt the image with `KEY[:PASSPHRASE]`; repeatable")
	f.StringVar(&o.digestfile, "digestfile", "", "write the digest of the copied manifest to `FILE`")
	f.StringArrayVar(&o.maps, "map", nil, "name DESTINATION as SOURCE with a new prefix, `FROM=TO`; repeatable")
	o.base.register(f)
	f.UintVar(&o.jobs, "jobs", 6, "copy up to `N` layers at the same time")
	o.retryOptions.register(f, "try up to `N` more times after failures that may pass")
	f.BoolVar(&o.force, "force", false, "replace an existing archive instead of adding to it")
	f.BoolVar(&o.noSync, "no-sync", false, "do not wait until an archive is on the disk")
	f.BoolVarP(&o.quiet, "quiet", "q", false, "print errors only")
	registerBucket(cmd)
	return cmd
}

func (o *copyOptions) run(cmd *cobra.Command, source, destination string) error {
	options, err := o.copyOptions()
	if err != nil {
		return err
	}
	source, destination = withTransport(source), withTransport(destination)
	if source, err = wholeID(cmd.Context(), options.SourceCtx, source); err != nil {
		return err
	}
	src, err := alltransports.ParseImageName(source)
	if err != nil {
		return wrongImage("source", source, err)
	}
	if err := o.base.open(cmd.Context(), o.global, options.SourceCtx, 0); err != nil {
		return err
	}
	defer o.base.close()
	if src, err = o.base.complete(src); err != nil {
		return err
	}
	if destination, err = o.mapped(discardIf(o.quiet, cmd.ErrOrStderr()), src, destination); err != nil {
		return err
	}
	ctx, destination, replace, err := o.replacing(cmd.Context(), destination)
	if err != nil {
		return err
	}
	cmd.SetContext(ctx)
	dest, err := alltransports.ParseImageName(destination)
	if err != nil {
		return wrongImage("destination", destination, err)
	}
	if dest.Transport().Name() == dockerDaemon {
		if err := locateDaemon(options.DestinationCtx); err != nil {
			return err
		}
	}
	options.SourceCtx, options.DestinationCtx = contextOf(options.SourceCtx, src), contextOf(options.DestinationCtx, dest)
	policy, err := o.global.policy(options.SourceCtx)
	if err != nil {
		return err
	}
	defer policy.Destroy() // Holds nothing that could be lost.
	show, done := func(progress.Event) {}, func() {}
	if !o.quiet {
		show, done = newCopying(cmd.ErrOrStderr())
	}
	var m []byte
	retried := func(err error) {
		show(progress.Event{Kind: progress.Retried, Image: transports.ImageName(src), Err: err})
	}
	err = copying.Retry(cmd.Context(), o.retryTimes, o.retryDelay, retried, func() error {
		m, err = copying.Copy(cmd.Context(), policy, dest, src, &copying.CopyOptions{Options: *options, NoSync: o.noSync, Progress: show})
		return err
	})
	done()
	if err := replace(err); err != nil {
		return o.failure(src, dest, err)
	}
	return o.writeDigest(m)
}

// replacing returns the destination with another path if an archive there is to be
// replaced, and what puts the new one in its place.
func (o *copyOptions) replacing(ctx context.Context, destination string) (context.Context, string, func(error) error, error) {
	transport, rest, _ := strings.Cut(destination, ":")
	archives := []string{dockerarchive.Transport.Name(), dockerarchive.ImageTransport.Name()}
	if !o.force || !slices.Contains(archives, transport) {
		return ctx, destination, func(err error) error { return err }, nil
	}
	path, name, named := naming.Split(rest)
	ctx, path, replace, err := replacing(ctx, path)
	if named {
		path += ":" + name
	}
	return ctx, transport + ":" + path, replace, err
}

// copyOptions translates the flags for copy.Image.
func (o *copyOptions) copyOptions() (*copy.Options, error) {
	if o.src.passwordStdin && o.dest.passwordStdin {
		return nil, usagef("standard input is the password of one registry only: --src-password-stdin and --dest-password-stdin contradict each other")
	}
	if o.jobs == 0 {
		return nil, usagef("--jobs must be at least 1")
	}
	if err := o.retryOptions.check(); err != nil {
		return nil, err
	}
	base, err := o.global.systemContext()
	if err != nil {
		return nil, err
	}
	srcCtx, err := o.src.apply(*base)
	if err != nil {
		return nil, err
	}
	destCtx, err := o.dest.apply(*base)
	if err != nil {
		return nil, err
	}
	for _, tag := range o.additionalTags {
		named, err := parseTagged(tag)
		if err != nil {
			return nil, usagef("--additional-tag %q: %w", tag, err)
		}
		destCtx.DockerArchiveAdditionalTags = append(destCtx.DockerArchiveAdditionalTags, named)
	}
	options := &copy.Options{
		SourceCtx:            srcCtx,
		DestinationCtx:       destCtx,
		RemoveSignatures:     o.removeSignatures,
		PreserveDigests:      o.preserveDigests,
		MaxParallelDownloads: o.jobs,
	}
	if o.all {
		options.ImageListSelection = copy.CopyAllImages
	}
	switch o.format {
	case "":
	case "oci":
		options.ForceManifestMIMEType = imgspecv1.MediaTypeImageManifest
	case "v2s2":
		options.ForceManifestMIMEType = manifest.DockerV2Schema2MediaType
	default:
		return nil, usagef("--format %q is neither oci nor v2s2", o.format)
	}
	if err := o.skopeo.apply(options); err != nil {
		return nil, err
	}
	options.OciDecryptConfig, err = decryptConfig(o.decryptionKeys)
	return options, err
}

func parseTagged(s string) (reference.NamedTagged, error) {
	named, err := reference.ParseNormalizedNamed(s)
	if err != nil {
		return nil, err
	}
	tagged, ok := named.(reference.NamedTagged)
	if !ok {
		return nil, errors.New("it has no tag")
	}
	return tagged, nil
}

func decryptConfig(keys []string) (*encconfig.DecryptConfig, error) {
	if len(keys) == 0 {
		return nil, nil
	}
	config, err := enchelpers.CreateDecryptCryptoConfig(keys, nil)
	if err != nil {
		return nil, usagef("--decryption-key: %w", err)
	}
	return encconfig.CombineCryptoConfigs([]encconfig.CryptoConfig{config}).DecryptConfig, nil
}

func (o *copyOptions) writeDigest(m []byte) error {
	if o.digestfile == "" {
		return nil
	}
	d, err := manifest.Digest(m)
	if err == nil {
		err = os.WriteFile(o.digestfile, []byte(d.String()), 0o644)
	}
	if err != nil {
		return fmt.Errorf("writing the digest to %s: %w", o.digestfile, err)
	}
	return nil
}
