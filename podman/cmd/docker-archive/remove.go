package main

import (
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/dockerarchive/dockerarchive/podman/copying"
)

func registerWait(f *pflag.FlagSet, wait *bool) {
	f.BoolVar(wait, "wait", false, "wait for others who change the archive")
}

// changeOptions are the flags of remove and compact.
type changeOptions struct{ noSync, wait bool }

func (o *changeOptions) register(f *pflag.FlagSet) {
	f.BoolVar(&o.noSync, "no-sync", false, "do not wait until the archive is on the disk")
	registerWait(f, &o.wait)
}

func (o *changeOptions) options(g *globalOptions) (*copying.ChangeOptions, error) {
	sys, err := g.systemContext()
	return &copying.ChangeOptions{Ctx: sys, NoSync: o.noSync, Wait: o.wait}, err
}

func newRemoveCommand(g *globalOptions) *cobra.Command {
	var o changeOptions
	cmd := &cobra.Command{
		Use:   "remove ARCHIVE NAME|@N...",
		Short: "Remove images from an archive, in place",
		Long: `Remove names from an archive, and with its last name an image. @N is the image at
that position, counted from zero, with all its names. Only a new table of contents is
written: 'docker-archive compact' gives back the space. The last image is not removed: an
archive of none is no archive. Delete the file instead.`,
		Example: `  docker-archive remove images.tar alpine:3.20`,
		Args:    atLeast(2, "an archive and names"),
		RunE: func(cmd *cobra.Command, args []string) error {
			options, err := o.options(g)
			if err != nil {
				return err
			}
			return copying.Remove(cmd.Context(), archivePath(args[0]), args[1:], options)
		},
	}
	o.register(cmd.Flags())
	return cmd
}
