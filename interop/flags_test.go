//go:build interop

package interop

import (
	"os"
	"os/exec"
	"regexp"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Every flag that the installed skopeo has for copying is in the table of docs/flags.md.
func TestTableHasFlagsOfSkopeo(t *testing.T) {
	table, err := os.ReadFile("../docs/flags.md")
	require.NoError(t, err)
	count := 0
	for _, args := range [][]string{{"--help"}, {"copy", "--help"}, {"sync", "--help"}} {
		help, err := exec.CommandContext(t.Context(), "skopeo", args...).Output()
		require.NoError(t, err)
		for _, flag := range regexp.MustCompile(`(?m)^ +(?:-\w, )? *(--[a-z0-9.-]+)`).FindAllSubmatch(help, -1) {
			count++
			assert.Contains(t, string(table), "| `"+string(flag[1])+"` |", args)
		}
	}
	assert.Greater(t, count, 60)
}
