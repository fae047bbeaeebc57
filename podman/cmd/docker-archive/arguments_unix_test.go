//go:build unix

package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/podman/internal/imagetest"
)

// blockedHub returns flags that block Docker Hub: every request to it fails.
func blockedHub(t *testing.T) []string {
	conf := filepath.Join(t.TempDir(), "registries.conf")
	require.NoError(t, os.WriteFile(conf, []byte("[[registry]]\nlocation = \"docker.io\"\nblocked = true\n"), 0o600))
	return []string{"--registries-conf", conf, "--retry-times", "0"}
}

// In every command an argument without a transport is a file if there is one of that name, or if
// it ends like the name of an archive. No registry is asked.
func TestFilesWithoutTransport(t *testing.T) {
	reg := imagetest.NewRegistry(t)
	blocked := blockedHub(t)
	layout := testdata(t, "oci")
	t.Chdir(t.TempDir())
	succeeds(t, "save", "-q", "-o", "app.tar", "oci:"+layout+":one=example.com/app:1")
	data, err := os.ReadFile("app.tar")
	require.NoError(t, err)
	require.NoError(t, os.WriteFile("plain", data, 0o600))
	require.NoError(t, os.WriteFile("a=b.tar", data, 0o600))
	require.NoError(t, os.CopyFS("layout", os.DirFS(layout)))
	for _, args := range [][]string{
		{"save", "-q", "-o", "1.tar", "app.tar"},
		{"save", "-q", "-o", "2.tar", "app.tar:example.com/app:1", "plain:@0=other:1"},
		{"save", "-q", "-o", "3.tar", "plain=x:1"},
		{"save", "-q", "-o", "4.tar", "a=b.tar"},
		{"save", "-q", "-o", "5.tar", "layout:one"},
		{"add", "-q", "1.tar", "plain"},
		{"copy", "-q", "app.tar:example.com/app:1", "dir:copied"},
		{"copy", "-q", "plain", "6.tar:example.com/app:2"},
		{"copy", "-q", "plain", "layout:new"},
		{"inspect", "plain"},
		{"inspect", "layout:one"},
		{"files", "plain:example.com/app:1"},
		{"diff", "plain", "app.tar"},
		{"make", "-q", "--base", "app.tar", "--label", "a=b", "-t", "made:1", "-o", "7.tar"},
		{"push", "-q", "--tls-verify=false", "plain", reg.Address},
		{"copy", "-q", "--src-tls-verify=false", reg.Address + "/app:1", "8.tar"},
	} {
		if args[0] != "add" && args[0] != "diff" && args[0] != "push" && args[0] != "files" && args[0] != "inspect" {
			args = append(args, blocked[:2]...)
		}
		succeeds(t, args...)
	}
	for name, want := range map[string]string{"1.tar": "example.com/app:1\n", "2.tar": "example.com/app:1\ndocker.io/library/other:1\n", "3.tar": "docker.io/library/x:1\n", "6.tar": "example.com/app:2\n"} {
		out, _ := succeeds(t, "list", "-q", name)
		assert.Equal(t, want, out, name)
	}
	for _, args := range [][]string{
		{"save", "-o", "9.tar", "none.tar"},
		{"save", "-o", "9.tar", "none.tgz:app:1"},
		{"add", "1.tar", "none.tar.zst"},
		{"copy", "none.tar:x:1", "dir:9"},
		{"make", "--base", "none.tar", "--label", "a=b", "-o", "9.tar"},
		{"inspect", "none.tar"},
	} {
		_, errOut, status := command(t, append(args, blocked...)...)
		assert.Equal(t, exitFailure, status, args)
		assert.Regexp(t, `open none\.[a-z.]+: no such file or directory\n`, errOut, args)
		assert.NotContains(t, errOut, "blocked", args)
	}
}

// A program in this directory with the name of an image does not hide the image. Neither does a
// directory, nor a file if other programs' files name the image.
func TestImagesCalledAsFiles(t *testing.T) {
	blocked := blockedHub(t)
	t.Chdir(t.TempDir())
	require.NoError(t, os.WriteFile("app", []byte("\x7fELF"), 0o700))
	require.NoError(t, os.WriteFile("pod.yaml", []byte("containers: [{image: app}]"), 0o700))
	require.NoError(t, os.Mkdir("web", 0o700))
	for _, image := range [][]string{{"app:1"}, {"web"}, {"web:1"}, {"--from-yaml", "pod.yaml"}} {
		_, errOut, status := command(t, append(append([]string{"save", "-o", "x.tar"}, blocked...), image...)...)
		assert.Equal(t, exitFailure, status)
		assert.Contains(t, errOut, "docker.io", image)
	}
}

func TestLoadFromStandardInput(t *testing.T) {
	dir := t.TempDir()
	saved := filepath.Join(dir, "app.tar")
	succeeds(t, "save", "-q", "-o", saved, "oci:"+testdata(t, "oci")+":one=app:1")
	for _, script := range []string{"load --host unix:///none < app.tar", "load --host unix:///none - < app.tar", "cat app.tar | docker-archive load --host unix:///none"} {
		if script[:3] != "cat" {
			script = "docker-archive " + script
		}
		out, err := shell(t, dir, script)
		require.Error(t, err)
		assert.Contains(t, out, "docker daemon", script) // It has been read, and is to be loaded.
		assert.NotContains(t, out, "takes archives", script)
	}
	out, err := shell(t, dir, "docker-archive load < /dev/null")
	require.Error(t, err)
	assert.Contains(t, out, "load takes archives")
}
