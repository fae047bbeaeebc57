package main

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"go.podman.io/image/v5/docker/reference"
)

// synonyms are commands of skopeo, crane, regctl, oras, docker and podman that mean the same as one
// here, with the words of this one. Words of two parts go before words of one.
var synonyms = map[string][]string{
	"image ls":      {"list"},
	"image list":    {"list"},
	"image inspect": {"inspect"},
	"image history": {"layers"},
	"image tree":    {"layers"},
	"image diff":    {"diff"},
	"image rm":      {"remove"},
	"image remove":  {"remove"},
	"image untag":   {"remove"},
	"image tag":     {"tag"},
	"image save":    {"save"},
	"image load":    {"load"},
	"image push":    {"push"},

	"image digest":   {"digest"},
	"manifest head":  {"digest"},
	"resolve":        {"digest"},
	"image get-file": {"cat"},
	"get-file":       {"cat"},

	"tag ls":    {"tags"},
	"tag list":  {"tags"},
	"repo tags": {"tags"},

	"manifest":              {"inspect", "--raw"},
	"manifest get":          {"inspect", "--raw"},
	"manifest fetch":        {"inspect", "--raw"},
	"manifest inspect":      {"inspect", "--raw"},
	"image manifest":        {"inspect", "--raw"},
	"config":                {"inspect", "--config"},
	"config get":            {"inspect", "--config"},
	"image config":          {"inspect", "--config"},
	"manifest fetch-config": {"inspect", "--config"},
}

// imageWords are other programs' names for their commands for images. docker's comes first.
var imageWords = []string{"image", "images", "i"}

// translate turns a command line of another program into ours with the same meaning, and moves flags
// before a command behind it. Our own lines, and unknown ones, do not change.
func translate(root *cobra.Command, args []string) []string {
	if len(args) > 0 && args[0] == "help" {
		return args
	}
	return flagsBehind(root, translateWords(root, args))
}

// flagsBehind moves flags before one of our commands behind it. Other programs have flags for all
// their commands; here most flags belong to one command.
func flagsBehind(root *cobra.Command, args []string) []string {
	at := wordsAt(root, args)
	if len(at) == 0 || at[0] == 0 || slices.Contains(args[:at[0]], "--") {
		return args
	}
	name := args[at[0] : at[0]+1]
	if own, _, err := root.Find(name); err != nil || own == root {
		return args
	}
	return slices.Concat(name, args[:at[0]], args[at[0]+1:])
}

func translateWords(root *cobra.Command, args []string) []string {
	at := wordsAt(root, args)
	if len(at) > 1 && slices.Contains(imageWords[1:], args[at[0]]) && !isPath(args[at[1]]) {
		name := "image " + args[at[1]]
		if synonyms[name] != nil || guesses[name] != "" { // As containerd's ctr has it.
			args = slices.Replace(slices.Clone(args), at[0], at[0]+1, "image")
		}
	}
	if len(at) == 2 && args[at[0]] == "ls" && isRepository(args[at[1]]) { // As crane has it.
		return slices.Replace(slices.Clone(args), at[0], at[0]+1, "tags")
	}
	for n := min(len(at), 2); n > 0; n-- {
		words := make([]string, n)
		for i := range words {
			words[i] = strings.ToLower(args[at[i]])
		}
		name := strings.Join(words, " ")
		if own, ok := synonyms[name]; ok {
			rest := slices.Clone(args)
			if n == 2 {
				rest = slices.Delete(rest, at[1], at[1]+1)
			}
			return slices.Replace(rest, at[0], at[0]+1, own...)
		}
		if _, ok := guesses[name]; ok {
			return args
		}
	}
	return args
}

// isRepository reports whether a word is HOST/NAME without a tag, and no file.
func isRepository(word string) bool {
	named, err := reference.ParseNormalizedNamed(word)
	if err != nil || !reference.IsNameOnly(named) || isArchive(word) {
		return false
	}
	return strings.HasPrefix(word, reference.Domain(named)+"/")
}
