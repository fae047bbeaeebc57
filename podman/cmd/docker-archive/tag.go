package main

import (
	"fmt"

	"github.com/spf13/cobra"
	"go.podman.io/image/v5/docker/reference"

	"github.com/dockerarchive/dockerarchive/internal/naming"
	"github.com/dockerarchive/dockerarchive/internal/printable"
	"github.com/dockerarchive/dockerarchive/podman/copying"
)

func newTagCommand(g *globalOptions) *cobra.Command {
	return tagCommand(g, false, &cobra.Command{
		Use:   "tag ARCHIVE OLD|@N NEW",
		Short: "Give an image in an archive another name, in place",
		Long: `Give an image in an archive another name, and keep the old one. @N is the image
at that position, counted from zero. Only a new table of contents is written. A
name that another image has is refused: remove or rename that one first.`,
		Example: `  docker-archive tag images.tar alpine:3.20 registry.internal/alpine:3.20
  docker-archive tag images.tar @0 app:1`,
	})
}

func newRenameCommand(g *globalOptions) *cobra.Command {
	return tagCommand(g, true, &cobra.Command{
		Use:   "rename ARCHIVE OLD|@N NEW",
		Short: "Change the name of an image in an archive, in place",
		Long: `Change the name of an image in an archive. Its other names stay. @N is an image
without a name, at that position counted from zero. Only a new table of
contents is written.`,
		Example: `  docker-archive rename images.tar alpine:3.20 registry.internal/alpine:3.20`,
	})
}

// tagCommand completes tag or rename.
func tagCommand(g *globalOptions, rename bool, cmd *cobra.Command) *cobra.Command {
	var o changeOptions
	cmd.Args = betweenArgs(2, 3, "an archive, a name in it and a new name")
	cmd.ValidArgsFunction = completeNames
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		archive, image, to, err := tagArguments(cmd, args)
		if err != nil {
			return err
		}
		options, err := o.options(g)
		if err != nil {
			return err
		}
		warnings, err := copying.Tag(cmd.Context(), archive, image, to, rename, options)
		if err != nil {
			return err
		}
		if o.quiet {
			return nil
		}
		for _, w := range warnings {
			fmt.Fprintf(cmd.ErrOrStderr(), "docker-archive: warning: %s\n", printable.String(w))
		}
		said := map[bool]string{false: "%s is also called %s\n", true: "%s is now called %s\n"}[rename]
		_, err = fmt.Fprintf(cmd.OutOrStdout(), said, printable.String(image), to)
		return err
	}
	o.register(cmd)
	return cmd
}

// tagArguments takes ARCHIVE OLD NEW and ARCHIVE:OLD NEW.
func tagArguments(cmd *cobra.Command, args []string) (archive, image string, to reference.NamedTagged, err error) {
	archive, image = archivePath(args[0]), args[1]
	if len(args) == 2 {
		var ok bool
		if archive, image, ok = naming.Split(archive); !ok || !isPath(archive) {
			if isArchive(args[0]) {
				hint := fmt.Sprintf("docker-archive %s %s OLD %s; its names: docker-archive list %s", cmd.Name(), shortened(args[0]), shortened(args[1]), shortened(args[0]))
				return "", "", nil, guessError{usagef("%s takes an archive, a name in it and a new name, but is given %q", cmd.Name(), args), hint}
			}
			if _, err := reference.ParseNormalizedNamed(args[0]); err == nil {
				hint := fmt.Sprintf("docker-archive %s images.tar %s %s; in a registry: docker-archive copy docker://%s docker://NEW", cmd.Name(), shortened(args[0]), shortened(args[1]), shortened(args[0]))
				return "", "", nil, guessError{usagef("%s changes an archive, and is given %q", cmd.Name(), args), hint}
			}
			return "", "", nil, usagef("%s takes an archive, a name in it and a new name, but is given %q", cmd.Name(), args)
		}
	}
	last := args[len(args)-1]
	named, err := reference.ParseNormalizedNamed(last)
	if err != nil {
		return "", "", nil, usagef("name %q: %w", shortened(last), err)
	}
	tagged, ok := reference.TagNameOnly(named).(reference.NamedTagged)
	if _, digested := named.(reference.Digested); !ok || digested {
		return "", "", nil, usagef("%q has a digest: images are called by names with tags", last)
	}
	return archive, image, tagged, nil
}

// archiveAndNames takes ARCHIVE NAME... and ARCHIVE:NAME.
func archiveAndNames(args []string) (archive string, names []string, ok bool) {
	archive = archivePath(args[0])
	if len(args) > 1 {
		return archive, args[1:], true
	}
	path, name, hasName := naming.Split(archive)
	return path, []string{name}, hasName && name != "" && isPath(path)
}
