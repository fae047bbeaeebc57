//go:build interop

package interop

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// An exporter writes archives.
type exporter interface {
	export(t *testing.T, e export, path string) error
}

// exporters are the clients whose archives are compared with ours, by their names in
// docs/exporters.md.
var exporters = []struct {
	name   string
	layout string // ours, which it is compared with
	start  func(t *testing.T) exporter
	// options make our command take the same part of an index as the client.
	options []string
}{
	{"docker 20", "docker", newDockerExporter(newDebianDocker), nil},
	{"skopeo", "docker", newSkopeoExporter, nil},
	{"podman", "docker", newPodmanExporter, nil},
	{"docker 29 graphdriver", "image", newDockerExporter(newBuiltDocker(false)), nil},
	{"docker 29 containerd store", "image", newDockerExporter(newBuiltDocker(true)), []string{"--platform", "linux/amd64", "--keep-index"}},
	{"ctr 1.6", "image", newCtrExporter(startDebianContainerd), []string{"--all-platforms"}},
	{"ctr 2", "image", newCtrExporter(startBuiltContainerd), []string{"--all-platforms"}},
}

// TestExporters has every exporter write archives of the same images, and compares them with ours,
// entry by entry. Every difference must be one of allowedDifferences, and each one that the table
// has for an exporter must be found, so that the table stays true.
func TestExporters(t *testing.T) {
	dir := t.TempDir()
	d, ok := newDebianDocker(t).(dockerd)
	require.True(t, ok)
	images := exports(t, buildChain(t, d.docker, dir))
	for _, x := range exporters {
		t.Run(x.name, func(t *testing.T) {
			t.Parallel()
			client := x.start(t)
			seen := map[string]bool{}
			for _, e := range images {
				t.Run(e.name, func(t *testing.T) {
					dir := t.TempDir()
					theirs, ours := filepath.Join(dir, "theirs.tar"), filepath.Join(dir, "ours.tar")
					err := client.export(t, e, theirs)
					if refusal := refusals[x.name][e.name]; refusal != "" {
						require.Error(t, err)
						require.Regexp(t, refusal, err.Error())
						return
					}
					require.NoError(t, err)
					exportOurs(t, e, ours, x.layout, x.options)
					var unknown []string
					for _, difference := range differences(t, theirs, ours) {
						key := allowed(x.name, e.name, difference)
						if seen[key] = true; key == "" {
							unknown = append(unknown, difference)
						}
					}
					assert.Empty(t, unknown, "differences that are not allowed:\n%s", strings.Join(unknown, "\n"))
				})
			}
			for _, a := range allowedDifferences {
				if slices.Contains(a.exporters, x.name) && !a.byChance {
					assert.True(t, seen[a.key], "%s was not seen in any archive", a.key)
				}
			}
		})
	}
}

// allowed returns the key of the difference that a line about archives of an image is allowed for,
// "" if it is not.
func allowed(exporter, image, line string) string {
	for _, a := range allowedDifferences {
		if a.images != nil && !slices.Contains(a.images, image) {
			continue
		}
		if slices.Contains(a.exporters, exporter) && regexp.MustCompile("^(?:"+a.lines+")$").MatchString(line) {
			return a.key
		}
	}
	return ""
}

// exportOurs writes an archive with the command under test.
func exportOurs(t *testing.T, e export, path, layout string, options []string) {
	t.Helper()
	common := []string{"--insecure-policy", "--debug=false"}
	if e.digest != "" {
		transport := map[string]string{"docker": "docker-archive:", "image": "image-archive:"}[layout]
		dockerArchive(t).run(t, slices.Concat([]string{"copy"}, common, []string{"--src-tls-verify=false", "docker://" + e.sources[0], transport + path})...)
		return
	}
	args := slices.Concat([]string{"save"}, common, []string{"--tls-verify=false", "--layout", layout, "-o", path})
	if e.name == multiPlatform && layout == "image" {
		args = append(args, options...)
	}
	for _, name := range e.names {
		args = append(args, "--name", name)
	}
	for _, source := range e.sources {
		if e.archive != "" {
			source = "docker-archive:" + e.archive + ":" + source
		}
		args = append(args, source)
	}
	dockerArchive(t).run(t, args...)
}

// try runs programs one after the other, until one fails.
func try(t *testing.T, p program, commands ...[]string) error {
	t.Helper()
	for _, c := range commands {
		if _, err := p.try(t, c...); err != nil {
			return err
		}
	}
	return nil
}

// A dockerExporter pulls with docker and saves with docker.
type dockerExporter struct{ docker program }

func newDockerExporter(start func(*testing.T) client) func(*testing.T) exporter {
	return func(t *testing.T) exporter {
		t.Helper()
		d, ok := start(t).(dockerd)
		require.True(t, ok)
		return dockerExporter{d.docker}
	}
}

func (x dockerExporter) export(t *testing.T, e export, path string) error {
	t.Helper()
	return exportFromStore(t, x.docker, e, nil, []string{"save", "--output", path})
}

// exportFromStore saves with docker or podman the images that it has pulled or loaded.
func exportFromStore(t *testing.T, p program, e export, pulling, save []string) error {
	t.Helper()
	if e.archive != "" {
		if err := try(t, p, []string{"load", "--input", e.archive}); err != nil {
			return err
		}
	} else {
		for _, source := range e.sources {
			if err := try(t, p, slices.Concat([]string{"pull"}, pulling, []string{source})); err != nil {
				return err
			}
		}
	}
	for _, name := range e.names {
		if err := try(t, p, []string{"tag", e.sources[0], name}); err != nil {
			return err
		}
	}
	wanted := e.wanted()
	if e.digest != "" {
		id, err := p.try(t, "image", "inspect", "--format", "{{.Id}}", e.sources[0])
		if err != nil {
			return err
		}
		wanted = []string{strings.TrimSpace(id)}
	}
	return try(t, p, slices.Concat(save, wanted))
}

// A podmanExporter pulls with podman and saves with podman.
type podmanExporter struct{ podman program }

func newPodmanExporter(t *testing.T) exporter {
	t.Helper()
	return podmanExporter{podmanIn(t, daemonDir(t))}
}

func (x podmanExporter) export(t *testing.T, e export, path string) error {
	t.Helper()
	return exportFromStore(t, x.podman, e, []string{"--tls-verify=false"}, []string{"save", "--multi-image-archive", "--output", path})
}

// A skopeoExporter copies one image.
type skopeoExporter struct{}

func newSkopeoExporter(*testing.T) exporter { return skopeoExporter{} }

func (skopeoExporter) export(t *testing.T, e export, path string) error {
	t.Helper()
	skopeo := debian(t, "skopeo")
	for _, name := range e.sources { // One after the other into the same archive.
		source, names := "docker://"+name, e.names
		switch {
		case e.archive != "":
			source, names = "docker-archive:"+e.archive+":"+name, []string{name}
		case len(names) == 0 && e.digest == "" && !strings.Contains(name, "@"):
			names = []string{name}
		}
		args := slices.Insert(copyArgs(path, source, names...), 1, "--src-tls-verify=false")
		if err := try(t, skopeo, args); err != nil {
			return err
		}
	}
	return nil
}

// A ctrExporter fetches with ctr and exports with ctr.
type ctrExporter struct{ ctr program }

func newCtrExporter(start func(*testing.T) containerd) func(*testing.T) exporter {
	return func(t *testing.T) exporter {
		t.Helper()
		return ctrExporter{start(t).ctr}
	}
}

func (x ctrExporter) export(t *testing.T, e export, path string) error {
	t.Helper()
	if e.archive != "" {
		if err := try(t, x.ctr, []string{"images", "import", e.archive}); err != nil {
			return err
		}
	} else {
		for _, source := range e.sources {
			if err := try(t, x.ctr, []string{"content", "fetch", "--plain-http", "--all-platforms", source}); err != nil {
				return err
			}
		}
	}
	for _, name := range e.names {
		if err := try(t, x.ctr, []string{"images", "tag", "--force", e.sources[0], name}); err != nil {
			return err
		}
	}
	wanted := e.wanted()
	if e.digest != "" {
		wanted = []string{e.digest}
	}
	args := slices.Concat([]string{"images", "export", "--all-platforms", path}, wanted)
	for range 5 { // See exportWhole.
		if err := try(t, x.ctr, args); err != nil {
			return err
		}
		if isWholeTar(t, path) {
			return nil
		}
		require.NoError(t, os.Remove(path))
	}
	require.Fail(t, "five exports were cut short")
	return nil
}
