//go:build interop

package interop

import (
	"archive/tar"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A placing puts files into a directory of a base, and takes some away. An @ in it stands for the
// case's directory.
type placing struct {
	name string
	base [2]layer // of two layers
	args []string // of make; $ stands for the directory of files
	// copies are the sources and destinations of COPY that do the same, if any.
	copies []string
	want   string // as treeCase.want says it
}

var target = layer{folder("@"), folder("@/t"), file("@/t/k", "k")}

func based(entries ...entry) [2]layer { return [2]layer{append(target[:3:3], entries...)} }

// placings are the cases of destinations that lead through links, of parents, and of removals.
var placings = []placing{
	{"relative", based(symlink("@/l", "t")), []string{"--add", "$/f:/@/l/f"}, []string{"f /@/l/f"}, "l->t t/ t/f=new t/k=k"},
	{"absolute", based(symlink("@/l", "/@/t")), []string{"--add", "$/f:/@/l/x/y"}, []string{"f /@/l/x/y"}, "l->/absolute/t t/ t/k=k t/x/ t/x/y=new"},
	{"chain", based(symlink("@/m", "t"), symlink("@/l", "m")), []string{"--add", "$/f:/@/l/"}, []string{"f /@/l/"}, "l->m m->t t/ t/f=new t/k=k"},
	{"out-of-the-image", based(symlink("@/l", "../../../@/t")), []string{"--add", "$/f:/@/l/f"}, []string{"f /@/l/f"}, "l->../../../out-of-the-image/t t/ t/f=new t/k=k"},
	{"into-a-link", based(symlink("@/l", "./t/.")), []string{"--add", "$/f:/@/l"}, []string{"f /@/l"}, "l->./t/. t/ t/f=new t/k=k"},
	{"dangling-parent", based(symlink("@/l", "no/where")), []string{"--add", "$/f:/@/l/f"}, []string{"f /@/l/f"}, "l->no/where no/ no/where/ no/where/f=new t/ t/k=k"},
	{"dangling", based(symlink("@/l", "no")), []string{"--add", "$/f:/@/l"}, []string{"f /@/l"}, "l->no no=new t/ t/k=k"},
	{"link-to-a-file", based(symlink("@/l", "t/k")), []string{"--add", "$/f:/@/l"}, []string{"f /@/l"}, "l->t/k t/ t/k=new"},
	{"link-of-its-name", based(symlink("@/f", "t/k")), []string{"--add", "$/f:/@/"}, []string{"f /@/"}, "f=new t/ t/k=k"},
	{"directory", based(symlink("@/l", "t")), []string{"--add", "$/d:/@/l"}, []string{"d /@/l"}, "l->t t/ t/e/ t/e/in=in t/k=k t/l=l"},
	{"empty-directory", based(), []string{"--add", "$/empty:/@/n/e"}, []string{"empty /@/n/e"}, "n/ n/e/ t/ t/k=k"},
	{"dots", based(symlink("@/l", "t")), []string{"--add", "$/f:/@/l/../z"}, []string{"f /@/l/../z"}, "l->t t/ t/k=k z=new"},
	{"link-removed-above", [2]layer{append(target[:3:3], symlink("@/l", "t")), {folder("@"), whiteout("@/l")}}, []string{"--add", "$/f:/@/l/f"}, []string{"f /@/l/f"}, "l/ l/f=new t/ t/k=k"},
	{"link-replaced-above", [2]layer{append(target[:3:3], symlink("@/l", "t")), {folder("@"), folder("@/l")}}, []string{"--add", "$/f:/@/l/f"}, []string{"f /@/l/f"}, "l/ l/f=new t/ t/k=k"},
	{"link-made-above", [2]layer{append(target[:3:3], folder("@/l"), file("@/l/x", "x")), {folder("@"), symlink("@/l", "t")}}, []string{"--add", "$/f:/@/l/f"}, []string{"f /@/l/f"}, "l->t t/ t/f=new t/k=k"},
	{"sticky", based(folder("@/s").mode(0o1777)), []string{"--add", "$/f:/@/s/f"}, []string{"f /@/s/f"}, "s/ s/f=new t/ t/k=k"},
	{"private", based(folder("@/h").mode(0o700).owner(1000, 1000)), []string{"--add", "$/f:/@/h/n/f"}, []string{"f /@/h/n/f"}, "h/ h/n/ h/n/f=new t/ t/k=k"},
	{"twice", based(), []string{"--add", "$/f:/@/x", "--add", "$/g:/@/x"}, []string{"f /@/x", "g /@/x"}, "t/ t/k=k x=other"},
	{"over-a-directory-of-files", based(), []string{"--add", "$/d:/@/n", "--add", "$/f:/@/n/e/in"}, []string{"d /@/n", "f /@/n/e/in"}, "n/ n/e/ n/e/in=new n/l=l t/ t/k=k"},
	{"through-a-link-of-its-own", based(), []string{"--add", "$/links:/@", "--add", "$/f:/@/own/f"}, []string{"links /@", "f /@/own/f"}, "own->t t/ t/f=new t/k=k"},
	{"removed-through-a-link", based(symlink("@/l", "/@/t")), []string{"--remove", "/@/l/k"}, nil, "l->/removed-through-a-link/t t/"},
	{"removed-link", based(symlink("@/l", "t")), []string{"--remove", "/@/l"}, nil, "t/ t/k=k"},
	{"removed-nothing", based(), []string{"--remove", "/@/no/such"}, nil, "t/ t/k=k"},
	{"removed-and-added", based(), []string{"--remove", "/@/t", "--add", "$/f:/@/t/f"}, nil, "t/ t/f=new"},
	{"removed-link-and-added", based(symlink("@/l", "t")), []string{"--remove", "/@/l", "--add", "$/f:/@/l/f"}, nil, "l/ l/f=new t/ t/k=k"},
	{"added-and-removed", based(), []string{"--add", "$/d:/@/n", "--remove", "/@/n/e"}, nil, "n/ n/l=l t/ t/k=k"},
	{"emptied", based(folder("@/t/x"), file("@/t/x/y", "1")), []string{"--opaque", "/@/t", "--add", "$/f:/@/t/x/f"}, nil, "t/ t/x/ t/x/f=new"},
}

// refusedPlacings are refused, with a message, in the base of placings.
var refusedPlacings = map[string]string{
	"$/f:/loop/l/f":            "leads through more than 40 symbolic links",
	"$/f:/loop/l":              "leads through more than 40 symbolic links",
	"$/f:/relative/t/k/f":      `add to "relative/t/k": it is not a directory`,
	"$/d:/relative/t/k":        `add to "relative/t/k": it is not a directory`,
	"$/t:/relative/":           `"relative/t" is a directory, which no file can replace`,
	"$/d:/link-replaced-above": `"link-replaced-above/l" is a directory`,
	"$/none:/x":                "no such file or directory",
	"$/f:/relative/../../zz":   "leads out of",
}

// TestMadeAsDockerCopies puts files into a base with make and, where possible, with COPY of
// docker 29. Docker shows the same files of both, and of the squashed image.
func TestMadeAsDockerCopies(t *testing.T) {
	dir := daemonDir(t)
	files := filepath.Join(dir, "files")
	shell(t, `mkdir -p "$1"/d/e "$1"/empty "$1"/links && cd "$1" && printf new >f && printf other >g && printf t >t && printf in >d/e/in && printf l >d/l && ln -s t links/own && touch -d @1000 f g t d/l d/e/in`, files)
	base := []string{"make", "--quiet", "-t", "base:1", "-o", filepath.Join(dir, "base.tar")}
	for i := range 2 {
		path := filepath.Join(dir, []string{"lower.tar", "upper.tar"}[i])
		f, err := os.Create(path)
		require.NoError(t, err)
		w := tar.NewWriter(f)
		for _, c := range placings {
			for _, e := range c.base[i] {
				writeEntry(t, w, e, c.name)
			}
		}
		if i == 0 {
			writeEntry(t, w, folder("loop"), "")
			writeEntry(t, w, symlink("loop/l", "l"), "")
		}
		require.NoError(t, w.Close())
		require.NoError(t, f.Close())
		base = append(base, "--layer", path)
	}
	da := dockerArchive(t)
	da.run(t, base...)
	in := []string{"make", "--quiet", "--base", "docker-archive:" + filepath.Join(dir, "base.tar")}
	for at, want := range refusedPlacings {
		out := filepath.Join(dir, "refused.tar")
		_, err := da.try(t, append(in[:4:4], "--add", strings.ReplaceAll(at, "$", files), "-o", out)...)
		require.ErrorContains(t, err, "exit status 1", at)
		require.ErrorContains(t, err, want, at)
		require.NoFileExists(t, out, at)
	}
	dockerfile := []string{"FROM base:1"}
	args := in
	for _, c := range placings {
		replace := strings.NewReplacer("@", c.name, "$", files).Replace
		for _, arg := range c.args {
			args = append(args, replace(arg))
		}
		for _, copied := range c.copies {
			dockerfile = append(dockerfile, "COPY "+replace(copied))
		}
	}
	da.run(t, append(args[:len(args):len(args)], "-t", "made:1", "-o", filepath.Join(dir, "made.tar"))...)
	da.run(t, append(args[:len(args):len(args)], "--squash", "-t", "squashed:1", "-o", filepath.Join(dir, "squashed.tar"))...)
	writeText(t, filepath.Join(files, "Dockerfile"), strings.Join(dockerfile, "\n")+"\n")

	d := newBuiltDocker(true)(t).(dockerd)
	trees := map[string]map[string]string{}
	roots := map[string]string{}
	for _, name := range []string{"base", "made", "squashed", "copied"} {
		if name == "copied" {
			d.docker.withEnv("DOCKER_BUILDKIT=1").run(t, "build", "--quiet", "--tag", "copied:1", files)
		} else {
			d.docker.run(t, "load", "--input", filepath.Join(dir, name+".tar"))
		}
		root := filepath.Join(daemonDir(t), "root")
		require.NoError(t, os.Mkdir(root, 0o755))
		d.store.ctr.run(t, "images", "mount", "--snapshotter", "overlayfs", "docker.io/library/"+name+":1", root)
		trees[name], roots[name] = matrixTree(t, root), root
	}
	for _, c := range placings {
		assert.Equal(t, c.want, treeWords(t, filepath.Join(roots["made"], c.name)), c.name)
		of := func(tree map[string]string) map[string]string {
			kept := map[string]string{}
			for name, line := range tree {
				if strings.HasPrefix(name, c.name+"/") {
					kept[name] = line
				}
			}
			return kept
		}
		assert.Equal(t, of(trees["made"]), of(trees["squashed"]), "%s, squashed", c.name)
		if c.copies != nil {
			assert.Equal(t, of(trees["copied"]), of(trees["made"]), "%s, as COPY", c.name)
		}
	}
}

// TestMadeConfigsAsDockerCommits has docker 29 change a config by instructions, and make by the
// same. Docker inspects the same of both.
func TestMadeConfigsAsDockerCommits(t *testing.T) {
	dir := daemonDir(t)
	layerFile := filepath.Join(dir, "layer.tar")
	shell(t, `mkdir "$1"/r && echo x >"$1"/r/x && tar -C "$1"/r -cf "$2" x`, dir, layerFile)
	da, d := dockerArchive(t), newBuiltDocker(true)(t).(dockerd)
	config := func(name string) map[string]any {
		var c map[string]any
		require.NoError(t, json.Unmarshal([]byte(d.docker.run(t, "image", "inspect", "--format", "{{json .Config}}", name)), &c))
		return saying(c)
	}
	all := []string{
		"ENV PATH=/bin A=aval", "ENV PATH=/opt/bin:$PATH B=${NONE:-y} C=${A:+z}", "LABEL l=$A", `USER "quoted"`, `WORKDIR "/q"`, "VOLUME /v/$A", "EXPOSE 80-82/udp", "STOPSIGNAL SIGINT",
		"ONBUILD RUN echo $A", "HEALTHCHECK --interval=5s --retries=2 CMD x", `CMD ["a", "$A"]`,
	}
	var changes []string
	for _, c := range all {
		changes = append(changes, "--change", c)
	}
	d.docker.run(t, append(append([]string{"import"}, changes...), layerFile, "theirs:1")...)
	want := config("theirs:1")
	require.Equal(t, "quoted", want["User"])
	for _, kind := range [][]string{{"--layout", "docker"}, {"--layout", "image"}, {"--layout", "image", "--format", "docker"}} {
		path := filepath.Join(t.TempDir(), "made.tar")
		da.run(t, append(append([]string{"make", "--quiet", "--layer", layerFile, "-t", "ours:1", "-o", path}, changes...), kind...)...)
		d.docker.run(t, "load", "--input", path)
		assert.Equal(t, want, config("ours:1"), "%q", kind)
		// An image that is built on it keeps all that.
		again := filepath.Join(t.TempDir(), "again.tar")
		da.run(t, append([]string{"make", "--quiet", "--base", "docker-archive:" + path, "-t", "again:1", "-o", again}, kind...)...)
		d.docker.run(t, "load", "--input", again)
		assert.Equal(t, want, config("again:1"), "%q", kind)
	}
	for flag, values := range map[string]map[string]string{
		"--change": {
			`CMD ["a", 1]`: "comprised of strings", `VOLUME [""]`: "empty string", "ONBUILD FROM x": "ONBUILD", "STOPSIGNAL NOPE": "signal", "HEALTHCHECK --interval=-1s CMD x": "interval", "HEALTHCHECK --interval=1us CMD x": "interval",
			"EXPOSE 99999": "ort: 99999", "RUN x": "not an instruction that changes a config",
		},
		"--stop-signal": {"NOPE": "signal"}, "--port": {"99999": "ort: 99999"}, "--healthcheck": {"--retries=-1 CMD x": "retries"}, "--onbuild": {"FROM x": "FROM"},
	} {
		for value, want := range values {
			_, theirs := "", error(nil)
			if flag == "--change" {
				_, theirs = d.docker.try(t, "import", "--change", value, layerFile)
			}
			_, ours := da.try(t, "make", "--quiet", "--layer", layerFile, flag, value, "-o", filepath.Join(dir, "refused.tar"))
			if flag == "--change" {
				require.Error(t, theirs, value)
			}
			require.ErrorContains(t, ours, "exit status 1", value)
			require.ErrorContains(t, ours, want, value)
		}
	}
}
