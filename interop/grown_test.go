//go:build interop

package interop

import (
	"path/filepath"
	"testing"
)

// grownArchives have been added to and removed from since they were written, by the command
// under test or by others.
func grownArchives(t *testing.T, dir string) []archive {
	t.Helper()
	one := layoutImage(t, testLayout, "one")
	two := layoutImage(t, testLayout, "two")
	images := []expectation{{image: one, names: []string{hubName}}, {image: two, names: []string{twoName}}}
	refused := map[string]string{"crane": "tarball must contain only a single image"}

	ours := copyArchive(t, dir, "oci:"+testLayout+":one", oneName, "grown.example.com/one:1")
	grow(t, ours)
	layout := copyImageArchive(t, dir, "grown.tar", "one", oneName)
	grow(t, layout)
	skopeos := filepath.Join(dir, "grown-skopeo.tar")
	debian(t, "skopeo").run(t, append([]string{"--insecure-policy"}, withoutPolicy(copyArgs(skopeos, "oci:"+testLayout+":one", oneName))...)...)
	grow(t, skopeos)
	dockerArchive(t).run(t, "remove", ours, "grown.example.com/one:1")
	return append(othersChanged(t, dir), []archive{
		{name: "grown", path: ours, images: images, refused: refused},
		{name: "grown by skopeo", path: skopeos, images: images, refused: refused},
		{name: "image-archive grown", path: layout, images: images, manifests: true, refused: refused},
	}...)
}

// grow adds an image to an archive of another one, and gives that another name.
func grow(t *testing.T, path string) {
	t.Helper()
	add := func(name, ref string) {
		dockerArchive(t).run(t, "--insecure-policy", "add", "--name", name, path, "oci:"+testLayout+":"+ref)
	}
	add(twoName, "two")
	add(hubName, "one")
	dockerArchive(t).run(t, "remove", path, oneName)
	dockerArchive(t).run(t, "verify", path)
}

// withoutPolicy returns arguments without the flag that skopeo wants before the command.
func withoutPolicy(args []string) (rest []string) {
	for _, arg := range args {
		if arg != "--insecure-policy" {
			rest = append(rest, arg)
		}
	}
	return rest
}
