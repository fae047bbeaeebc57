//go:build interop

package interop

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	imagespec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/copy"
	"go.podman.io/image/v5/docker/reference"
	ocilayout "go.podman.io/image/v5/oci/layout"
	"go.podman.io/image/v5/signature"
	"go.podman.io/image/v5/storage"
	"go.podman.io/image/v5/types"
	"golang.org/x/sys/unix"

	"github.com/dockerarchive/dockerarchive/compose"
	dockerarchive "github.com/dockerarchive/dockerarchive/podman"
	"github.com/dockerarchive/dockerarchive/podman/making"
)

// TestMadeImagesRun makes images that print something, in every way to make one, and has every
// client that runs images load and run them.
func TestMadeImagesRun(t *testing.T) {
	dir := t.TempDir()
	var archives []archive
	for name, img := range madeImages(t, dir) {
		for kind, transport := range map[string]types.ImageTransport{"docker": dockerarchive.Transport, "image": dockerarchive.ImageTransport} {
			names := parseNames(t, []string{"example.com/interop/made:" + name})
			path := filepath.Join(dir, name+"-"+kind+".tar")
			_, err := making.WriteArchive(t.Context(), path, img, &making.ArchiveOptions{Transport: transport, Names: []reference.Named{names[0]}})
			require.NoError(t, err)
			archives = append(archives, archive{
				name: name + " " + kind, path: path, manifests: kind == "image",
				images: []expectation{{image: madeImage(t, img), names: []string{names[0].String()}}},
			})
		}
	}
	slices.SortFunc(archives, func(a, b archive) int { return strings.Compare(a.name, b.name) })
	for _, c := range clients {
		if !c.runs {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			client := c.start(t).(runner)
			for _, a := range archives {
				t.Run(a.name, func(t *testing.T) {
					got, err := client.load(t, a)
					require.NoError(t, err)
					compare(t, a, c.keeps, got)
					output, err := client.runImage(t, a, a.images[0].names[0])
					require.NoError(t, err)
					assert.Equal(t, helloOutput, strings.TrimSpace(output))
				})
			}
		})
	}
}

// madeImages describes images that print helloOutput.
func madeImages(t *testing.T, dir string) map[string]*compose.Image {
	t.Helper()
	layer, _ := helloLayer(t, dir)
	blob := filepath.Join(dir, "hello.tar.gz")
	require.NoError(t, os.WriteFile(blob, layer, 0o644))
	root := filepath.Join(dir, "root")
	require.NoError(t, os.Mkdir(root, 0o755))
	program, err := os.ReadFile(filepath.Join(dir, "hello"))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(root, "hello"), program, 0o755))

	base, err := ocilayout.NewReference(helloLayout(t, filepath.Join(dir)), "hello")
	require.NoError(t, err)
	opened, err := making.OpenBase(t.Context(), nil, nil, base)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, opened.Close()) })
	change := func(c *compose.Config) error {
		c.SetPlatform(imagespec.Platform{OS: runtime.GOOS, Architecture: runtime.GOARCH})
		return making.Apply(c, "ENV PATH=/", `CMD ["/hello"]`)
	}
	layers := []compose.Layer{
		{Content: compose.Tar(blob)},
		{History: imagespec.History{CreatedBy: "nothing"}},
		{Content: compose.Files(time.Time{}, compose.File{Path: "etc/config", Content: []byte("x")})},
		{Content: compose.Pack("changes", compose.Whiteouts("etc/config"), compose.DiskFile(filepath.Join(root, "hello"), compose.PackOptions{Prefix: "bin/hello"}))},
	}
	return map[string]*compose.Image{
		"directory": {Layers: []compose.Layer{{Content: compose.Dir(root, compose.PackOptions{Root: true})}}, Change: change},
		"layers":    {Layers: layers, Change: change, Format: compose.Docker},
		"based":     {Base: opened, BaseName: "hello", Layers: layers[1:]},
		"squashed":  {Base: opened, Layers: layers[2:], Squash: true},
		"plain":     {Layers: layers, Change: change, Compression: compose.Compression{Algorithm: compose.None}},
	}
}

// madeImage returns the identity of a made image.
func madeImage(t *testing.T, img *compose.Image) image {
	t.Helper()
	source, err := making.Reference(img, nil).NewImageSource(t.Context(), nil)
	require.NoError(t, err)
	defer source.Close()
	raw, _, err := source.GetManifest(t.Context(), nil)
	require.NoError(t, err)
	made, err := making.Reference(img, nil).NewImage(t.Context(), nil)
	require.NoError(t, err)
	defer made.Close()
	config, err := made.ConfigBlob(t.Context())
	require.NoError(t, err)
	return imageOfConfig(t, digest.FromBytes(raw), config)
}

// TestMadeTrees makes images of directories that have everything that a layer can have, and
// compares the trees that umoci unpacks with them.
func TestMadeTrees(t *testing.T) {
	dir := t.TempDir()
	old, now := filepath.Join(dir, "old"), filepath.Join(dir, "now")
	makeTree(t, old)
	shell(t, `cp -a "$1" "$2"`, old, now)
	changeTree(t, now)

	o := compose.PackOptions{Root: true}
	base := compose.Layer{Content: compose.Dir(old, o)}
	unpack := func(name string, img *compose.Image) map[string]string {
		return readTree(t, unpackImage(t, filepath.Join(dir, name), img))
	}
	requireSameTree(t, readTree(t, old), unpack("one", &compose.Image{Layers: []compose.Layer{base}, Change: forLinux}))
	want := readTree(t, now)
	two := &compose.Image{Layers: []compose.Layer{base, {Content: compose.DiffDir(old, now, o)}}, Change: forLinux}
	requireSameTree(t, want, unpack("two", two))
	squashed := *two
	squashed.Squash = true
	requireSameTree(t, want, unpack("squashed", &squashed))

	// Podman unpacks them to the same, too.
	path := filepath.Join(dir, "two.tar")
	_, err := making.WriteArchive(t.Context(), path, two, &making.ArchiveOptions{Names: []reference.Named{parseNames(t, []string{"example.com/two:1"})[0]}})
	require.NoError(t, err)
	podman := podmanIn(t, daemonDir(t))
	podman.run(t, "load", "--input", path)
	requireSameTree(t, want, readTree(t, strings.TrimSpace(podman.run(t, "image", "mount", "example.com/two:1"))))

	layout, err := ocilayout.NewReference(filepath.Join(dir, "one-layout"), "x")
	require.NoError(t, err)
	opened, err := making.OpenBase(t.Context(), nil, nil, layout)
	require.NoError(t, err)
	defer opened.Close()
	requireSameTree(t, want, unpack("diff", &compose.Image{Base: opened, Layers: []compose.Layer{{Content: compose.DiffBase(now, o)}}}))

	// Opaque directories, and files in directories that only lower layers have.
	three := &compose.Image{Base: opened, Layers: []compose.Layer{
		{Content: compose.Pack("changes", compose.Opaque("gone"), compose.Files(time.Unix(1e9, 0), compose.File{Path: "gone/new", Content: []byte("new")}, compose.File{Path: "sticky/new", Content: []byte("new")}))},
	}}
	shell(t, `cd "$1" && rm -r gone/* && printf new | tee gone/new >sticky/new && chmod 644 gone/new sticky/new && touch -d @1000000000 gone/new sticky/new`, old)
	requireSameTree(t, readTree(t, old), unpack("three", three))
	three.Squash = true
	requireSameTree(t, readTree(t, old), unpack("three-squashed", three))
}

// TestStoredBase uses an image in the storage of podman as a base. The storage keeps layers
// uncompressed, even if the manifest of the image says otherwise.
func TestStoredBase(t *testing.T) {
	dir := daemonDir(t)
	in := "[vfs@" + filepath.Join(dir, "root") + "+" + filepath.Join(dir, "run") + "]"
	name := in + "example.com/interop/hello:v1"
	debian(t, "skopeo").run(t, "--insecure-policy", "copy", "oci:"+helloLayout(t, dir)+":hello", "containers-storage:"+name)
	ref, err := storage.Transport.ParseReference(name)
	require.NoError(t, err)
	base, err := making.OpenBase(t.Context(), nil, nil, ref)
	require.NoError(t, err)
	defer base.Close()
	for _, squash := range []bool{false, true} {
		path := filepath.Join(dir, fmt.Sprint("made", squash, ".tar"))
		img := &compose.Image{Base: base, Layers: []compose.Layer{{Content: compose.Files(time.Time{}, compose.File{Path: "new"})}}, Squash: squash}
		made, err := making.WriteArchive(t.Context(), path, img, nil)
		require.NoError(t, err)
		if !squash {
			assert.Equal(t, imagespec.MediaTypeImageLayer, made.Base[0].MediaType)
			assert.Equal(t, imageOfConfig(t, "", made.Config).diffIDs[0], made.Base[0].Digest)
		}
		r, err := dockerarchive.NewReader(nil, path)
		require.NoError(t, err)
		report, err := r.Verify(t.Context(), nil)
		require.NoError(t, err)
		assert.Empty(t, report.Problems)
		require.NoError(t, r.Close())
	}
}

func forLinux(c *compose.Config) error {
	c.SetPlatform(imagespec.Platform{OS: "linux", Architecture: runtime.GOARCH})
	return nil
}

// makeTree makes a directory with everything that a layer can have.
func makeTree(t *testing.T, root string) {
	t.Helper()
	shell(t, `
		mkdir -p "$1" && cd "$1"
		mkdir -p dir/sub gone sticky replaced usr/bin
		chmod 1777 sticky; chmod 700 dir; chown 7:8 dir
		echo plain >dir/plain; ln dir/plain hard; ln dir/plain dir/sub/harder
		ln -s usr/bin bin; echo tool >bin/tool; ln -s ../../nowhere dangling
		mknod null c 1 3; mknod block b 8 1; mkfifo fifo; chmod 666 null
		echo setuid >setuid; chown 5:6 setuid; chmod 6755 setuid
		truncate -s 3M sparse; printf x | dd of=sparse bs=1 seek=1000000 conv=notrunc status=none
		echo cap >cap; setcap cap_net_raw+ep cap
		mkdir "$(printf 'n%.0s' $(seq 200))"; echo long >"$(printf 'n%.0s' $(seq 200))/$(printf 'm%.0s' $(seq 250))"
		printf bytes >"$(printf 'a\377\376\nb')"
		ln -s "$(printf 'l%.0s' $(seq 300))" longlink
		echo 1 >gone/one; mkdir gone/two; echo x >gone/two/x; echo r >replaced/r; echo f >file; chown 100000:200000 file
		: >empty`, root)
	require.NoError(t, unix.Setxattr(filepath.Join(root, "dir", "plain"), "user.test", []byte("\x00\xff"), 0))
	require.NoError(t, unix.Setxattr(filepath.Join(root, "sticky"), "user.dir", []byte("d"), 0))
	setTimes(t, root)
}

// changeTree changes it in every way.
func changeTree(t *testing.T, root string) {
	t.Helper()
	shell(t, `
		cd "$1"
		rm -r gone/two hard; rm -r replaced; echo file >replaced; rm file; mkdir file; echo in >file/in
		printf 'other' >dir/plain; chmod 711 dir; setcap -r cap; echo tool2 >usr/bin/tool
		ln -sfn dir bin; echo pair >pair; ln pair pair2; rm null; mknod null c 1 5; echo new >'new file'`, root)
	// Not removed: podman without overlays keeps a lower layer's attributes of a directory.
	require.NoError(t, unix.Setxattr(filepath.Join(root, "sticky"), "user.dir", []byte("e"), 0))
	setTimes(t, root)
}

// setTimes gives whole seconds, which all tars have, to all files.
func setTimes(t *testing.T, root string) {
	t.Helper()
	require.NoError(t, filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var stat unix.Stat_t
		if err := unix.Lstat(path, &stat); err != nil {
			return err
		}
		times := []unix.Timespec{{Sec: stat.Mtim.Sec}, {Sec: stat.Mtim.Sec}}
		return unix.UtimesNanoAt(unix.AT_FDCWD, path, times, unix.AT_SYMLINK_NOFOLLOW)
	}))
}

// unpackImage makes an image into a layout, NAME-layout, and has umoci unpack it.
func unpackImage(t *testing.T, name string, img *compose.Image) string {
	t.Helper()
	writeLayout(t, name+"-layout", img)
	debian(t, "umoci").run(t, "unpack", "--image", name+"-layout:x", name+"-bundle")
	return filepath.Join(name+"-bundle", "rootfs")
}

// writeLayout makes an image into a layout, where it is tagged x.
func writeLayout(t *testing.T, path string, img *compose.Image) {
	t.Helper()
	policy, err := signature.NewPolicyContext(&signature.Policy{Default: []signature.PolicyRequirement{signature.NewPRInsecureAcceptAnything()}})
	require.NoError(t, err)
	defer func() { require.NoError(t, policy.Destroy()) }()
	layout, err := ocilayout.NewReference(path, "x")
	require.NoError(t, err)
	_, err = copy.Image(t.Context(), policy, layout, making.Reference(img, nil), nil)
	require.NoError(t, err)
}

// requireSameTree compares results of readTree, and shows the files that differ.
func requireSameTree(t *testing.T, want, got map[string]string) {
	t.Helper()
	var differ []string
	for name, line := range want {
		if got[name] != line {
			differ = append(differ, fmt.Sprintf("%q should be %s and is %s", name, line, got[name]))
		}
	}
	for name := range got {
		if want[name] == "" {
			differ = append(differ, fmt.Sprintf("%q should not be there", name))
		}
	}
	require.Empty(t, differ)
}

// readTree returns one line for every file, of all that can be known of it but the time of
// directories, by its path. Hard links are marked as such.
func readTree(t *testing.T, root string) map[string]string {
	t.Helper()
	files := map[string]string{}
	first := map[uint64]string{}
	require.NoError(t, filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if errors.Is(err, fs.ErrNotExist) {
			files[name] = "listed, and not there" // So overlayfs shows a whiteout of nothing.
			return nil
		}
		if err != nil {
			return err
		}
		stat := info.Sys().(*syscall.Stat_t)
		line := fmt.Sprintf("%v %d:%d", info.Mode(), stat.Uid, stat.Gid)
		if !info.IsDir() {
			line += fmt.Sprintf(" %d %d %d", info.Size(), stat.Mtim.Sec, stat.Rdev)
			if _, ok := first[stat.Ino]; !ok {
				first[stat.Ino] = name
			}
			line += fmt.Sprintf(" %q", first[stat.Ino])
		}
		switch info.Mode().Type() {
		case 0:
			content, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			line += fmt.Sprintf(" %x", sha256.Sum256(content))
		case fs.ModeSymlink:
			target, err := os.Readlink(path)
			if err != nil {
				return err
			}
			line += " " + target
		}
		files[name] = line + xattrs(t, path)
		return nil
	}))
	return files
}

// xattrs returns the extended attributes of a file, sorted.
func xattrs(t *testing.T, path string) string {
	t.Helper()
	names, values := make([]byte, 4096), make([]byte, 4096)
	n, err := unix.Llistxattr(path, names)
	require.NoError(t, err)
	var all []string
	for _, name := range bytes.Split(names[:n], []byte{0}) {
		if len(name) == 0 {
			continue
		}
		n, err := unix.Lgetxattr(path, string(name), values)
		require.NoError(t, err)
		all = append(all, fmt.Sprintf(" %s=%q", name, values[:n]))
	}
	slices.Sort(all)
	return strings.Join(all, "")
}

// shell runs a script.
func shell(t *testing.T, script string, args ...string) {
	t.Helper()
	output, err := exec.CommandContext(t.Context(), "bash", append([]string{"-euc", script, "bash"}, args...)...).CombinedOutput()
	require.NoError(t, err, "%s", output)
}
