package main

import (
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"go.podman.io/image/v5/docker/reference"

	"github.com/dockerarchive/dockerarchive/archive"
	"github.com/dockerarchive/dockerarchive/internal/naming"
)

// hide removes flags from the help that exist only for users of another command.
func hide(f *pflag.FlagSet, names ...string) {
	for _, name := range names {
		f.Lookup(name).Hidden = true
	}
}

// registerQuiet adds -q to a command that says nothing besides its result.
func registerQuiet(f *pflag.FlagSet, quiet *bool) {
	f.BoolVarP(quiet, "quiet", "q", false, "print no warnings")
}

// completeArchives has the shell complete the names of files.
func completeArchives(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return nil, cobra.ShellCompDirectiveDefault
}

// completeImages completes ARCHIVE:NAME by the names in the archive.
func completeImages(cmd *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
	path, _, ok := naming.Split(archivePath(typed))
	if !ok {
		return nil, cobra.ShellCompDirectiveDefault
	}
	prefix := typed[:len(typed)-len(strings.TrimPrefix(archivePath(typed), path+":"))]
	var completed []string
	for _, name := range namesIn(cmd, path) {
		if strings.HasPrefix(prefix+name, typed) {
			completed = append(completed, prefix+name)
		}
	}
	return completed, cobra.ShellCompDirectiveNoFileComp
}

// completeNames completes ARCHIVE NAME...: the names in the archive that is the first
// argument.
func completeNames(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
	if len(args) == 0 {
		return nil, cobra.ShellCompDirectiveDefault
	}
	var completed []string
	for _, name := range namesIn(cmd, archivePath(args[0])) {
		if named, err := reference.ParseNormalizedNamed(name); err == nil && !strings.HasPrefix(name, typed) {
			name = reference.FamiliarString(named)
		}
		if strings.HasPrefix(name, typed) {
			completed = append(completed, name)
		}
	}
	return completed, cobra.ShellCompDirectiveNoFileComp
}

// namesIn returns the names in an archive. It leaves out names that cannot be typed, and returns
// none if the archive cannot be read.
func namesIn(cmd *cobra.Command, path string) (names []string) {
	a, err := archive.Open(cmd.Context(), path)
	if err != nil {
		return nil
	}
	defer a.Close()
	for _, img := range a.Images() {
		for _, name := range img.Names {
			if !strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r > '~' }) {
				names = append(names, name)
			}
		}
	}
	return names
}
