//go:build man

package main

import (
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

// manCommands returns the hidden command that writes the manual pages, for packagers. Only builds
// with the tag man have it: its parser of Markdown takes time and memory whenever a command starts.
func manCommands() []*cobra.Command {
	return []*cobra.Command{{
		Use:    "man DIRECTORY",
		Short:  "Write the manual pages to a directory",
		Hidden: true,
		Args:   exactArgs(1, "one directory"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := os.MkdirAll(args[0], 0o755); err != nil {
				return err
			}
			// The commit's date, so that the pages are the same whenever they are made.
			date, err := time.Parse(time.RFC3339, builtFrom().Date)
			if err != nil {
				date = time.Unix(0, 0).UTC() // A build that does not know its commit.
			}
			header := &doc.GenManHeader{Section: "1", Source: "docker-archive " + cmd.Root().Version, Date: &date}
			cmd.Root().DisableAutoGenTag = true
			if err := doc.GenManTree(cmd.Root(), header, args[0]); err != nil {
				return fmt.Errorf("writing the manual pages to %s: %w", args[0], err)
			}
			return nil
		},
	}}
}
