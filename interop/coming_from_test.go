//go:build interop

package interop

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/opencontainers/go-digest"
	imagespec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// docHost is the name of the registry in docs/coming-from.md.
const docHost = "registry.example"

// Each line of docs/coming-from.md, but for hauler, which is not there, does the same as our line beside it: the same
// images come out.
func TestComingFrom(t *testing.T) {
	doc, err := os.ReadFile("../docs/coming-from.md")
	require.NoError(t, err)
	rows := regexp.MustCompile("(?m)^\\| `((?:docker|podman|skopeo|crane|regctl) .*)` \\| `(docker.*)` \\|$").FindAllStringSubmatch(strings.ReplaceAll(string(doc), `\|`, "|"), -1)
	require.Greater(t, len(rows), 15)
	docker := newDebianDocker(t).(dockerd)
	for _, row := range rows {
		t.Run(row[1], func(t *testing.T) {
			theirs := newBench(t, docker).run(t, row[1])
			ours := newBench(t, docker).run(t, row[2])
			assert.NotEmpty(t, theirs)
			assert.Equal(t, theirs, ours, row[2])
		})
	}
}

// A lineBench runs one line. It has only the images that all lines start from: app:1 and app:2 in a registry (also
// app:3), in docker and in podman; both in images.tar, and the first in app.tar.
type lineBench struct {
	dir      string // where the line is run
	registry string
	docker   dockerd
	podman   program
	path     string // of the programs
}

func newBench(t *testing.T, docker dockerd) *lineBench {
	t.Helper()
	state := daemonDir(t)
	b := &lineBench{dir: t.TempDir(), registry: startRegistry(t), docker: docker, path: filepath.Join(state, "bin")}
	r := filledRegistry{t, b.registry}
	var names []string
	for n := 1; n <= 3; n++ {
		names = append(names, r.push(fmt.Sprintf("app:%d", n), ociImage(t, "amd64", "base", fmt.Sprint(n))))
	}
	registries := filepath.Join(state, "registries.conf")
	require.NoError(t, os.WriteFile(registries, fmt.Appendf(nil, "[[registry]]\nlocation = %q\ninsecure = true\n", b.registry), 0o600))
	storage := filepath.Join(state, "storage.conf")
	require.NoError(t, os.WriteFile(storage, fmt.Appendf(nil, "[storage]\ndriver = \"vfs\"\ngraphroot = %q\nrunroot = %q\n", filepath.Join(state, "root"), filepath.Join(state, "run")), 0o600))
	environment := []string{
		"CONTAINERS_REGISTRIES_CONF=" + registries, "CONTAINERS_STORAGE_CONF=" + storage,
		"DOCKER_HOST=" + docker.docker.argv[slices.Index(docker.docker.argv, "--host")+1], "HOME=" + state,
	}
	b.podman = podmanIn(t, state).withEnv(environment...)
	require.NoError(t, os.Mkdir(b.path, 0o755))
	for command, p := range map[string]program{
		"docker": docker.docker, "podman": b.podman, "skopeo": debian(t, "skopeo").with("--registries-conf", registries),
		"crane": built(t, "crane"), "regctl": built(t, "regctl").with("--host", "reg="+b.registry+",tls=disabled"),
		"docker-archive": dockerArchive(t).with("--insecure-policy"),
	} {
		var script strings.Builder
		for _, variable := range append(p.env, environment...) {
			fmt.Fprintf(&script, "export '%s'\n", variable)
		}
		fmt.Fprintf(&script, "exec '%s' \"$@\"\n", strings.Join(p.argv, "' '"))
		require.NoError(t, os.WriteFile(filepath.Join(b.path, command), []byte("#!/bin/sh\n"+script.String()), 0o755))
	}
	require.NoError(t, docker.removeAll(t))
	b.shell(t, "docker-archive save -q -o images.tar "+names[0]+" "+names[1]+" && docker-archive save -q -o app.tar "+names[0])
	return b
}

func (b *lineBench) shell(t *testing.T, line string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "sh", "-c", line)
	cmd.Dir, cmd.Env = b.dir, append(os.Environ(), "PATH="+b.path+":"+os.Getenv("PATH"))
	output, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s\n%s", line, output)
}

// run runs a line, with its images in docker or podman, and returns the digests of the configs of all new images.
func (b *lineBench) run(t *testing.T, line string) []string {
	t.Helper()
	app := b.registry + "/app"
	for _, pulling := range []struct{ mark, command string }{{"docker save", "docker"}, {"docker-daemon:", "docker"}, {"podman save", "podman"}, {"containers-storage:", "podman"}} {
		if strings.Contains(line, pulling.mark) && !strings.Contains(line, "pull") {
			b.shell(t, fmt.Sprintf("%[1]s pull -q %[2]s:1 && %[1]s pull -q %[2]s:2", pulling.command, app))
		}
	}
	reads := []string{"images.tar"}
	if regexp.MustCompile(`push app.tar \S+/pushed|import|docker-archive:app.tar docker:`).MatchString(line) {
		reads = append(reads, "app.tar")
	} else {
		require.NoError(t, os.Remove(filepath.Join(b.dir, "app.tar")))
	}
	b.shell(t, strings.ReplaceAll(line, docHost, b.registry))
	found := append(b.inFiles(t, reads), b.inRegistry(t)...)
	if strings.Contains(line, "load") {
		found = append(found, b.loaded(t)...)
	}
	slices.Sort(found)
	return slices.Compact(found)
}

// inFiles returns the images in archives and directories, but those that have been read.
func (b *lineBench) inFiles(t *testing.T, read []string) (configs []string) {
	t.Helper()
	require.NoError(t, filepath.WalkDir(b.dir, func(path string, _ fs.DirEntry, err error) error {
		base := filepath.Base(path)
		switch {
		case err != nil:
			return err
		case strings.HasSuffix(base, ".tar") && !slices.Contains(read, base):
			configs = append(configs, inTar(t, path)...)
		case base == imagespec.ImageIndexFile:
			var index imagespec.Index
			readJSON(t, path, &index)
			for _, descriptor := range index.Manifests {
				for _, img := range descriptorImages(t, filepath.Dir(path), descriptor) {
					configs = append(configs, img.config.String())
				}
			}
		case base == "manifest.json": // of dir:
			var m imagespec.Manifest
			readJSON(t, path, &m)
			configs = append(configs, m.Config.Digest.String())
		}
		return nil
	}))
	return configs
}

func inTar(t *testing.T, path string) (configs []string) {
	t.Helper()
	files := readTar(t, path)
	if listed, ok := files["manifest.json"]; ok {
		var items []struct{ Config string }
		require.NoError(t, json.Unmarshal(listed, &items))
		for _, item := range items {
			configs = append(configs, digest.FromBytes(files[item.Config]).String())
		}
		return configs
	}
	var index imagespec.Index
	require.NoError(t, json.Unmarshal(files[imagespec.ImageIndexFile], &index))
	for _, descriptor := range index.Manifests {
		var m imagespec.Manifest
		require.NoError(t, json.Unmarshal(files["blobs/sha256/"+descriptor.Digest.Encoded()], &m))
		configs = append(configs, m.Config.Digest.String())
	}
	return configs
}

// inRegistry returns the images of repositories that are new.
func (b *lineBench) inRegistry(t *testing.T) (configs []string) {
	t.Helper()
	registry, err := name.NewRegistry(b.registry)
	require.NoError(t, err)
	repositories, err := remote.Catalog(t.Context(), registry)
	require.NoError(t, err)
	for _, repository := range repositories {
		if repository == "app" {
			continue
		}
		tags, err := remote.List(registry.Repo(repository))
		require.NoError(t, err)
		for _, tag := range tags {
			img, err := remote.Image(registry.Repo(repository).Tag(tag))
			require.NoError(t, err)
			config, err := img.ConfigName()
			require.NoError(t, err)
			configs = append(configs, config.String())
		}
	}
	return configs
}

// loaded returns the images that docker and podman have.
func (b *lineBench) loaded(t *testing.T) (configs []string) {
	t.Helper()
	ids := b.docker.docker.run(t, "images", "--quiet", "--no-trunc") + b.podman.run(t, "images", "--quiet", "--no-trunc")
	return strings.Fields(ids)
}
