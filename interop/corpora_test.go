//go:build interop

package interop

import (
	"encoding/json"
	"io/fs"
	"maps"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A corpus is the test data of another project, as the Go module proxy has it: archives that
// were not chosen here.
type corpus struct {
	module, version string
	// files are all of its archives and OCI layouts, by their paths.
	files map[string]corpusFile
	// layouts are all directories with an index.json, and why one cannot be saved; "" if
	// it can.
	layouts map[string]string
}

// corpusFile is the content of an archive or a layout.
type corpusFile struct {
	images int    // that list shows
	none   string // why it is no archive at all; "" if it is one
	wrong  string // the error of verify, or ""
	// refused is why it cannot be saved; "" if it can.
	refused string
	// clients are those that refuse it although it is valid, with their messages.
	clients map[string]string
}

const noImages = "no images: neither manifest.json, index.json nor repositories"

var corpora = []corpus{
	{"github.com/wagoodman/dive", "v0.13.2-0.20250516191726-d6c691947f8f", map[string]corpusFile{
		".data/test-docker-image.tar":           {images: 1},
		".data/test-kaniko-image.tar":           {images: 1},
		".data/test-oci-docker-image.tar":       {images: 1, wrong: "the manifest lists the layers in another order than the config"},
		".data/test-oci-estargz-image.tar":      {images: 1},
		".data/test-oci-gzip-image.tar":         {images: 1},
		".data/test-oci-uncompressed-image.tar": {images: 1},
		".data/test-oci-zstd-image.tar":         {images: 1},
		".data/test-estargz-image.tar":          {none: noImages},
		".data/test-gzip-image.tar":             {none: noImages},
		".data/test-uncompressed-image.tar":     {none: noImages},
		".data/test-zstd-image.tar":             {none: noImages},
	}, nil},
	{"github.com/google/osv-scalibr", "v0.5.3", scalibr(), nil},
	{"github.com/google/go-containerregistry", "v0.22.1", map[string]corpusFile{
		"pkg/crane/testdata/content.tar":              {none: noImages},
		"pkg/crane/testdata/content.tar.zst":          {none: noImages},
		"pkg/v1/mutate/testdata/overwritten_file.tar": {images: 1},
		"pkg/v1/mutate/testdata/source_image.tar":     {images: 1},
		// Its config was edited, and does not match its name. Clients that do not compare the
		// two take it.
		"pkg/v1/mutate/testdata/source_image_with_empty_layer_history.tar": {images: 1, wrong: "is damaged", refused: "is damaged"},
		"pkg/v1/mutate/testdata/whiteout_dir.tar":                          {images: 1},
		"pkg/v1/mutate/testdata/whiteout_image.tar":                        {images: 1},
		"pkg/v1/tarball/testdata/content.tar":                              {none: noImages},
		// For a platform that the tests do not run on.
		"pkg/v1/tarball/testdata/hello-world-v25.tar": {images: 1, clients: map[string]string{
			"docker 29 containerd store": "image might be filtered out", "containerd 2.4": "image might be filtered out",
		}},
		"pkg/v1/tarball/testdata/no_manifest.tar":   {images: 1},
		"pkg/v1/tarball/testdata/null_manifest.tar": {none: "no images: manifest.json lists none"},
		"pkg/v1/tarball/testdata/test_bundle.tar":   {images: 2, wrong: `"test_image_2" is not of the form NAME:TAG`},
		"pkg/v1/tarball/testdata/test_image_1.tar":  {images: 1},
		"pkg/v1/tarball/testdata/test_image_2.tar":  {images: 1},
		// The layers of its second image are links to those of its first.
		"pkg/v1/tarball/testdata/test_link.tar":          {images: 2, clients: map[string]string{"skopeo": "Size mismatch"}},
		"pkg/v1/tarball/testdata/test_load_manifest.tar": {images: 1},
	}, map[string]string{
		"pkg/v1/layout/testdata/test_gc_image_unknown_mediatype": "no such file or directory",
		// Its index calls a manifest of Docker's one of OCI's.
		"pkg/v1/layout/testdata/test_gc_index": "says that it is of type",
		// Its type, application/vnd.oci.descriptor.v1+json, is unknown elsewhere.
		"pkg/v1/layout/testdata/test_index":            "unsupported manifest MIME types",
		"pkg/v1/layout/testdata/test_index_media_type": "",
		"pkg/v1/layout/testdata/test_index_one_image":  "",
	}},
	{"oras.land/oras-go/v2", "v2.7.0", map[string]corpusFile{
		"content/oci/testdata/hello-world.tar":               {images: 1},
		"content/oci/testdata/hello-world-prefixed-path.tar": {images: 1},
		"internal/fs/tarfs/testdata/cleaned_path.tar":        {none: noImages},
		"internal/fs/tarfs/testdata/prefixed_path.tar":       {none: noImages},
	}, nil},
	{"github.com/anchore/stereoscope", "v0.4.1", map[string]corpusFile{
		"pkg/image/oci/testdata/valid-oci.tar": {images: 1},
	}, map[string]string{
		"pkg/image/oci/testdata/attestation_oci_dir":        "",
		"pkg/image/oci/testdata/duplicate_platform_oci_dir": "",
		"pkg/image/oci/testdata/invalid_file":               "EOF",
		// The platform in the descriptor differs from the config's, which counts.
		"pkg/image/oci/testdata/mismatched_descriptor_oci_dir":    "",
		"pkg/image/oci/testdata/multiplatform_oci_dir":            "",
		"pkg/image/oci/testdata/no_manifests":                     "choose an image",
		"pkg/image/oci/testdata/single_image_no_platform_oci_dir": "",
		"pkg/image/oci/testdata/valid_manifest":                   "unexpected end of JSON input",
		"pkg/image/oci/testdata/valid_oci_dir":                    "",
	}},
}

func scalibr() map[string]corpusFile {
	files := map[string]corpusFile{
		"artifact/image/layerscanning/image/testdata/empty.tar":           {none: noImages},
		"artifact/image/unpack/testdata/escape.tar":                       {none: noImages},
		"extractor/filesystem/embeddedfs/archive/testdata/archive.tar":    {none: noImages},
		"extractor/filesystem/embeddedfs/archive/testdata/archive.tar.gz": {none: noImages},
		"artifact/image/tar/testdata/basic.tar":                           {images: 1},
	}
	for dir, names := range map[string]string{
		"artifact/image/layerscanning/image/testdata": "alpine-with-packages alpine basic delete-file multiple-files overwrite-file recreate-file " +
			"single-file symlink-attack symlink-basic symlink-cycle symlink-dangling symlink-depth-exceeded two-files",
		"artifact/image/unpack/testdata": "basic dangling-symlinks permissions symlinks",
	} {
		for _, name := range strings.Fields(names) {
			files[dir+"/"+name+".tar"] = corpusFile{images: 1}
		}
	}
	return files
}

// fetch has the module proxy deliver the corpus, and returns the directory.
func (c corpus) fetch(t *testing.T) string {
	t.Helper()
	cmd := exec.Command("go", "mod", "download", "-json", c.module+"@"+c.version)
	cmd.Dir = t.TempDir() // In a module, its go.mod would be changed.
	output, err := cmd.Output()
	require.NoError(t, err, "%s", output)
	var downloaded struct{ Dir string }
	require.NoError(t, json.Unmarshal(output, &downloaded))
	return downloaded.Dir
}

// find returns the archives and the OCI layouts in the corpus by their paths.
func (c corpus) find(t *testing.T, dir string) (archives, layouts []string) {
	t.Helper()
	require.NoError(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		if filepath.Base(path) == "index.json" {
			layouts = append(layouts, filepath.ToSlash(filepath.Dir(name)))
		}
		for _, suffix := range []string{".tar", ".tar.gz", ".tgz", ".tar.zst", ".tar.xz"} {
			if strings.HasSuffix(path, suffix) {
				archives = append(archives, filepath.ToSlash(name))
			}
		}
		return nil
	}))
	return archives, layouts
}

// TestCorpora reads the archives that other projects test themselves with: each is listed,
// verified, and saved in both layouts, where nothing is wrong with it any more.
func TestCorpora(t *testing.T) {
	for _, c := range corpora {
		t.Run(c.module, func(t *testing.T) {
			dir := c.fetch(t)
			archives, layouts := c.find(t, dir)
			require.ElementsMatch(t, slices.Collect(maps.Keys(c.files)), archives, "the archives of the module")
			require.ElementsMatch(t, slices.Collect(maps.Keys(c.layouts)), layouts, "the OCI layouts of the module")
			for name, want := range c.files {
				t.Run(filepath.Base(name), func(t *testing.T) { want.try(t, filepath.Join(dir, name)) })
			}
			for name, refused := range c.layouts {
				t.Run(filepath.Base(name), func(t *testing.T) {
					saved := filepath.Join(t.TempDir(), "saved.tar")
					da := dockerArchive(t)
					_, err := da.try(t, "save", "--insecure-policy", "--quiet", "--skip-missing", "--output", saved, "oci:"+filepath.Join(dir, name))
					if refused != "" {
						require.ErrorContains(t, err, refused)
						return
					}
					require.NoError(t, err)
					da.run(t, "verify", saved)
				})
			}
		})
	}
}

// try reads and saves an archive.
func (f corpusFile) try(t *testing.T, path string) {
	da := dockerArchive(t)
	list, err := da.try(t, "list", "--json", path)
	if f.none != "" {
		require.ErrorContains(t, err, f.none)
		return
	}
	require.NoError(t, err)
	var images []any
	require.NoError(t, json.Unmarshal([]byte(list), &images))
	assert.Len(t, images, f.images)

	said, err := da.try(t, "verify", path)
	if f.wrong != "" {
		require.ErrorContains(t, err, f.wrong)
	} else {
		require.NoError(t, err, said)
	}
	want := imagesOf(t, path)
	for _, layout := range []string{"image", "docker"} {
		saved := filepath.Join(t.TempDir(), layout+".tar")
		_, err := da.try(t, "save", "--insecure-policy", "--quiet", "--layout", layout, "--output", saved, "docker-archive:"+path)
		if f.refused != "" {
			require.ErrorContains(t, err, f.refused)
			continue
		}
		require.NoError(t, err)
		da.run(t, "verify", saved)
		if f.wrong == "" && len(want) > 0 {
			assert.ElementsMatch(t, want, imagesOf(t, saved), layout)
		}
	}
}

// imagesOf returns the distinct images that manifest.json lists, with the diff IDs of their
// layers. It returns nothing for an archive without manifest.json.
func imagesOf(t *testing.T, path string) []image {
	t.Helper()
	var images []image
	for _, found := range readImages(t, path) {
		if !slices.ContainsFunc(images, func(i image) bool { return i.config == found.config }) {
			images = append(images, found)
		}
	}
	return images
}

// readImages reads manifest.json and the files that it names, under any names of images.
func readImages(t *testing.T, path string) []image {
	t.Helper()
	contents := readTar(t, path)
	var items []struct {
		Config string
		Layers []string
	}
	raw, ok := contents["manifest.json"]
	if !ok {
		return nil
	}
	require.NoError(t, json.Unmarshal(raw, &items))
	var images []image
	for _, item := range items {
		images = append(images, imageOfConfig(t, "", contents[item.Config]))
	}
	return images
}

// TestCorporaLoad loads those archives that verify accepts.
func TestCorporaLoad(t *testing.T) {
	var archives []archive
	for _, c := range corpora {
		dir := c.fetch(t)
		for name, f := range c.files {
			path := filepath.Join(dir, name)
			if f.none != "" || f.wrong != "" || isPartial(t, path) {
				continue
			}
			a := archive{name: digest.FromString(c.module + name).Encoded()[:12], path: path, refused: f.clients}
			for _, i := range imagesOf(t, path) {
				a.images = append(a.images, expectation{image: i})
			}
			if len(a.images) > 0 {
				archives = append(archives, a)
			}
		}
	}
	for _, c := range clients {
		switch c.name {
		case "docker 20.10", "docker 29 containerd store", "containerd 2.4", "podman", "skopeo":
		default:
			continue // TestLoad has them; these say most.
		}
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			client := c.start(t)
			for _, a := range archives {
				t.Run(filepath.Base(a.path), func(t *testing.T) {
					got, err := client.load(t, a)
					if refusal, ok := a.refused[c.name]; ok {
						require.ErrorContains(t, err, refusal)
						return
					}
					require.NoError(t, err)
					for _, want := range a.images {
						at := slices.IndexFunc(got, func(s shown) bool { return s.image.config == want.image.config })
						if assert.GreaterOrEqual(t, at, 0, "no image with config %s in %v", want.image.config, got) {
							assert.Equal(t, want.image.diffIDs, got[at].image.diffIDs)
						}
					}
				})
			}
		})
	}
}

// isPartial reports whether an archive has only a part of an index. Clients treat such an
// archive differently.
func isPartial(t *testing.T, path string) bool {
	t.Helper()
	contents := readTar(t, path)
	var index struct {
		Manifests []struct{ Digest digest.Digest }
	}
	if raw, ok := contents["index.json"]; ok {
		require.NoError(t, json.Unmarshal(raw, &index))
	}
	for _, m := range index.Manifests {
		var listed struct {
			Manifests []struct{ Digest digest.Digest }
		}
		if json.Unmarshal(contents[blobPath("", m.Digest)], &listed) != nil {
			return true
		}
		for _, child := range listed.Manifests {
			if _, ok := contents[blobPath("", child.Digest)]; !ok {
				return true
			}
		}
	}
	return false
}
