//go:build interop

package interop

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// othersArchives are archives that other programs have written, to be changed.
func othersArchives(t *testing.T, dir string) []archive {
	t.Helper()
	archives := []archive{
		{name: "docker 20.10", path: "docker20.tar"},
		{name: "docker 29", path: "docker29.tar", manifests: true},
		{name: "podman", path: "podman-multi.tar"},
		{name: "skopeo", path: "skopeo.tar"},
		{name: "crane", path: "crane.tar"},
		{name: "ctr", path: "ctr24.tar", manifests: true},
	}
	for i, a := range archives {
		data, err := os.ReadFile(filepath.Join("..", "testdata", "archives", a.path))
		require.NoError(t, err)
		archives[i].path = filepath.Join(dir, a.path)
		require.NoError(t, os.WriteFile(archives[i].path, data, 0o600))
	}
	// Its documents stand first, so that it is written again.
	regctls := archive{name: "regctl", path: regctlExport(t, dir, "one", writtenOne), manifests: true}
	buildahs := archive{name: "buildah", path: writeBuildah(t, dir)[0].path}
	return append(archives, regctls, buildahs)
}

// othersChanged are archives of other programs, after one image was added and all others
// were removed.
func othersChanged(t *testing.T, dir string) []archive {
	t.Helper()
	archives := othersArchives(t, dir)
	for i := range archives {
		a := &archives[i]
		had := strings.Fields(dockerArchive(t).run(t, "list", "-q", a.path))
		dockerArchive(t).run(t, "--insecure-policy", "add", "--name", twoName, a.path, "oci:"+testLayout+":two")
		dockerArchive(t).run(t, append([]string{"remove", a.path}, had...)...)
		dockerArchive(t).run(t, "verify", a.path)
		a.images = []expectation{expectTwo(t, twoName)}
		a.clients = []string{"docker 20.10", "docker 29 containerd store", "containerd 1.6", "containerd 2.4", "skopeo", "crane", "regctl"}
		if a.name == "docker 20.10" || a.name == "regctl" {
			a.clients = append(a.clients, "docker 29 graphdriver", "podman", "buildah")
		}
		a.name += " changed"
	}
	return archives
}

// Images are added to archives of other programs, and skopeo reads the new and the old
// images.
func TestArchivesOfOthersGrow(t *testing.T) {
	for _, a := range othersArchives(t, t.TempDir()) {
		t.Run(a.name, func(t *testing.T) {
			dockerArchive(t).run(t, "--insecure-policy", "add", "--name", "added:1", a.path, "oci:"+testLayout+":two")
			for _, source := range []string{"docker-archive:" + a.path + ":docker.io/library/added:1", "docker-archive:" + a.path + ":@0"} {
				debian(t, "skopeo").run(t, "--insecure-policy", "copy", source, "dir:"+t.TempDir())
			}
			dockerArchive(t).run(t, "remove", a.path, "added:1")
			dockerArchive(t).run(t, "compact", a.path)
			dockerArchive(t).run(t, "verify", a.path)
		})
	}
}
