package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/podman/internal/imagetest"
)

// All that is wrong with a list is told at once, each with its place.
func TestAllFaultsAtOnce(t *testing.T) {
	reg := imagetest.NewRegistry(t)
	var list strings.Builder
	list.WriteString("# twenty-four images\n")
	for i := range 24 {
		name := fmt.Sprintf("app:%d", i)
		if i%10 != 3 {
			reg.Push(t, name, imagetest.NewImage(t, name, imagetest.Gzip(uint64(i), 100)))
		}
		fmt.Fprintf(&list, "%s/%s\n", reg.Address, name)
	}
	dir := t.TempDir()
	file, saved := filepath.Join(dir, "list"), filepath.Join(dir, "saved.tar")
	require.NoError(t, os.WriteFile(file, []byte(list.String()), 0o600))
	for _, mode := range []string{"--quiet", "--dry-run"} {
		_, errOut, status := command(t, "save", "--tls-verify=false", mode, "-o", saved, "--from-file", file)
		assert.Equal(t, exitFailure, status)
		lines := strings.Split(strings.TrimSpace(errOut), "\n")
		require.Len(t, lines, 4, errOut)
		for i, line := range []int{5, 15, 25} {
			assert.Contains(t, lines[i], fmt.Sprintf("docker-archive: %s:%d: saving docker://%s/app:%d: ", file, line, reg.Address, line-2))
		}
		assert.Contains(t, lines[3], "Check the name", "once")
		assert.NoFileExists(t, saved)
	}
	out, errOut, status := command(t, "save", "--tls-verify=false", "--keep-going", "-o", saved, "--from-file", file)
	assert.Equal(t, exitFailure, status)
	assert.Equal(t, 3, strings.Count(errOut, file+":"), errOut)
	assert.Equal(t, 21, strings.Count(out, "\n"))
}

func TestFaultsOfManyImages(t *testing.T) {
	reg := imagetest.NewRegistry(t)
	args := []string{"save", "--tls-verify=false", "-o", filepath.Join(t.TempDir(), "saved.tar")}
	for i := range 14 {
		args = append(args, fmt.Sprintf("%s/none:%d", reg.Address, i))
	}
	_, errOut, status := command(t, args...)
	assert.Equal(t, exitFailure, status)
	assert.Equal(t, 10, strings.Count(errOut, ": saving "), errOut)
	assert.Contains(t, errOut, "docker-archive: and 4 more images\n")
}

// Input that is no list, or no name, is reported in one readable line.
func TestListsThatAreNone(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "list")
	for name, c := range map[string]struct{ content, want string }{
		"names": {"a\nNo Name\nb:1\n\n" + strings.Repeat("x", 5000) + "\n", file + `:2: image "No": invalid reference format`},
		"tar":   {"images\nx\x00\x00\x00", file + ":2: a list of images is text"},
		"text":  {"\xff\xfd", file + ":1: a list of images is text"},
		"long":  {"a\n" + strings.Repeat("x", maxLine+1), file + ":2: the line is longer than 65536 bytes"},
	} {
		require.NoError(t, os.WriteFile(file, []byte(c.content), 0o600))
		_, errOut, status := command(t, "save", "-o", filepath.Join(dir, "saved.tar"), "--from-file", file)
		assert.Equal(t, exitUsage, status, name)
		assert.Contains(t, errOut, c.want)
		assert.Less(t, len(errOut), 1000, name)
		if name == "names" {
			assert.Contains(t, errOut, file+`:5: image "xxxx`)
		}
	}
}

// One image is saved once, however it is written, and where it is named first.
func TestListedTwice(t *testing.T) {
	dir := t.TempDir()
	list, manifests := filepath.Join(dir, "list"), filepath.Join(dir, "pods.yaml")
	require.NoError(t, os.WriteFile(list, []byte("busybox\nexample.com/app:1\noci:a\ndocker://docker.io/library/busybox:latest\n"), 0o600))
	require.NoError(t, os.WriteFile(manifests, []byte("containers: [{image: library/busybox}, {image: 'example.com/app:1'}, {image: 'busybox:1'}]"), 0o600))
	o := &saveOptions{fromFiles: []string{list}, fromYAML: []string{manifests}}
	var got []string
	listed, err := o.listed(nil)
	require.NoError(t, err)
	for _, a := range listed.images {
		got = append(got, a.text)
	}
	assert.Equal(t, []string{"busybox", "example.com/app:1", "oci:a", "busybox:1"}, got)

	o.allTags = true // All of them, or the one called latest.
	listed, err = o.listed(nil)
	require.NoError(t, err)
	assert.Len(t, listed.images, 5)
}
