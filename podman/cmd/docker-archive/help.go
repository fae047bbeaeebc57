package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// helpGroup is a section of help: its flags, and those that few people need.
type helpGroup struct{ title, flags, rare string }

// helpGroups are the sections of flags in help, in this order. Each flag is in one of them; the flags that
// few people need are shown by --help --all only, and in the manual.
var helpGroups = []helpGroup{
	{
		title: "Which images",
		flags: "platform all-platforms all-tags all referrers from-file from-yaml name map additional-tag key attestation input",
		rare: "multi-arch override-os override-arch override-variant any-platform keep-index skip-missing " +
			"skip-non-distributable signed-as trusted-root keep-referrers keep-untagged keep-host",
	},
	{title: "Files and layers", flags: "container rebase layer add remove opaque diff rootfs squash exclude chown chmod path depth sort",
		rare: "uid-map gid-map strip-setid strip-xattrs rewrite-timestamp"},
	{title: "Config of the image", flags: "entrypoint cmd env label annotation volume user workdir change set-platform timestamp",
		rare: "unset-env unset-label clear-labels unset-annotation clear-annotations stop-signal shell healthcheck onbuild author " +
			"os-version os-feature parent container-id docker-version omit-history created-by message"},
	{
		title: "How",
		flags: "layout format compress split without delta base force resume jobs keep-going dry-run wait full no-unpack " +
			"preserve-digests remove-signatures times chunk-size print-mirror no-web min-efficiency",
		rare: "text-only no-sync unconditional abort-upload retry-times retry-delay dest-compress dest-compress-format dest-compress-level dest-decompress " +
			"dest-oci-accept-uncompressed-layers dest-precompute-digests sign-by-sigstore-private-key sign-passphrase-file " +
			"sign-identity encryption-key encrypt-layer decryption-key",
	},
	{title: "Where", flags: "output tag to host context address namespace listen port tls-cert tls-key htpasswd metrics cache cache-size", rare: "snapshotter"},
	{
		title: "Registry access",
		flags: "creds username password-stdin authfile tls-verify cert-dir src-creds dest-creds src-tls-verify dest-tls-verify",
		rare: "password no-creds registry-token daemon-host shared-blob-dir " +
			"src-username src-password src-password-stdin src-no-creds src-registry-token src-cert-dir src-daemon-host src-shared-blob-dir src-authfile " +
			"dest-username dest-password dest-password-stdin dest-no-creds dest-registry-token dest-cert-dir dest-daemon-host dest-shared-blob-dir dest-authfile",
	},
	{title: "Output", flags: "quiet json digestfile iidfile raw config long layers stat no-trunc no-descriptions", rare: "sha256"},
	{title: "General", flags: "help version debug",
		rare: "command-timeout insecure-policy policy registries-conf registries.d tmpdir"},
}

// helpPlaces are flags that mean another thing in one command than elsewhere.
var helpPlaces = map[string]string{
	"make port":      "Config of the image",
	"make config":    "Config of the image",
	"make base":      "Files and layers",
	"list format":    "Output",
	"inspect format": "Output",
}

// groupOf returns the index of the section that a flag of a command is in, and whether few people need it.
// The index is -1 for a flag that is in none.
func groupOf(cmd *cobra.Command, flag string) (group int, rare bool) {
	for n, g := range helpGroups {
		often, seldom := slices.Contains(strings.Fields(g.flags), flag), slices.Contains(strings.Fields(g.rare), flag)
		if !often && !seldom {
			continue
		}
		if title, ok := helpPlaces[cmd.Name()+" "+flag]; ok {
			for n, g := range helpGroups {
				if g.title == title {
					return n, seldom
				}
			}
		}
		return n, seldom
	}
	return -1, false
}

// helpWidth is the width that help fits in.
const helpWidth = 80

// commandGroups are the sections of commands in the help of docker-archive itself.
var commandGroups = []struct{ id, title, commands string }{
	{"write", "Write and change archives:", "save copy add remove tag rename compact make"},
	{"look", "Look inside:", "list inspect verify files cat layers diff browse"},
	{"move", "Move on:", "load push serve export extract"},
	{"other", "Other:", "completion help version"},
}

// beHelpful gives all commands help in sections, -q, and --help --all.
func beHelpful(root *cobra.Command) {
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	for _, g := range commandGroups {
		root.AddGroup(&cobra.Group{ID: g.id, Title: g.title})
		for _, name := range strings.Fields(g.commands) {
			cmd, _, _ := root.Find([]string{name})
			cmd.GroupID = g.id
		}
	}
	completion, _, _ := root.Find([]string{"completion"})
	shortenCompletion(completion)
	for _, cmd := range slices.Concat(root.Commands(), completion.Commands()) {
		if cmd.Flags().Lookup("quiet") == nil {
			registerQuiet(cmd.Flags(), new(bool))
		}
	}
	all := false
	help, _, _ := root.Find([]string{"help"})
	help.Flags().BoolVar(&all, "all", false, "show all flags, also those that few people need")
	root.SetHelpFunc(func(cmd *cobra.Command, _ []string) {
		everything := all
		if own := cmd.Flags().Lookup("all"); own != nil && own.Changed {
			everything = true
		}
		printHelp(cmd.OutOrStdout(), cmd, everything)
	})
	unknown := root.FlagErrorFunc()
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		if isHelpForAll(cmd, err) {
			all = true
			return pflag.ErrHelp
		}
		return unknown(cmd, err)
	})
}

// isHelpForAll reports whether an error is about --all behind --help, where --all is no flag.
func isHelpForAll(cmd *cobra.Command, err error) bool {
	unknown, ok := err.(*pflag.NotExistError)
	return ok && unknown.GetSpecifiedName() == "all" && cmd.Flags().Changed("help")
}

// shortenCompletion has the help of completion say what to do, in a line for each shell.
func shortenCompletion(completion *cobra.Command) {
	completion.Short = "Print the script that completes command lines"
	completion.Long = "Print the script with which a shell completes commands, flags and the names of\nimages in archives."
	completion.Example = "  docker-archive completion bash > docker-archive.bash"
	for _, cmd := range completion.Commands() {
		cmd.Short = "Print the script for " + cmd.Name()
		cmd.Long = map[string]string{
			"bash":       "Print the script for bash, which needs the package bash-completion.",
			"zsh":        "Print the script for zsh, which needs 'autoload -U compinit; compinit'.",
			"fish":       "Print the script for fish.",
			"powershell": "Print the script for PowerShell.",
		}[cmd.Name()]
		cmd.Example = map[string]string{
			"bash":       "  source <(docker-archive completion bash)",
			"zsh":        "  source <(docker-archive completion zsh)",
			"fish":       "  docker-archive completion fish | source",
			"powershell": "  docker-archive completion powershell | Out-String | Invoke-Expression",
		}[cmd.Name()]
	}
}

// printHelp prints the help of a command: how to use it, examples and flags; with everything, also
// those flags that few people need.
func printHelp(w io.Writer, cmd *cobra.Command, everything bool) {
	text := cmd.Long
	if text == "" {
		text = cmd.Short + "."
	}
	fmt.Fprintf(w, "%s\n\nUsage:\n", strings.TrimSpace(text))
	if cmd.Runnable() {
		fmt.Fprintf(w, "  %s\n", cmd.UseLine())
	}
	if cmd.HasAvailableSubCommands() {
		fmt.Fprintf(w, "  %s [command]\n", cmd.CommandPath())
	}
	if len(cmd.Aliases) > 0 {
		fmt.Fprintf(w, "\nAliases:\n  %s\n", cmd.NameAndAliases())
	}
	if cmd.HasExample() {
		fmt.Fprintf(w, "\nExamples:\n%s\n", cmd.Example)
	}
	printCommands(w, cmd)
	hidden := printFlags(w, cmd, everything)
	if cmd.HasAvailableSubCommands() {
		fmt.Fprintf(w, "\nHelp for a command: %s [command] --help\n", cmd.CommandPath())
	}
	if hidden > 0 {
		fmt.Fprintf(w, "\n%d more flags: %s --help --all\n", hidden, cmd.CommandPath())
	}
}

func printCommands(w io.Writer, cmd *cobra.Command) {
	ids := []string{""}
	titles := map[string]string{"": "Commands:"}
	for _, g := range cmd.Groups() {
		ids, titles[g.ID] = append(ids, g.ID), g.Title
	}
	for _, id := range ids {
		title := "\n" + titles[id] + "\n"
		for _, c := range cmd.Commands() {
			if c.GroupID == id && (c.IsAvailableCommand() || c.Name() == "help") {
				fmt.Fprintf(w, "%s  %-12s %s\n", title, c.Name(), c.Short)
				title = ""
			}
		}
	}
}

// printFlags prints the flags of a command in their sections, and returns how many it left out.
func printFlags(w io.Writer, cmd *cobra.Command, everything bool) (hidden int) {
	groups := make([]*pflag.FlagSet, len(helpGroups))
	cmd.InitDefaultHelpFlag()
	add := func(f *pflag.Flag) {
		n, rare := groupOf(cmd, f.Name)
		switch {
		case f.Hidden || f.Deprecated != "":
			return
		case rare && !everything:
			hidden++
			return
		case n < 0:
			n = len(groups) - 1
		}
		if groups[n] == nil {
			groups[n] = pflag.NewFlagSet("", pflag.ContinueOnError)
		}
		groups[n].AddFlag(f)
	}
	cmd.NonInheritedFlags().VisitAll(add)
	cmd.InheritedFlags().VisitAll(add)
	for n, flags := range groups {
		if flags != nil {
			fmt.Fprintf(w, "\n%s:\n%s", helpGroups[n].title, flags.FlagUsagesWrapped(helpWidth))
		}
	}
	return hidden
}
