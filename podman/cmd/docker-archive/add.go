package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

func newAddCommand(g *globalOptions) *cobra.Command {
	o := &saveOptions{global: g, layout: "image"}
	cmd := &cobra.Command{
		Use:   "add [flags] ARCHIVE IMAGE...",
		Short: "Add images to an archive, in place",
		Long: `Add images to an archive, in place. IMAGE and the flags are as for save. Only
new blobs are fetched and written; the archive keeps its layout.

A name that the archive has moves to the new image. An image that loses its
last name is no longer listed, unless --keep-untagged is given.

An archive that was saved with --without or --delta completes this one.

Until everything is written and on the disk, the archive is the old one. A
second writer fails, or waits with --wait.`,
		Example: `  docker-archive add images.tar alpine:3.21
  docker-archive add images.tar docker-archive:others.tar
  docker-archive add january.tar image-archive:february.tar`,
		Args: atLeast(1, "an archive and images"),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.archive = archivePath(args[0])
			err := o.run(cmd, args[1:])
			if err != nil && len(args) > 1 && looksLikeArchive(o.archive) && !isRemote(o.archive) && !isPath(o.archive) {
				err = withHint(err, fmt.Sprintf("docker-archive save -o %s %s makes a new archive", o.archive, shortened(args[1])))
			}
			return o.failed(cmd, err)
		},
	}
	o.source.stdin = cmd.InOrStdin
	o.register(cmd.Flags())
	cmd.Flags().BoolVar(&o.keepUntagged, "keep-untagged", false, "keep images that lose their last name")
	registerWait(cmd.Flags(), &o.wait)
	registerBucket(cmd)
	return cmd
}
