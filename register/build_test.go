package register_test

import (
	"os"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"
)

// Neither this package nor the transports need build tags or a C compiler.
func TestBuildTags(t *testing.T) {
	compiler, err := exec.LookPath("go")
	if err != nil {
		t.Skip("there is no Go to build with: ", err)
	}
	cmd := exec.CommandContext(t.Context(), compiler, "build", ".", "..")
	cmd.Env = append(os.Environ(), "GOFLAGS=", "CGO_ENABLED=0")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
}
