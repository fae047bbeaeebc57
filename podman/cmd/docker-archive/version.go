package main

import (
	"encoding/json"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// The linker sets these where the build knows its repository: make build and make dist. They are
// empty after go install and go build, and the build information stands in.
var (
	linkedVersion string // the tag, or git describe of the commit
	linkedCommit  string
	linkedDate    string // of the commit, as RFC 3339 has it, in UTC
)

// versionJSON describes the source of this program.
type versionJSON struct {
	Version   string `json:"version"`
	Commit    string `json:"commit,omitempty"`
	Date      string `json:"date,omitempty"`
	GoVersion string `json:"goVersion"`
	Platform  string `json:"platform"`
}

// develVersion is Go's word for a build of source that has no version.
const develVersion = "(devel)"

func builtFrom() versionJSON {
	b := versionJSON{linkedVersion, linkedCommit, linkedDate, runtime.Version(), runtime.GOOS + "/" + runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		info = &debug.BuildInfo{}
	}
	if b.Version == "" {
		b.Version = info.Main.Version
	}
	if b.Version == "" {
		b.Version = develVersion
	}
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision" && b.Commit == "":
			b.Commit = s.Value
		case s.Key == "vcs.time" && b.Date == "":
			b.Date = s.Value
		}
	}
	return b
}

// version returns the version in one line.
func version() string {
	b := builtFrom()
	if b.Version == develVersion && b.Commit != "" {
		return develVersion + " " + b.Commit
	}
	return b.Version
}

// newVersionCommand returns the command for the flag --version, for users who look for a
// command.
func newVersionCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Example: `  docker-archive version
  docker-archive version --json`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if asJSON {
				encoder := json.NewEncoder(cmd.OutOrStdout())
				encoder.SetIndent("", "  ")
				return encoder.Encode(builtFrom())
			}
			_, err := fmt.Fprintln(cmd.OutOrStdout(), "docker-archive version", cmd.Root().Version) // As for --version.
			return err
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print version, commit, Go version and platform as JSON")
	return cmd
}
