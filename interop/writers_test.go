//go:build interop

package interop

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// writers are the clients that write archives, for tests of reading. They write the images of the
// test layout.
var writers = []struct {
	name string
	// write writes archives into dir. Their names are unique among those of one client.
	write func(t *testing.T, dir string) []archive
}{
	{"docker 20.10", writeDebianDocker},
	{"docker 29 graphdriver", writeBuiltDocker(false)},
	{"docker 29 containerd store", writeBuiltDocker(true)},
	{"containerd 1.6", writeCtr(startDebianContainerd)},
	{"containerd 2.4", writeCtr(startBuiltContainerd)},
	{"podman", writePodman},
	{"buildah", writeBuildah},
	{"skopeo", writeSkopeo},
	{"crane", writeCrane},
	{"regctl", writeRegctl},
	{"umoci", writeUmoci},
}

// The names that the written archives give the test layout's images.
const (
	writtenOne   = "example.com/interop/one:v1"
	writtenAgain = "docker.io/library/interop:again"
	writtenTwo   = "example.com/interop/two:v1"
	writtenMulti = "example.com/interop/multi:v1"
)

func expectOne(t *testing.T, names ...string) expectation {
	t.Helper()
	return expectation{image: layoutImage(t, testLayout, "one"), names: names}
}

func expectTwo(t *testing.T, names ...string) expectation {
	t.Helper()
	return expectation{image: layoutImage(t, testLayout, "two"), names: names}
}

// skopeoArchive is a docker archive of an image of the test layout, to feed other clients with.
func skopeoArchive(t *testing.T, dir, ref string, names ...string) string {
	t.Helper()
	file := filepath.Join(dir, "skopeo-"+ref+".tar")
	debian(t, "skopeo").run(t, copyArgs(file, "oci:"+testLayout+":"+ref, names...)...)
	return file
}

func writeSkopeo(t *testing.T, dir string) []archive {
	t.Helper()
	skopeo := debian(t, "skopeo").with("--insecure-policy")
	layout := filepath.Join(dir, "oci-archive.tar")
	skopeo.run(t, "copy", "oci:"+testLayout+":one", "oci-archive:"+layout+":"+writtenOne)
	return []archive{
		{
			name:   "docker-archive",
			path:   skopeoArchive(t, dir, "one", writtenOne, writtenAgain),
			images: []expectation{expectOne(t, writtenOne, writtenAgain)},
		},
		{
			name:   "oci-archive",
			path:   layout,
			images: []expectation{expectOne(t, writtenOne)},
		},
	}
}

func writePodman(t *testing.T, dir string) []archive {
	t.Helper()
	podman := podmanIn(t, daemonDir(t))
	podman.run(t, "load", "--input", skopeoArchive(t, dir, "one", writtenOne, writtenAgain))
	podman.run(t, "load", "--input", skopeoArchive(t, dir, "two", writtenTwo))
	one, oci, multi := filepath.Join(dir, "one.tar"), filepath.Join(dir, "oci.tar"), filepath.Join(dir, "multi.tar")
	podman.run(t, "save", "--output", one, writtenOne)
	podman.run(t, "save", "--format", "oci-archive", "--output", oci, writtenOne)
	podman.run(t, "save", "--multi-image-archive", "--output", multi, writtenOne, writtenAgain, writtenTwo)
	return []archive{
		{name: "save", path: one, images: []expectation{expectOne(t, writtenOne)}},
		{name: "save gzip", path: gzipFile(t, one), images: []expectation{expectOne(t, writtenOne)}},
		{name: "save oci-archive", path: oci, images: []expectation{expectOne(t, writtenOne)}},
		{
			name: "save several", path: multi,
			images: []expectation{expectOne(t, writtenOne, writtenAgain), expectTwo(t, writtenTwo)},
		},
	}
}

func writeBuildah(t *testing.T, dir string) []archive {
	t.Helper()
	buildah := buildahIn(t, daemonDir(t))
	buildah.run(t, "pull", "docker-archive:"+skopeoArchive(t, dir, "one", writtenOne))
	pushed := filepath.Join(dir, "pushed.tar")
	buildah.run(t, "push", writtenOne, "docker-archive:"+pushed+":"+writtenOne)
	return []archive{{name: "push", path: pushed, images: []expectation{expectOne(t, writtenOne)}}}
}

// writeCrane pulls from a registry in this process, which skopeo filled.
func writeCrane(t *testing.T, dir string) []archive {
	t.Helper()
	one, two := pushToRegistry(t, startRegistry(t))
	crane := built(t, "crane").withEnv("HOME=" + dir)
	tarball, legacy := filepath.Join(dir, "tarball.tar"), filepath.Join(dir, "legacy.tar")
	several, layout := filepath.Join(dir, "several.tar"), filepath.Join(dir, "layout")
	crane.run(t, "pull", one, tarball)
	crane.run(t, "pull", "--format", "legacy", one, legacy)
	crane.run(t, "pull", one, two, several)
	crane.run(t, "pull", "--format", "oci", one, two, layout)
	return []archive{
		{name: "tarball", path: tarball, images: []expectation{expectOne(t, one)}},
		{name: "legacy", path: legacy, images: []expectation{expectOne(t, one)}},
		{name: "several", path: several, images: []expectation{expectOne(t, one), expectTwo(t, two)}},
		{name: "layout", path: tarDirectory(t, layout), images: []expectation{expectOne(t), expectTwo(t)}},
	}
}

// pushToRegistry pushes the images one and two and returns the names they have there.
func pushToRegistry(t *testing.T, host string) (one, two string) {
	t.Helper()
	one, two = host+"/interop/one:v1", host+"/interop/two:v1"
	skopeo := debian(t, "skopeo").with("--insecure-policy")
	skopeo.run(t, "copy", "--dest-tls-verify=false", "oci:"+testLayout+":one", "docker://"+one)
	skopeo.run(t, "copy", "--dest-tls-verify=false", "oci:"+testLayout+":two", "docker://"+two)
	return one, two
}

func writeRegctl(t *testing.T, dir string) []archive {
	t.Helper()
	one := regctlExport(t, dir, "one", writtenOne)
	compressed := regctlExport(t, dir, "one", writtenOne, "--compress")
	multi := regctlExport(t, dir, "multi", writtenMulti)
	return []archive{
		{name: "export", path: one, images: []expectation{expectOne(t, writtenOne)}},
		{name: "export compress", path: compressed, images: []expectation{expectOne(t, writtenOne)}},
		{name: "export platforms", path: multi, images: []expectation{expectPlatforms(t, writtenMulti)}},
	}
}

// regctlExport is an archive of an image of the test layout, with its original manifests and
// blobs.
func regctlExport(t *testing.T, dir, ref, name string, options ...string) string {
	t.Helper()
	file := filepath.Join(dir, "regctl-"+ref+strings.Join(options, "")+".tar")
	args := append([]string{"image", "export", "--name", name}, options...)
	built(t, "regctl").withEnv("HOME="+dir).run(t, append(args, "ocidir://"+testLayout+":"+ref, file)...)
	return file
}

// expectPlatforms expects the images of all of multi's platforms.
func expectPlatforms(t *testing.T, names ...string) expectation {
	t.Helper()
	images := layoutImages(t, testLayout, "multi")
	return expectation{image: images[0], others: images[1:], names: names}
}

// writeUmoci adds a name and an image to a copy of the test layout, and makes a tar of that, which
// umoci leaves to its user.
func writeUmoci(t *testing.T, dir string) []archive {
	t.Helper()
	layout := filepath.Join(dir, "layout")
	require.NoError(t, os.CopyFS(layout, os.DirFS(testLayout)))
	umoci := debian(t, "umoci")
	umoci.run(t, "tag", "--image", layout+":one", "again")
	umoci.run(t, "config", "--image", layout+":two", "--tag", "changed", "--config.env", "CHANGED=yes")
	images := []expectation{expectPlatforms(t), expectOne(t), {image: layoutImage(t, layout, "changed")}}
	return []archive{{name: "layout", path: tarDirectory(t, layout), images: images}}
}

// gzipFile compresses a file into another beside it.
func gzipFile(t *testing.T, file string) string {
	t.Helper()
	content, err := os.ReadFile(file)
	require.NoError(t, err)
	var compressed bytes.Buffer
	compressor := gzip.NewWriter(&compressed)
	_, err = compressor.Write(content)
	require.NoError(t, err)
	require.NoError(t, compressor.Close())
	require.NoError(t, os.WriteFile(file+".gz", compressed.Bytes(), 0o644))
	return file + ".gz"
}

// tarDirectory puts the content of a directory into a tar beside it.
func tarDirectory(t *testing.T, dir string) string {
	t.Helper()
	file, err := os.Create(dir + ".tar")
	require.NoError(t, err)
	defer file.Close()
	archive := tar.NewWriter(io.Writer(file))
	require.NoError(t, archive.AddFS(os.DirFS(dir)))
	require.NoError(t, archive.Close())
	return file.Name()
}
