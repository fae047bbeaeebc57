package main

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

// The error for a typo says what may have been meant, and where to read on.
func TestWrongCommandLines(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"sav"}, "unknown command \"sav\"; did you mean save?\nSee 'docker-archive --help'.\n"},
		{[]string{"lst"}, `unknown command "lst"; did you mean list?`},
		{[]string{"images"}, "list takes archives\nhint: docker-archive list images.tar\nSee 'docker-archive list --help'.\n"},
		{[]string{"help", "sav"}, "unknown command \"sav\"; did you mean save?\nSee "},
		{[]string{"frobnicate"}, "unknown command \"frobnicate\"\nSee "},
		{[]string{"save", "--otput", "x", "y"}, "unknown flag: --otput; did you mean --output?\nSee 'docker-archive save --help'.\n"},
		{[]string{"copy", "--tls-verfy"}, "unknown flag: --tls-verfy; did you mean --tls-verify?\nSee 'docker-archive copy --help'.\n"},
		{[]string{"save", "--platfrom=linux/arm64"}, "did you mean --platform?"},
		{[]string{"save", "-x"}, "unknown shorthand flag: 'x' in -x\nSee 'docker-archive save --help'.\n"},
		{[]string{"list"}, "list takes archives\nhint: docker-archive list images.tar\nSee 'docker-archive list --help'.\n"},
		{[]string{"verify"}, "verify takes one archive\n"},
		{[]string{"compact", "a", "b"}, `compact takes one archive, but is given ["a" "b"]`},
		{[]string{"add"}, "add takes an archive and images\n"},
		{[]string{"remove", "a"}, `remove takes an archive and names, but is given ["a"]`},
		{[]string{"push", "a"}, `push takes archives and a registry, but is given ["a"]`},
		{[]string{"load"}, "load takes archives, or images in archives\n"},
		{[]string{"serve"}, "serve takes archives or directories\n"},
		{[]string{"make", "a", "b"}, `make takes one destination, but is given ["a" "b"]`},
		{[]string{"inspect"}, "inspect takes one image\n"},
		{[]string{"copy", "a"}, "copy takes a source and a destination, but is given [\"a\"]\nhint: docker-archive copy docker://alpine:3.20 docker-archive:alpine.tar:alpine:3.20\nSee 'docker-archive copy --help'.\n"},
		{[]string{"save"}, "there is no image to save\nSee 'docker-archive save --help'.\n"},
	} {
		_, errOut, status := command(t, c.args...)
		assert.Equal(t, exitUsage, status, c.args)
		assert.Contains(t, errOut, c.want)
	}
}

// Help names the layouts where people look for them.
func TestHelpNamesTheLayouts(t *testing.T) {
	for _, name := range []string{"", "copy", "save"} {
		out, _ := succeeds(t, "help", name)
		assert.Contains(t, out, "image-archive:", name)
		assert.Contains(t, out, "Examples:", name)
	}
}
