package main

import (
	"fmt"
	"io"

	"github.com/docker/go-units"
	"github.com/spf13/cobra"
	"go.podman.io/image/v5/transports"
	"go.podman.io/image/v5/types"

	"github.com/dockerarchive/dockerarchive/internal/printable"
	"github.com/dockerarchive/dockerarchive/podman/copying"
	"github.com/dockerarchive/dockerarchive/podman/copying/containerd"
)

// loadOptions are the flags of the load command.
type loadOptions struct {
	global     *globalOptions
	inputs     []string
	base       baseOptions
	to         string
	host       string
	context    string
	certDir    string
	containerd containerd.Config
	noUnpack   bool
	platforms  []string
	full       bool
	retryOptions
	quiet bool
}

func newLoadCommand(g *globalOptions) *cobra.Command {
	o := &loadOptions{global: g}
	cmd := &cobra.Command{
		Use:   "load [flags] ARCHIVE[:NAME|:@N]...",
		Short: "Load the images in archives into docker, podman or containerd",
		Long: `Load all images of archives, or those chosen by name or position, into a docker
daemon, which is found as the docker command finds it. Layers that the daemon
has are not sent. Docker with the containerd store gets all platforms;
otherwise only the daemon's own. Signatures, charts and other artifacts are
left out.

With --to podman, images go to the storage of podman and CRI-O on this machine.

With --to containerd, --address or --namespace, images go to a namespace of
containerd, which is found as ctr finds it, and are unpacked for this machine's
platform or for --platform.`,
		Example: `  docker-archive load images.tar
  docker-archive load app.tar:example.com/app:1 other.tar:@0
  docker-archive load < images.tar
  docker-archive load --host tcp://node1:2376 --cert-dir certs images.tar
  docker-archive load --host ssh://admin@node1 images.tar
  docker-archive load --platform linux/arm64 images.tar
  docker-archive load --to podman images.tar
  docker-archive load --namespace k8s.io images.tar`,
		Args: func(cmd *cobra.Command, args []string) error {
			if hasInput(cmd.InOrStdin()) && len(args)+len(o.inputs) == 0 {
				return nil
			}
			return atLeast(1, "archives, or images in archives")(cmd, append(args, o.inputs...))
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if args = append(args, o.inputs...); len(args) == 0 {
				args = []string{"-"} // As docker load does.
			}
			return o.run(cmd, args)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.to, "to", toDocker, "load into `WHERE`: docker, podman, containerd, containers-storage:…")
	f.StringArrayVarP(&o.inputs, "input", "i", nil, "load `ARCHIVE`, as an argument does; repeatable")
	f.StringVarP(&o.host, "host", "H", "", "docker daemon at `HOST`: unix://PATH, tcp://HOST:PORT, ssh://HOST")
	f.StringVarP(&o.context, "context", "c", "", "`NAME` of a context of the docker command")
	f.StringVar(&o.certDir, "cert-dir", "", "`DIRECTORY` with ca.pem, cert.pem and key.pem for TLS")
	f.StringVar(&o.containerd.Address, "address", "", "`SOCKET` of containerd (default "+containerd.DefaultAddress+")")
	f.StringVarP(&o.containerd.Namespace, "namespace", "n", "", "`NAME` of the namespace of containerd (default "+containerd.DefaultNamespace+")")
	f.StringVar(&o.containerd.Snapshotter, "snapshotter", "", "`NAME` of containerd's snapshotter (default the namespace's)")
	f.BoolVar(&o.noUnpack, "no-unpack", false, "let containerd unpack images at their first use")
	f.StringSliceVar(&o.platforms, "platform", nil, "load `OS/ARCH[/VARIANT]` of an index; repeatable")
	o.base.register(f)
	f.BoolVar(&o.full, "full", false, "send all layers, whatever the daemon has")
	o.retryOptions.register(f, "try up to `N` more times to read images from elsewhere")
	f.BoolVarP(&o.quiet, "quiet", "q", false, "print errors only")
	return cmd
}

func (o *loadOptions) run(cmd *cobra.Command, args []string) error {
	if err := o.retryOptions.check(); err != nil {
		return err
	}
	sys, err := o.global.systemContext()
	if err != nil {
		return err
	}
	daemonCtx := *sys
	daemonCtx.DockerDaemonCertPath = o.certDir
	options := &copying.LoadOptions{Reading: copying.Reading{SourceCtx: sys, RetryTimes: o.retryTimes, RetryDelay: o.retryDelay}, DestinationCtx: &daemonCtx, Host: o.host, Context: o.context, Full: o.full}
	if options.Platforms, err = parsePlatforms(o.platforms); err != nil {
		return err
	}
	if err := o.checkTo(cmd, options.Platforms); err != nil {
		return err
	}
	var images []copying.SaveImage
	o.base.containerd = o.containerd
	if err := o.base.open(cmd.Context(), o.global, sys, 0); err != nil {
		return err
	}
	defer o.base.close()
	release, err := eachArchive(cmd, o.global, sys, &o.base, args, func(_ string, found []copying.SaveImage) error {
		images = append(images, found...)
		return nil
	})
	defer release()
	if err != nil {
		return err
	}
	policy, err := o.global.policy(sys)
	if err != nil {
		return err
	}
	defer policy.Destroy() // Holds nothing that could be lost.
	if o.to != toDocker && o.to != toContainerd {
		return o.toStorage(cmd, policy, images, options)
	}
	stderr, done := cmd.ErrOrStderr(), func() {}
	if !o.quiet {
		options.Progress, done = newLoading(stderr)
	}
	var loaded *copying.Loaded
	if o.to == toContainerd {
		loaded, err = o.toContainerd(cmd.Context(), policy, images, options)
	} else {
		loaded, err = copying.Load(cmd.Context(), policy, images, options)
	}
	done()
	if loaded != nil {
		warnLoaded(discardIf(o.quiet, stderr), loaded)
	}
	if err != nil || o.quiet {
		return err
	}
	if err := printLoaded(cmd.OutOrStdout(), loaded); err != nil {
		return err
	}
	fmt.Fprintf(stderr, "sent %s, %s of layers was there\n", units.HumanSize(float64(loaded.Sent)), units.HumanSize(float64(loaded.LeftOut)))
	return nil
}

// eachArchive calls do with the images of each of archives, which may be read until release,
// which is never nil. The archives lend each other layers that they lack.
func eachArchive(cmd *cobra.Command, g *globalOptions, sys *types.SystemContext, base *baseOptions, archives []string, do func(arg string, images []copying.SaveImage) error) (release func(), err error) {
	var releases []func() error
	release = func() {
		for _, r := range releases {
			_ = r() // It has only been read from.
		}
	}
	refs := make([]types.ImageReference, len(archives))
	for n, arg := range archives {
		if refs[n], err = archiveReference(arg); err != nil {
			return release, usagef("%s: %w", arg, err)
		}
	}
	base.lendEachOther(cmd, g, archivePaths(refs...)...)
	for n, arg := range archives {
		ref, err := base.complete(refs[n])
		if err != nil {
			return release, err
		}
		found, r, err := copying.AllImages(cmd.Context(), sys, ref)
		releases = append(releases, r)
		if err == nil {
			err = do(arg, found)
		}
		if err != nil {
			return release, err
		}
	}
	return release, nil
}

// warnLoaded prints warnings about images, once for all names of an image.
func warnLoaded(stderr io.Writer, loaded *copying.Loaded) {
	said := map[string]bool{}
	for _, img := range loaded.Images {
		warnings := img.Warnings
		if img.Skipped != "" {
			warnings = append(warnings, "it is not loaded: "+img.Skipped)
		}
		for _, w := range warnings {
			line := fmt.Sprintf("docker-archive: warning: %s: %s\n", printable.String(transports.ImageName(img.Source)), printable.String(w))
			if !said[line] {
				fmt.Fprint(stderr, line)
			}
			said[line] = true
		}
	}
}

// printLoaded prints a line for each image.
func printLoaded(stdout io.Writer, loaded *copying.Loaded) error {
	for _, img := range loaded.Images {
		if img.Skipped != "" {
			continue
		}
		line := img.ID.String()
		if names := img.AllNames(); len(names) > 0 {
			line = names[0] + " " + line
		}
		if _, err := fmt.Fprintln(stdout, printable.String(line)); err != nil {
			return err
		}
	}
	return nil
}
