package main

import (
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// All packages are initialized whatever command runs, so ours allocate next to nothing then.
func TestStartAllocatesLittle(t *testing.T) {
	const most = 160 << 10 // They allocate 87 KB, mostly tables of guesses, and variables of tests 37 KB.
	self, err := os.Executable()
	require.NoError(t, err)
	start := exec.Command(self, "-test.run=^$")
	start.Env = append(os.Environ(), "GODEBUG=inittrace=1")
	out, err := start.CombinedOutput()
	require.NoError(t, err, "%s", out)

	ours, total := "", 0
	for _, found := range regexp.MustCompile(`init (github\.com/dockerarchive/\S+) @.*, ([0-9]+) bytes`).FindAllStringSubmatch(string(out), -1) {
		bytes, err := strconv.Atoi(found[2])
		require.NoError(t, err)
		ours += strings.Join(found[1:], " ") + "\n"
		total += bytes
	}
	assert.Contains(t, ours, "internal/naming")
	assert.Less(t, total, most, ours)
}
