package main

import (
	"github.com/spf13/cobra"

	"github.com/dockerarchive/dockerarchive/podman/copying"
)

func newCompactCommand(g *globalOptions) *cobra.Command {
	var o changeOptions
	cmd := &cobra.Command{
		Use:   "compact ARCHIVE",
		Short: "Write an archive again, without what no image needs",
		Long: `Write an archive again, without the blobs that removed images left behind, as
one 'docker-archive save' of its images would. The new archive replaces the old
one when it is complete, so the disk must have room for both. In a bucket, the
store copies the layers, and the command only reads them.`,
		Example: `  docker-archive compact images.tar`,
		Args:    exactArgs(1, "one archive"),
		RunE: func(cmd *cobra.Command, args []string) error {
			options, err := o.options(g)
			if err != nil {
				return err
			}
			policy, err := g.policy(options.Ctx)
			if err != nil {
				return err
			}
			defer policy.Destroy() // Holds nothing that could be lost.
			return copying.Compact(cmd.Context(), policy, archivePath(args[0]), options)
		},
	}
	o.register(cmd)
	return cmd
}
