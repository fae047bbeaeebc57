//go:build interop

package interop

import (
	"archive/tar"
	"cmp"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/docker/reference"
	"golang.org/x/sys/unix"

	"github.com/dockerarchive/dockerarchive/compose"
	"github.com/dockerarchive/dockerarchive/podman/making"
)

// TestMatrix puts treeCases into images, each in a directory of its own, and compares the trees that
// every client shows, of their layers and of all squashed here, with the tree that the command
// extracts. testdata/matrix.txt has all differences; docs/making.md explains them. MATRIX_UPDATE=1
// writes it.
func TestMatrix(t *testing.T) {
	dir := daemonDir(t)
	all := writeMatrix(t, dir, "all", treeCases, false)
	root := filepath.Join(dir, "extracted")
	dockerArchive(t).run(t, "extract", all.path, root)
	want := matrixTree(t, root)
	for _, c := range treeCases {
		assert.Equal(t, c.want, treeWords(t, filepath.Join(root, c.name)), c.name)
	}
	images := []matrixImage{writeMatrix(t, dir, "squashed", treeCases, true)}
	for _, refused := range []string{"", across, duplicates, twiceGone, belowFile, afterFile, afterDir, oddType} {
		var cases []treeCase
		for _, c := range treeCases {
			if c.refused == refused {
				cases = append(cases, c)
			}
		}
		images = append(images, writeMatrix(t, dir, cmp.Or(refused, "layered"), cases, false))
	}
	differences := &matrixDifferences{viewers: map[string][]string{}}
	t.Run("viewers", func(t *testing.T) {
		for _, viewer := range treeViewers {
			t.Run(viewer.name, func(t *testing.T) {
				t.Parallel()
				show := viewer.start(t)
				for _, image := range images {
					root, err := show(t, image.path, image.name)
					differences.add(t, viewer.name, image, want, root, err)
				}
			})
		}
	})
	requireDifferences(t, differences)
}

// A matrixImage is one of some cases, in an archive.
type matrixImage struct {
	kind, name, path string
	cases            map[string]bool
}

func writeMatrix(t *testing.T, dir, kind string, cases []treeCase, squash bool) matrixImage {
	t.Helper()
	id := strings.ReplaceAll(kind, " ", "-")
	m := matrixImage{kind, "example.com/matrix:" + id, filepath.Join(dir, id+".tar"), map[string]bool{}}
	for _, c := range cases {
		m.cases[c.name] = true
	}
	img := &compose.Image{Layers: matrixLayers(t, filepath.Join(dir, id), cases), Change: forLinux, Squash: squash}
	_, err := making.WriteArchive(t.Context(), m.path, img, &making.ArchiveOptions{Names: []reference.Named{parseNames(t, []string{m.name})[0]}})
	require.NoError(t, err)
	return m
}

// matrixDifferences are the differences, with the clients that show them. It is used concurrently.
type matrixDifferences struct {
	mutex   sync.Mutex
	viewers map[string][]string
}

// matrixRefusals are the reasons why clients refuse whole images of cases. The last is part of
// podman's complaint about every archive that it refuses.
var matrixRefusals = []string{"unhandled tar header type", "unknown typeflag", "duplicates of file paths not supported", "file exists", "no such file or directory", "not a directory"}

// add notes the tree that a viewer shows of an image at root, or why it shows nothing.
func (m *matrixDifferences) add(t *testing.T, viewer string, image matrixImage, want map[string]string, root string, refused error) {
	t.Helper()
	note := func(format string, args ...any) {
		m.mutex.Lock()
		defer m.mutex.Unlock()
		line := image.kind + " " + fmt.Sprintf(format, args...)
		m.viewers[line] = append(m.viewers[line], viewer)
	}
	if refused != nil {
		at := slices.IndexFunc(matrixRefusals, func(reason string) bool { return strings.Contains(refused.Error(), reason) })
		require.GreaterOrEqual(t, at, 0, "%v", refused)
		require.NotContains(t, []string{"layered", "squashed"}, image.kind, "%v", refused)
		note("is refused: %s", matrixRefusals[at])
		return
	}
	got := matrixTree(t, root)
	names := maps.Clone(want)
	maps.Copy(names, got)
	for name := range names {
		of, _, _ := strings.Cut(name, "/")
		if got[name] == want[name] || !image.cases[of] {
			continue
		}
		note("%q is %s, not %s", name, cmp.Or(got[name], "missing"), cmp.Or(want[name], "missing"))
	}
}

// requireDifferences compares the differences with testdata/matrix.txt, and that with the manual.
func requireDifferences(t *testing.T, m *matrixDifferences) {
	t.Helper()
	var lines []string
	for line, viewers := range m.viewers {
		slices.Sort(viewers)
		lines = append(lines, line+": "+strings.Join(viewers, ", "))
	}
	slices.Sort(lines)
	found := strings.Join(lines, "\n") + "\n"
	path := filepath.Join("testdata", "matrix.txt")
	if os.Getenv("MATRIX_UPDATE") != "" {
		writeText(t, path, found)
	}
	known, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, string(known), found)
	manual, err := os.ReadFile(filepath.Join("..", "docs", "making.md"))
	require.NoError(t, err)
	for _, c := range treeCases {
		if strings.Contains(found, `"`+c.name+`/`) || c.refused != "" {
			assert.True(t, strings.Contains(string(manual), "`"+c.name+"`"), "docs/making.md says nothing of %s", c.name)
		}
	}
}

// matrixLayers writes a tar for each layer of the image of all cases.
func matrixLayers(t *testing.T, dir string, cases []treeCase) []compose.Layer {
	t.Helper()
	require.NoError(t, os.Mkdir(dir, 0o755))
	var layers []compose.Layer
	for i := range 3 {
		path := filepath.Join(dir, fmt.Sprintf("layer%d.tar", i))
		f, err := os.Create(path)
		require.NoError(t, err)
		w := tar.NewWriter(f)
		for _, c := range cases {
			if i >= len(c.layers) {
				continue
			}
			// Some clients give directories without an entry attributes of their own.
			for _, e := range append(layer{folder("@")}, c.layers[i]...) {
				writeEntry(t, w, e, c.name)
			}
		}
		require.NoError(t, w.Close())
		require.NoError(t, f.Close())
		layers = append(layers, compose.Layer{Content: compose.Tar(path)})
	}
	return layers
}

func writeEntry(t *testing.T, w *tar.Writer, e entry, name string) {
	t.Helper()
	e.Name, e.Linkname = strings.Replace(e.Name, "@", name, 1), strings.Replace(e.Linkname, "@", name, 1)
	if e.Format = tar.FormatPAX; e.ModTime.IsZero() {
		e.ModTime = time.Unix(1e9, 0)
	}
	require.NoError(t, w.WriteHeader(&e.Header), name)
	_, err := w.Write([]byte(e.content))
	require.NoError(t, err)
}

// sha256s are shortened, to be easier to read.
var sha256s = regexp.MustCompile(`\b([0-9a-f]{6})[0-9a-f]{58}\b`)

// matrixTree is readTree with the fractions of times.
func matrixTree(t *testing.T, root string) map[string]string {
	t.Helper()
	tree := readTree(t, root)
	for name, line := range tree {
		line = sha256s.ReplaceAllString(line, "$1")
		info, err := os.Lstat(filepath.Join(root, name))
		if err == nil && !info.IsDir() {
			if nsec := info.Sys().(*syscall.Stat_t).Mtim.Nsec; nsec != 0 {
				line += fmt.Sprintf(" +%dns", nsec)
			}
		}
		tree[name] = line
	}
	delete(tree, ".")
	return tree
}

// treeWords describes a directory as treeCase.want does.
func treeWords(t *testing.T, root string) string {
	t.Helper()
	var words []string
	require.NoError(t, filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == root {
			return err
		}
		name := strings.TrimPrefix(path, root+"/")
		switch d.Type() {
		case fs.ModeDir:
			name += "/"
		case fs.ModeSymlink:
			target, err := os.Readlink(path)
			if err != nil {
				return err
			}
			name += "->" + target
		case 0:
			content, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			name += "=" + string(content)
		default:
			name += "|"
		}
		words = append(words, name)
		return nil
	}))
	slices.Sort(words)
	return strings.Join(words, " ")
}

// A treeViewer is started once, and then shows images: it returns the directory that an image of
// an archive is mounted at or unpacked to, or why the client refuses it.
type treeViewer struct {
	name  string
	start func(t *testing.T) showTree
}

type showTree func(t *testing.T, path, name string) (string, error)

var treeViewers = []treeViewer{
	{"docker 20 overlay2", func(t *testing.T) showTree { return viewOverlay2(newDebianDocker(t).(dockerd).docker) }},
	{"docker 29 overlay2", func(t *testing.T) showTree { return viewOverlay2(newBuiltDocker(false)(t).(dockerd).docker) }},
	{"docker 29 containerd", func(t *testing.T) showTree {
		d := newBuiltDocker(true)(t).(dockerd)
		return func(t *testing.T, path, name string) (string, error) {
			if _, err := d.docker.try(t, "load", "--input", path); err != nil {
				return "", err
			}
			root := filepath.Join(daemonDir(t), "root")
			require.NoError(t, os.Mkdir(root, 0o755))
			var err error
			for range 5 {
				// Docker has unpacked the image, too. If it could not, containerd collects the layers
				// below as garbage, at times when they have just been found again.
				_, err = d.store.ctr.try(t, "images", "mount", "--snapshotter", "overlayfs", name, root)
				if err == nil || !strings.Contains(err.Error(), "does not exist: not found") {
					break
				}
			}
			return root, err
		}
	}},
	{"podman overlay", func(t *testing.T) showTree {
		podman := podmanIn(t, daemonDir(t)).with("--storage-driver", "overlay")
		return func(t *testing.T, path, name string) (string, error) {
			if _, err := podman.try(t, "load", "--quiet", "--input", path); err != nil {
				return "", err
			}
			root, err := podman.try(t, "image", "mount", name)
			return strings.TrimSpace(root), err
		}
	}},
	{"buildah vfs", func(t *testing.T) showTree {
		buildah := buildahIn(t, daemonDir(t))
		return func(t *testing.T, path, name string) (string, error) {
			if _, err := buildah.try(t, "pull", "--quiet", "docker-archive:"+path+":"+name); err != nil {
				return "", err
			}
			root, err := buildah.try(t, "mount", strings.TrimSpace(buildah.run(t, "from", name)))
			return strings.TrimSpace(root), err
		}
	}},
	{"umoci", func(*testing.T) showTree {
		return func(t *testing.T, path, _ string) (string, error) {
			layout := filepath.Join(t.TempDir(), "umoci")
			debian(t, "skopeo").run(t, "--insecure-policy", "copy", "docker-archive:"+path, "oci:"+layout+":x")
			_, err := debian(t, "umoci").try(t, "raw", "unpack", "--image", layout+":x", layout+"-rootfs")
			return layout + "-rootfs", err
		}
	}},
	{"crane export", func(*testing.T) showTree {
		return func(t *testing.T, path, _ string) (string, error) {
			root := t.TempDir()
			// tar goes on after entries that it cannot unpack: these are differences.
			shell(t, `"$1" export - "$3.tar" <"$2"
				tar --xattrs --xattrs-include='*' --same-owner --numeric-owner -xpf "$3.tar" -C "$3" || [ $? = 2 ]
				rm "$3.tar"`, built(t, "crane").argv[0], path, root)
			return root, nil
		}
	}},
}

// viewOverlay2 mounts the image as docker does for a container.
func viewOverlay2(docker program) showTree {
	return func(t *testing.T, path, name string) (string, error) {
		if _, err := docker.try(t, "load", "--input", path); err != nil {
			return "", err
		}
		var driver struct {
			Name string
			Data struct{ LowerDir, UpperDir string }
		}
		require.NoError(t, json.Unmarshal([]byte(docker.run(t, "image", "inspect", "--format", "{{json .GraphDriver}}", name)), &driver))
		require.Equal(t, "overlay2", driver.Name)
		dir := daemonDir(t)
		root, empty := filepath.Join(dir, "root"), filepath.Join(dir, "empty")
		require.NoError(t, os.Mkdir(root, 0o755))
		require.NoError(t, os.Mkdir(empty, 0o755))
		// One layer alone is no overlay.
		lower := strings.Trim(driver.Data.UpperDir+":"+driver.Data.LowerDir, ":") + ":" + empty
		return root, unix.Mount("overlay", root, "overlay", unix.MS_RDONLY, "lowerdir="+lower)
	}
}
