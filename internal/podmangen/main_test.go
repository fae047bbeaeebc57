package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// tree writes files into a new directory. Their names start with lines "-- NAME --".
func tree(t *testing.T, text string) string {
	t.Helper()
	root := t.TempDir()
	for _, part := range strings.Split(text, "\n-- ")[1:] {
		name, content, found := strings.Cut(part, " --\n")
		require.True(t, found, part)
		path := filepath.Join(root, filepath.FromSlash(name))
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(content+"\n"), 0o600))
	}
	return root
}

const source = `
-- front.go --
// Package dockerarchive is of https://github.com/containers/image and has
// [github.com/dockerarchive/dockerarchive/register].
package dockerarchive

import (
	"fmt"
	"github.com/containers/image/v5/types"
	"github.com/dockerarchive/dockerarchive/internal/below"
	"github.com/dockerarchive/dockerarchive/internal/imagetest"
)

var path = "testdata" // "github.com/containers/image/v5" is only mentioned
-- front_test.go --
package dockerarchive

var (
	dir   = "testdata/oci"
	image = "oci:../testdata/oci:testdata"
	none  = "my testdata"
)
-- register/register.go --
package register

import _ "github.com/dockerarchive/dockerarchive"
-- internal/below/below.go --
package below
-- internal/below/below_test.go --
package below

import _ "github.com/containers/image/v5/types"
-- internal/imagetest/image.go --
package imagetest

import _ "github.com/containers/storage"
-- archive/archive.go --
package archive

import _ "github.com/dockerarchive/dockerarchive/internal/below"`

func TestGenerates(t *testing.T) {
	root := tree(t, source)
	require.NoError(t, run(root, false))

	want := map[string]string{
		"front.go": `// Package dockerarchive is of https://github.com/containers/image and has
// [github.com/dockerarchive/dockerarchive/podman/register].
package dockerarchive

import (
	"fmt"
	"github.com/dockerarchive/dockerarchive/internal/below"
	"github.com/dockerarchive/dockerarchive/podman/internal/imagetest"
	"go.podman.io/image/v5/types"
)

var path = "testdata" // "go.podman.io/image/v5" is only mentioned
`,
		"front_test.go": `package dockerarchive

var (
	dir   = "../testdata/oci"
	image = "oci:../../testdata/oci:testdata"
	none  = "my testdata"
)
`,
		"register/register.go": `package register

import _ "github.com/dockerarchive/dockerarchive/podman"
`,
		"internal/imagetest/image.go": `package imagetest

import _ "go.podman.io/storage"
`,
	}
	for name, content := range want {
		got, err := os.ReadFile(filepath.Join(root, "podman", filepath.FromSlash(name)))
		require.NoError(t, err)
		assert.Equal(t, header(name)+"\n"+content, string(got), name)
	}
	assert.NoDirExists(t, filepath.Join(root, "podman", "archive"))
	assert.NoDirExists(t, filepath.Join(root, "podman", "internal", "below"))
}

func TestChecks(t *testing.T) {
	root := tree(t, source)
	require.ErrorContains(t, run(root, true), "front.go")
	require.NoError(t, run(root, false))
	require.NoError(t, run(root, true))

	// Files that are not generated are left alone.
	own := filepath.Join(root, "podman", "own.go")
	require.NoError(t, os.WriteFile(own, []byte("package dockerarchive\n"), 0o600))
	require.NoError(t, run(root, true))

	generated := filepath.Join(root, "podman", "front.go")
	content, err := os.ReadFile(generated)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(generated, append(content, "// more\n"...), 0o600))
	require.ErrorContains(t, run(root, true), "front.go")
	require.NoError(t, run(root, false))

	// A file whose source has gone is removed too.
	require.NoError(t, os.Remove(filepath.Join(root, "front.go")))
	require.NoError(t, os.Remove(filepath.Join(root, "front_test.go")))
	require.ErrorContains(t, run(root, true), "front.go")
	require.NoError(t, run(root, false))
	assert.NoFileExists(t, generated)
	assert.FileExists(t, own)
}
