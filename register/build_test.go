package register_test

import (
	"os"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"
)

// What is said of build tags holds: none for this and the transports, one for package
// copying, and no C compiler for any of them.
func TestBuildTags(t *testing.T) {
	compiler, err := exec.LookPath("go")
	if err != nil {
		t.Skip("there is no Go to build with: ", err)
	}
	for _, args := range [][]string{{".", ".."}, {"-tags", "containers_image_openpgp", "../copying"}} {
		cmd := exec.CommandContext(t.Context(), compiler, append([]string{"build"}, args...)...)
		cmd.Env = append(os.Environ(), "GOFLAGS=", "CGO_ENABLED=0")
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", out)
	}
}
