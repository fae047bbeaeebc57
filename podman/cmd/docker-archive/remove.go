package main

import (
	"fmt"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"go.podman.io/image/v5/docker/reference"

	"github.com/dockerarchive/dockerarchive/podman/copying"
)

func registerWait(f *pflag.FlagSet, wait *bool) {
	f.BoolVar(wait, "wait", false, "wait for others who change the archive")
}

// changeOptions are the flags of remove, tag, rename and compact.
type changeOptions struct {
	noSync, wait, quiet bool
	tlsVerify           bool
	certDir             string
}

func (o *changeOptions) register(cmd *cobra.Command) {
	f := cmd.Flags()
	f.BoolVar(&o.noSync, "no-sync", false, "do not wait until the archive is on the disk")
	registerWait(f, &o.wait)
	f.BoolVarP(&o.quiet, "quiet", "q", false, "print errors only")
	f.BoolVar(&o.tlsVerify, "tls-verify", true, "verify the certificate of a store that has the archive")
	f.StringVar(&o.certDir, "cert-dir", "", "`DIRECTORY` with certificates (*.crt, *.cert, *.key) for it")
	registerBucket(cmd)
}

func (o *changeOptions) options(g *globalOptions) (*copying.ChangeOptions, error) {
	sys, err := g.systemContext()
	if err != nil {
		return nil, err
	}
	sys.DockerCertPath = o.certDir
	setTLSVerify(sys, o.tlsVerify)
	return &copying.ChangeOptions{Ctx: sys, NoSync: o.noSync, Wait: o.wait}, nil
}

func newRemoveCommand(g *globalOptions) *cobra.Command {
	var o changeOptions
	var keepReferrers bool
	cmd := &cobra.Command{
		Use:     "remove ARCHIVE NAME|@N...",
		Aliases: []string{"rm", "rmi", "untag"},
		Short:   "Remove images from an archive, in place",
		Long: `Remove names from an archive, and an image with its last name. Signatures,
SBOMs and other referrers go with their image. @N is the image at that
position, counted from zero, with all its names.

Only a new table of contents is written: 'docker-archive compact' gives back
the space. The last image is not removed; delete the file instead.`,
		Example:           `  docker-archive remove images.tar alpine:3.20`,
		Args:              atLeast(1, "an archive and names"),
		ValidArgsFunction: completeNames,
		RunE: func(cmd *cobra.Command, args []string) error {
			archive, names, ok := archiveAndNames(args)
			if !ok {
				if _, err := reference.ParseNormalizedNamed(args[0]); err == nil && !isPath(args[0]) {
					return guessError{usagef("remove takes an archive and names, but is given %q", args), "docker-archive remove images.tar " + shortened(args[0])}
				}
				return guessError{usagef("remove takes an archive and names, but is given %q", args), fmt.Sprintf("docker-archive remove %s NAME; its names: docker-archive list %s", shortened(args[0]), shortened(args[0]))}
			}
			options, err := o.options(g)
			if err != nil {
				return err
			}
			referrers, err := copying.Remove(cmd.Context(), archive, names, &copying.RemoveOptions{ChangeOptions: *options, KeepReferrers: keepReferrers})
			if err == nil && len(referrers) > 0 && !o.quiet {
				_, err = fmt.Fprintf(cmd.ErrOrStderr(), "docker-archive: removed %d signatures or other referrers as well: they are about removed images only\n", len(referrers))
			}
			return err
		},
	}
	o.register(cmd)
	cmd.Flags().BoolVar(&keepReferrers, "keep-referrers", false, "keep signatures, SBOMs and the like of removed images")
	return cmd
}
