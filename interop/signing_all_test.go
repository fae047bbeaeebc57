//go:build interop && interopall

package interop

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func init() { askAboutAll = true }

// TestVerifyCosign2 checks what cosign 2 signs: under tags, without bundles.
func TestVerifyCosign2(t *testing.T) {
	path := filepath.Join(clientsDir(t), "cosign2", "cosign")
	require.FileExists(t, path, "interop/clients --all builds it")
	verifyCosign(t, program{name: "built cosign 2", argv: []string{path}}, "--new-bundle-format=false")
}
