package main

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// guessError is a command line of another program, with the line of this one.
type guessError struct {
	error
	hint string
}

// Unwrap returns the error.
func (e guessError) Unwrap() error { return e.error }

// hintedError is an error with a hint for the user.
type hintedError struct {
	error
	hint string
}

// Unwrap returns the error.
func (e hintedError) Unwrap() error { return e.error }

// guess returns the line to use instead of an unknown command, or "", and how many words name that
// command: as many as possible.
func guess(words []string) (hint string, n int) {
	for n := min(len(words), 3); n > 0; n-- {
		if hint, ok := guesses[strings.ToLower(strings.Join(words[:n], " "))]; ok {
			return hint, n
		}
	}
	if len(words) == 0 {
		return "", 0
	}
	return guessImage(words[0]), 1
}

// guessImage returns the line for an image or an archive where a command should be.
func guessImage(word string) string {
	switch {
	case isArchive(word):
		return "docker-archive list " + shortened(word)
	case strings.ContainsAny(word, ":/"):
		return "docker-archive save -o app.tar " + shortened(word)
	}
	return ""
}

// guessFlag returns the replacement for a flag that a command lacks, or "".
func guessFlag(cmd *cobra.Command, unknown *pflag.NotExistError) string {
	flag := "--" + unknown.GetSpecifiedName()
	if unknown.GetSpecifiedShortnames() != "" {
		flag = "-" + unknown.GetSpecifiedName()
	}
	if hint, ok := flagGuesses[cmd.Name()+" "+flag]; ok {
		return hint
	}
	if hint := otherSide(cmd, flag); hint != "" {
		return hint
	}
	hint := flagGuesses[flag]
	if hint == isArgument {
		return hint + cmp.Or(exampleOf(cmd), "docker-archive list images.tar")
	}
	if name, ok := strings.CutPrefix(hint, "--"); ok && hint != "" {
		name, _, _ = strings.Cut(strings.FieldsFunc(name, func(r rune) bool { return strings.ContainsRune(" ,;[", r) })[0], "=")
		if cmd.Flags().Lookup(name) == nil {
			return otherSide(cmd, "--"+name) // It may be "", too.
		}
	}
	return hint
}

// isArgument is the hint for flags whose value is an argument here; an example follows.
const isArgument = "no flag is needed: "

// otherSide returns the flag for both sides of a copy if the command has that instead of a flag for
// one side, or the flags for the two sides if it has those, or "".
func otherSide(cmd *cobra.Command, flag string) string {
	for _, side := range []string{"--src-", "--dest-"} {
		name, ok := strings.CutPrefix(flag, side)
		switch {
		case !ok || cmd.Flags().Lookup(name) == nil:
		case name == "tls-verify":
			return "--tls-verify=false"
		default:
			return "--" + name
		}
	}
	if name := strings.TrimPrefix(flag, "--"); cmd.Flags().Lookup("src-"+name) != nil && cmd.Flags().Lookup("dest-"+name) != nil {
		return "--src-" + name + " or --dest-" + name
	}
	return ""
}

// explain completes the error of a command line that has no command of ours, which the
// flags before it may hide.
func explain(root *cobra.Command, args []string, err error) error {
	var usage usageError
	if err == nil || !errors.As(err, &usage) {
		return err
	}
	words := wordsOf(root, args)
	if len(words) > 1 && words[0] == "help" {
		words = words[1:]
	}
	if len(words) == 0 {
		return err
	}
	own, _, notFound := root.Find(words[:1])
	isOwn := notFound == nil && own != root
	hint, n := guess(words)
	if hint != "" && n == 1 && !isOwn && len(words) == 2 && guessImage(words[0]) == hint && guessImage(words[1]) != "" {
		hint = fmt.Sprintf("docker-archive copy %s %s", shortened(words[0]), shortened(words[1]))
	}
	switch {
	case hint != "" && (n > 1 || !isOwn):
		return guessError{commandError{usagef("unknown command %q", strings.Join(words[:n], " ")), root.CommandPath()}, hint}
	case !isOwn && words[0] == args[0]: // The command is wrong, so its flags do not matter.
		return commandError{knownCommand(root, words[:1]), root.CommandPath()}
	}
	return err
}

// wordsOf returns the arguments that can be the names of commands.
func wordsOf(root *cobra.Command, args []string) (words []string) {
	for _, i := range wordsAt(root, args) {
		words = append(words, args[i])
	}
	return words
}

// wordsAt returns the indexes of the arguments that can be names of commands. The word behind an
// unknown flag is the flag's value, unless it is a command of any program.
func wordsAt(root *cobra.Command, args []string) (at []int) {
	valued := false
	for i, arg := range args {
		switch {
		case arg == "--":
			for i++; i < len(args); i++ {
				at = append(at, i)
			}
			return at
		case strings.HasPrefix(arg, "-"):
			valued = len(at) == 0 && !strings.Contains(arg, "=") && !isSwitch(root, arg)
			continue
		case valued && !isCommand(root, arg):
			valued = false // The value of the flag.
			continue
		}
		valued, at = false, append(at, i)
	}
	return at
}

// isSwitch reports whether a flag is one of ours that takes no value.
func isSwitch(root *cobra.Command, arg string) bool {
	var flag *pflag.Flag
	if name, long := strings.CutPrefix(arg, "--"); long {
		flag = root.PersistentFlags().Lookup(name)
	}
	return flag != nil && flag.NoOptDefVal != ""
}

func isCommand(root *cobra.Command, word string) bool {
	own, _, err := root.Find([]string{word})
	return err == nil && own != root || guesses[word] != "" || synonyms[word] != nil || slices.Contains(imageWords, word)
}
