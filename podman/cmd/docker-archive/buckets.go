package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/dockerarchive/dockerarchive/internal/output"
)

// registerBucket adds the flags of a command that may write to a bucket.
func registerBucket(cmd *cobra.Command) {
	var unconditional bool
	var abort string
	f := cmd.Flags()
	f.BoolVar(&unconditional, "unconditional", false, "write to a bucket of a store that ignores conditions, too")
	f.StringVar(&abort, "abort-upload", "", "first give up the unfinished upload `ID` of the archive in a bucket")
	cmd.PreRunE = func(cmd *cobra.Command, _ []string) error {
		cmd.SetContext(output.WithRemote(cmd.Context(), func(o *output.RemoteOptions) {
			o.Unconditional, o.AbortUpload = unconditional, abort
		}))
		return nil
	}
}

// replacing prepares to replace the archive at a path. It returns a context and a path for writing
// the new archive, and a function that then puts it in the place of the old one.
func replacing(ctx context.Context, path string) (context.Context, string, func(error) error, error) {
	if output.IsRemote(path) { // The commit of the new object replaces the old one.
		ctx = output.WithRemote(ctx, func(o *output.RemoteOptions) { o.Force = true })
		return ctx, path, func(err error) error { return err }, nil
	}
	path, end, err := output.ReplaceByPath(ctx, path)
	return ctx, path, end, err
}
