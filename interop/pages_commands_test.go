//go:build interop

package interop

import (
	"fmt"
	"html"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/browsing"
	"github.com/dockerarchive/dockerarchive/serving"
)

// TestCommandsOfPages runs the commands that pages show, as they stand there, for an archive of
// each layout and for an OCI layout in a directory, of an image with a name and without.
func TestCommandsOfPages(t *testing.T) {
	dir := t.TempDir()
	layout, images := thinLayout(t, dir)
	paths := map[string]string{}
	for name, destination := range map[string]string{
		"OCI archive": "image-archive:", "docker archive": "docker-archive:", "OCI directory": "oci:",
		"unnamed OCI archive": "image-archive:", "unnamed docker archive": "docker-archive:", "unnamed OCI directory": "oci:",
	} {
		path := filepath.Join(dir, strings.ReplaceAll(name, " ", " it's ")) // Shells need quotes for it.
		paths[name] = path
		if !strings.HasPrefix(name, "unnamed") {
			path += ":" + images[0].name
		}
		dockerArchive(t).run(t, "copy", "-q", "--insecure-policy", "oci:"+layout+":"+images[0].name, destination+path)
	}
	runtime := startBuiltContainerd(t)
	docker := startDockerd(t, built(t, "dockerd"), runtime, true)
	ctr := runtime.namespace("default")
	podman := podmanIn(t, daemonDir(t))
	ids := []string{"image", "ls", "-q", "--no-trunc"}
	daemons := map[string]struct {
		p       program
		there   []string // prints the images
		remove  []string
		clients []string // names of the client on the pages
	}{
		"docker":     {docker.docker, ids, []string{"rmi", "-f"}, []string{"docker", "any"}},
		"containerd": {ctr.ctr, []string{"images", "ls", "-q"}, []string{"images", "rm", "--sync"}, []string{"containerd"}},
		"podman":     {podman, ids, []string{"rmi", "-f"}, []string{"podman"}},
	}
	bin := t.TempDir()
	for name, p := range map[string]program{"docker": docker.docker, "ctr": ctr.ctr, "podman": podman, "docker-archive": dockerArchive(t)} {
		script := fmt.Sprintf("#!/bin/sh\nexec env %s '%s' \"$@\"\n", strings.Join(p.env, " "), strings.Join(p.argv, "' '"))
		require.NoError(t, os.WriteFile(filepath.Join(bin, name), []byte(script), 0o755))
	}
	require.NoError(t, os.WriteFile(filepath.Join(bin, "sudo"), []byte("#!/bin/sh\nexec \"$@\"\n"), 0o755))
	shell := program{name: "sh", argv: []string{"/bin/sh"}}.withEnv("PATH="+bin+":"+os.Getenv("PATH"), "DOCKER_HOST="+docker.docker.argv[2])
	shown := map[string]map[string]string{"OCI archive, pulled": shownCommands(t, paths["OCI archive"], false)} // All are pulled the same way.
	for name, path := range paths {
		shown[name] = shownCommands(t, path, true)
	}
	for name, d := range daemons {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			list := func() []string { return strings.Fields(d.p.run(t, d.there...)) }
			for page, commands := range shown {
				for _, client := range d.clients {
					command, ok := commands[client]
					if client == "any" && strings.HasSuffix(page, "pulled") {
						continue
					}
					require.True(t, ok, "%s in %v of %s", client, commands, page)
					require.Empty(t, list())
					_, err := shell.try(t, "-euc", command)
					require.NoError(t, err)
					loaded := list()
					assert.NotEmpty(t, loaded, command)
					for _, image := range loaded {
						d.p.run(t, append(slices.Clone(d.remove), image)...)
					}
				}
			}
		})
	}
}

// shownCommands returns the commands that the page of the only image of an archive shows, by
// client.
func shownCommands(t *testing.T, path string, local bool) map[string]string {
	t.Helper()
	server, err := serving.New(t.Context(), []string{path}, serving.Options{})
	require.NoError(t, err)
	pages := browsing.New(server, browsing.Options{Local: local})
	server.Handle(pages)
	web := httptest.NewServer(server)
	t.Cleanup(func() {
		web.Close()
		pages.Close()
		assert.NoError(t, server.Close())
	})
	read := func(path string) string {
		answer, err := http.Get(web.URL + path)
		require.NoError(t, err)
		defer answer.Body.Close()
		body, err := io.ReadAll(answer.Body)
		require.NoError(t, err)
		require.Equal(t, http.StatusOK, answer.StatusCode, "%s", body)
		return string(body)
	}
	image := regexp.MustCompile(`href="(/image/[^"]+)"`).FindStringSubmatch(read("/"))
	require.NotNil(t, image)
	commands := map[string]string{}
	for _, m := range regexp.MustCompile(`<li data-copy><span class="client soft">([^<]+)</span><code tabindex="0">([^<]+)</code>`).FindAllStringSubmatch(read(html.UnescapeString(image[1])), -1) {
		commands[m[1]] = html.UnescapeString(m[2])
	}
	return commands
}
