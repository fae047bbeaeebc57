package main

import (
	"github.com/spf13/cobra"
)

func newAddCommand(g *globalOptions) *cobra.Command {
	o := &saveOptions{global: g, layout: "image"}
	cmd := &cobra.Command{
		Use:   "add [flags] ARCHIVE IMAGE...",
		Short: "Add images to an archive, in place",
		Long: `Add images to an archive that is there, at the cost of what is new: blobs that it
has are neither fetched nor written again. IMAGE and the flags are as for save; the
archive itself decides in which layout images are stored. It may be by another
program, if its tables of contents are at its end.

A name that is there moves to the new image, and an image that loses its last name
this way is not listed any more, unless --keep-untagged. To add what is there changes
no byte.

An archive that was saved --without this one makes it complete: layers that are in
neither are named, and nothing is changed then.

Until all is written and on the disk, the archive is what it was, whatever happens;
who reads it meanwhile reads what it was. Two who change it at once do so one after
the other with --wait; else the second fails.`,
		Example: `  docker-archive add images.tar alpine:3.21
  docker-archive add images.tar docker-archive:others.tar
  docker-archive add january.tar image-archive:february.tar`,
		Args: atLeast(1, "an archive and images"),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.archive = archivePath(args[0])
			return o.failed(cmd, o.run(cmd, args[1:]))
		},
	}
	o.source.stdin = cmd.InOrStdin
	o.register(cmd.Flags())
	cmd.Flags().BoolVar(&o.keepUntagged, "keep-untagged", false, "keep images that lose their last names, as images without one")
	registerWait(cmd.Flags(), &o.wait)
	return cmd
}
