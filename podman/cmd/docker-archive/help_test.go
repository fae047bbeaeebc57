package main

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/podman/internal/imagetest"
)

// eachCommand calls f for the command itself and all others that help shows.
func eachCommand(f func(*cobra.Command)) {
	var each func(*cobra.Command)
	each = func(cmd *cobra.Command) {
		f(cmd)
		for _, c := range cmd.Commands() {
			if !c.Hidden {
				each(c)
			}
		}
	}
	each(newRootCommand())
}

// helpOf returns the help of a command.
func helpOf(cmd *cobra.Command, everything bool) string {
	var b strings.Builder
	printHelp(&b, cmd, everything)
	return b.String()
}

// The help of every command has a short text, fits in a terminal, and explains each flag in
// one line.
func TestHelpIsShort(t *testing.T) {
	eachCommand(func(cmd *cobra.Command) {
		name := cmd.CommandPath()
		assert.LessOrEqual(t, len(strings.Split(cmd.Long, "\n")), 12, name)
		assert.LessOrEqual(t, len(cmd.Short), 62, name)
		assert.False(t, strings.HasSuffix(cmd.Short, "."), name)
		for _, everything := range []bool{false, true} {
			for line := range strings.Lines(helpOf(cmd, everything)) {
				assert.LessOrEqual(t, len([]rune(strings.TrimSuffix(line, "\n"))), helpWidth, name+": "+line)
			}
		}
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			if f.Hidden || f.Deprecated != "" {
				return
			}
			_, usage := pflag.UnquoteUsage(f)
			assert.Less(t, len([]rune(usage)), 70, "%s --%s: %s", name, f.Name, usage)
			assert.NotEmpty(t, usage, "%s --%s", name, f.Name)
			assert.False(t, strings.HasSuffix(usage, "."), "%s --%s", name, f.Name)
			first, second := rune(f.Usage[0]), rune(f.Usage[1])
			assert.True(t, !unicode.IsUpper(first) || unicode.IsUpper(second), "%s --%s: %s", name, f.Name, usage)
		})
	})
}

// Each flag is in one section of help, and no section has an unknown flag.
func TestHelpGroups(t *testing.T) {
	listed := map[string]int{}
	for _, g := range helpGroups {
		for _, flag := range strings.Fields(g.flags + " " + g.rare) {
			listed[flag]++
			assert.Equal(t, 1, listed[flag], flag)
		}
	}
	there, places := map[string]bool{}, map[string]bool{}
	eachCommand(func(cmd *cobra.Command) {
		cmd.InitDefaultHelpFlag()
		cmd.InitDefaultVersionFlag()
		visit := func(f *pflag.Flag) {
			there[f.Name], places[cmd.Name()+" "+f.Name] = true, true
			group, _ := groupOf(cmd, f.Name)
			assert.True(t, group >= 0 || f.Hidden || f.Deprecated != "", "%s --%s is in no section", cmd.Name(), f.Name)
		}
		cmd.LocalFlags().VisitAll(visit)
		cmd.InheritedFlags().VisitAll(visit)
	})
	for flag := range listed {
		assert.True(t, there[flag], "there is no --%s", flag)
	}
	for place, title := range helpPlaces {
		assert.True(t, places[place], place)
		assert.True(t, slices.ContainsFunc(helpGroups, func(g helpGroup) bool { return g.title == title }), place)
	}
}

// Every command is quiet with -q.
func TestEveryCommandTakesQuiet(t *testing.T) {
	eachCommand(func(cmd *cobra.Command) {
		if cmd.HasParent() {
			assert.NotNil(t, cmd.Flags().ShorthandLookup("q"), cmd.CommandPath())
		}
	})
}

// Few people need all flags: --help --all shows them.
func TestHelpForAll(t *testing.T) {
	for _, c := range []struct {
		args string
		all  bool
	}{
		{"save --help", false}, {"save --help --all", true}, {"help save", false}, {"help save --all", true}, {"help --all save", true},
		{"copy --help", false}, {"copy --help --all", true}, {"--help", false}, {"--help --all", true},
	} {
		out, _ := succeeds(t, strings.Fields(c.args)...)
		assert.Equal(t, c.all, strings.Contains(out, "--registries-conf"), c.args)
		assert.Equal(t, !c.all, strings.Contains(out, "--help --all\n"), c.args)
	}
	_, _, status := command(t, "list", "--all", "x.tar")
	assert.Equal(t, exitUsage, status)
}

// commandsPage is the page of docs that has the help of all commands.
func commandsPage() string {
	var b strings.Builder
	b.WriteString("# Commands\n\n`make generate` writes this page from `docker-archive COMMAND --help --all`.\n")
	eachCommand(func(cmd *cobra.Command) {
		if cmd.Name() == "help" {
			return
		}
		help := helpOf(cmd, true)
		if cmd.HasParent() { // The flags that all commands have are those of the first.
			help, _, _ = strings.Cut(help, "\nGeneral:\n")
		}
		fmt.Fprintf(&b, "\n## %s\n\n```text\n%s```\n", cmd.CommandPath(), help)
	})
	return b.String()
}

// docs/commands.md equals the text of help.
func TestCommandsPage(t *testing.T) {
	t.Setenv("REGISTRY_AUTH_FILE", "") // The default of a flag.
	path := imagetest.Testdata(t, "../docs/commands.md")
	if os.Getenv("DOCKERARCHIVE_GENERATE") != "" {
		require.NoError(t, os.WriteFile(path, []byte(commandsPage()), 0o600))
	}
	page, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.Equal(t, commandsPage(), string(page), "make generate writes it again")
}
