package main

import (
	"errors"
	"fmt"
	"math"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/dockerarchive/dockerarchive/errdef"
	"github.com/dockerarchive/dockerarchive/internal/printable"
)

// usageError is a wrong command line.
type usageError struct{ error }

// Unwrap returns the error.
func (e usageError) Unwrap() error { return e.error }

func usagef(format string, args ...any) error {
	return usageError{fmt.Errorf(format, args...)}
}

// commandError is a usageError that names its command.
type commandError struct {
	error
	command string
}

// Unwrap returns the error.
func (e commandError) Unwrap() error { return e.error }

// usageHint says where to read about a command, or which command to use instead of a
// wrong one.
func usageHint(err error) string {
	var guessed guessError
	if errors.As(err, &guessed) {
		return "hint: " + printable.String(guessed.hint)
	}
	command := "docker-archive"
	var of commandError
	if errors.As(err, &of) {
		command = of.command
	}
	var counted countError
	if errors.As(err, &counted) && counted.example != "" {
		return fmt.Sprintf("hint: %s\nSee '%s --help'.", counted.example, command)
	}
	return fmt.Sprintf("See '%s --help'.", command)
}

// usageArgs makes a cobra validator's errors usage errors.
func usageArgs(validate cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := validate(cmd, args); err != nil {
			return usageError{err}
		}
		return nil
	}
}

// exactArgs demands n arguments; what names them: "one archive".
func exactArgs(n int, what string) cobra.PositionalArgs { return countedArgs(n, n, what) }

// atLeast demands n arguments or more; what names them: "archives".
func atLeast(n int, what string) cobra.PositionalArgs { return countedArgs(n, math.MaxInt, what) }

// betweenArgs demands a number of arguments between two bounds; what names them.
func betweenArgs(least, most int, what string) cobra.PositionalArgs {
	return countedArgs(least, most, what)
}

func countedArgs(least, most int, what string) cobra.PositionalArgs {
	return usageArgs(func(cmd *cobra.Command, args []string) error {
		switch {
		case least <= len(args) && len(args) <= most:
			return nil
		case len(args) == 0:
			return countError{fmt.Errorf("%s takes %s", cmd.Name(), what), countHint(cmd, args)}
		}
		return countError{fmt.Errorf("%s takes %s, but is given %q", cmd.Name(), what, args), countHint(cmd, args)}
	})
}

// countError is the error of a line with too few or too many arguments, with a hint.
type countError struct {
	error
	example string
}

// exampleOf returns the first example of a command.
func exampleOf(cmd *cobra.Command) string {
	first, _, _ := strings.Cut(cmd.Example, "\n")
	return strings.TrimSpace(first)
}

// knownCommand is for the command of commands: any argument it gets is an unknown
// command.
func knownCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	if hint, _ := guess(args); hint != "" {
		return usagef("unknown command %q", args[0]) // Its hint says more than a likeness.
	}
	var like []string
	for distance := 1; distance <= nearness(args[0]) && len(like) == 0; distance++ { // The nearest: some names are short.
		cmd.SuggestionsMinimumDistance = distance
		like = cmd.SuggestionsFor(args[0])
	}
	return usagef("unknown command %q%s", args[0], didYouMean("", like))
}

// nearness is how many letters a word may be away from the one that may be meant: short
// words are near to others that mean something else.
func nearness(word string) int {
	if len(word) < 5 {
		return 1
	}
	return 2
}

// knownTopic fails if help is asked for an unknown command. cobra's help itself would
// only print the known ones.
func knownTopic(cmd *cobra.Command, args []string) error {
	root := cmd.Root()
	if cmd.Name() != "help" || len(args) == 0 || args[0] == "" {
		return nil
	}
	if found, _, err := root.Find(args); err != nil || found == root {
		return knownCommand(root, args)
	}
	return nil
}

// unknownFlag says which flag an unknown one may have meant.
func unknownFlag(cmd *cobra.Command, err error) error {
	var unknown *pflag.NotExistError
	if errors.As(err, &unknown) {
		if hint := guessFlag(cmd, unknown); hint != "" {
			return guessError{commandError{usageError{err}, cmd.CommandPath()}, hint}
		}
	}
	if unknown == nil || unknown.GetSpecifiedShortnames() != "" {
		return commandError{usageError{err}, cmd.CommandPath()}
	}
	// cobra knows which of its commands is like a word.
	flags := &cobra.Command{SuggestionsMinimumDistance: nearness(unknown.GetSpecifiedName())}
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if !f.Hidden {
			flags.AddCommand(&cobra.Command{Use: f.Name, Run: func(*cobra.Command, []string) {}})
		}
	})
	return commandError{usagef("%w%s", err, didYouMean("--", flags.SuggestionsFor(unknown.GetSpecifiedName()))), cmd.CommandPath()}
}

func didYouMean(prefix string, names []string) string {
	if len(names) == 0 {
		return ""
	}
	return fmt.Sprintf("; did you mean %s%s?", prefix, strings.Join(names, " or "+prefix))
}

// tellUsage adds the command to the errors of wrong command lines.
func tellUsage(root *cobra.Command) {
	root.SetFlagErrorFunc(unknownFlag)
	for _, cmd := range append(root.Commands(), root) {
		validate, run := cmd.Args, cmd.RunE
		cmd.Args = func(cmd *cobra.Command, args []string) error {
			if validate == nil {
				return nil
			}
			return ofCommand(cmd, validate(cmd, args))
		}
		if run != nil {
			cmd.RunE = func(cmd *cobra.Command, args []string) error { return ofCommand(cmd, run(cmd, args)) }
		}
	}
}

// waitError is an error of a command that can wait for others, with --wait.
type waitError struct{ error }

// Unwrap returns the error.
func (e waitError) Unwrap() error { return e.error }

func ofCommand(cmd *cobra.Command, err error) error {
	if errors.Is(err, errdef.ErrBusy) && cmd.Flags().Lookup("wait") != nil {
		return waitError{err}
	}
	var usage usageError
	if errors.As(err, &usage) {
		return commandError{err, cmd.CommandPath()}
	}
	return err
}
