//go:build interop

package interop

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestMadeOfOddInputs gives make odd ignore patterns, bases, compressions, names and times.
// docker 29 shows the result, and the command says what it has done.
func TestMadeOfOddInputs(t *testing.T) {
	dir := daemonDir(t)
	shell(t, `cd "$1"
mkdir -p c/d && printf s >c/secret.env && printf l >c/a.log && printf k >c/d/keep.log && printf f >c/f
printf '\357\273\277# what stays here\r\n/secret.env\r\n**/*.log\r\n!d/keep.log\r\n' >c/.dockerignore
printf 'FROM base:1\nCOPY . /c\n' >c/Dockerfile
printf x >x && tar -cf x.tar x && xz x.tar
printf b >b && tar -cf b.tar b && bzip2 b.tar
printf up >up && tar -P -cf up.tar --transform 's,^,../../,' up
printf n >named && ln -s named link
printf late >late && touch -d 2242-01-01 late
printf '{"config": {"Env": ["A=1", "B=1", "A=2"]}}' >config.json`, dir)
	at := func(name string) string { return filepath.Join(dir, name) }
	da, d := dockerArchive(t), newBuiltDocker(true)(t).(dockerd)
	// makes returns the output of make, the directory of the image's files in docker, and its
	// config.
	makes := func(name string, args ...string) (said, root string, config map[string]any) {
		out, stderr := at(name+".tar"), at(name+".said")
		argv := append(append([]string{stderr}, da.argv...), append(args, "-t", name+":1", "-o", out)...)
		shell(t, `stderr=$1; shift; "$@" 2>"$stderr"`, argv...)
		b, err := os.ReadFile(stderr)
		require.NoError(t, err)
		d.docker.run(t, "load", "--input", out)
		root = filepath.Join(daemonDir(t), "root")
		require.NoError(t, os.Mkdir(root, 0o755))
		d.store.ctr.run(t, "images", "mount", "--snapshotter", "overlayfs", "docker.io/library/"+name+":1", root)
		require.NoError(t, json.Unmarshal([]byte(d.docker.run(t, "image", "inspect", "--format", "{{json .}}", name+":1")), &config))
		return string(b), root, config
	}

	_, _, _ = makes("base", "make", "--layer", at("x.tar.xz"), "--config", at("config.json"))
	ignored, err := os.ReadFile(at("c/.dockerignore"))
	require.NoError(t, err)
	said, root, config := makes("made", "make", "--base", "docker-archive:"+at("base.tar"), "--layer", at("b.tar.bz2"), "--layer", at("up.tar"),
		"--add", at("link")+":/linked", "--add", at("late")+":/a:b", "--add", at("c")+":/c", "--exclude", string(ignored), "--env", "A=3")
	assert.Equal(t, "a:b=late b=b c/ c/.dockerignore="+string(ignored)+" c/Dockerfile=FROM base:1\nCOPY . /c\n c/d/ c/d/keep.log=k c/f=f linked=n up=up x=x", treeWords(t, root))
	for _, want := range []string{"bzip2", `"../../up" leads out of the image`, "2242"} {
		assert.Contains(t, said, want)
	}
	assert.Equal(t, []any{"A=3", "B=1"}, config["Config"].(map[string]any)["Env"])
	assert.Less(t, config["Created"].(string), "2200")
	d.docker.withEnv("DOCKER_BUILDKIT=1").run(t, "build", "--quiet", "--tag", "copied:1", at("c"))
	copied := filepath.Join(daemonDir(t), "root")
	require.NoError(t, os.Mkdir(copied, 0o755))
	d.store.ctr.run(t, "images", "mount", "--snapshotter", "overlayfs", "docker.io/library/copied:1", copied)
	assert.Equal(t, treeWords(t, filepath.Join(copied, "c")), treeWords(t, filepath.Join(root, "c")))

	for _, base := range []string{"history-short", "nondistributable-present"} {
		_, root, _ := makes(base, "make", "--base", "../testdata/cases/"+base+".tar", "--add", at("named")+":/added")
		assert.Contains(t, " "+treeWords(t, root)+" ", " added=n ", base)
	}

	_, err = da.withEnv("SOURCE_DATE_EPOCH=soon").try(t, "make", "--layer", at("up.tar"), "-o", at("refused.tar"))
	require.ErrorContains(t, err, `SOURCE_DATE_EPOCH="soon" is not a number`)
	require.NoFileExists(t, at("refused.tar"))
}

// TestMadeOfAContainer has buildah and make commit the same container. docker 29 shows the same
// of both.
func TestMadeOfAContainer(t *testing.T) {
	dir := daemonDir(t)
	conf := filepath.Join(dir, "storage.conf")
	writeText(t, conf, "[storage]\ndriver = \"vfs\"\ngraphroot = \""+filepath.Join(dir, "root")+"\"\nrunroot = \""+filepath.Join(dir, "run")+"\"\n")
	writeText(t, filepath.Join(dir, "f"), "new")
	buildah := buildahIn(t, dir)
	base, err := filepath.Abs(testLayout)
	require.NoError(t, err)
	buildah.run(t, "from", "--name", "c", "oci:"+base+":one")
	buildah.run(t, "copy", "c", filepath.Join(dir, "f"), "/opt/f")
	buildah.run(t, "config", "--created-by", "by hand", "--comment", "a comment", "--history-comment", "of one step", "--env", "A=1", "--label", "l=m", "--annotation", "n=o", "--healthcheck", "CMD x", "--shell", "/bin/x -c", "--cmd", "y", "c")
	d := newBuiltDocker(true)(t).(dockerd)
	shown := map[string]string{}
	for name, commit := range map[string]func(string){
		"theirs": func(tar string) {
			buildah.run(t, "commit", "--quiet", "--format", "docker", "--timestamp", "0", "--identity-label=false", "c", "docker-archive:"+tar+":theirs:1")
		},
		"ours": func(tar string) {
			dockerArchive(t).withEnv("CONTAINERS_STORAGE_CONF="+conf).run(t, "make", "--quiet", "--format", "docker", "--timestamp", "0", "--rewrite-timestamp", "--container", "c", "-t", "ours:1", "-o", tar)
		},
	} {
		tar := filepath.Join(dir, name+".tar")
		commit(tar)
		d.docker.run(t, "load", "--input", tar)
		root := filepath.Join(daemonDir(t), "root")
		require.NoError(t, os.Mkdir(root, 0o755))
		d.store.ctr.run(t, "images", "mount", "--snapshotter", "overlayfs", "docker.io/library/"+name+":1", root)
		shown[name] = treeWords(t, root) + "\n" + d.docker.run(t, "image", "inspect", "--format", "{{.Created}} {{.Author}} {{.Comment}} {{json .Config}}", name+":1") +
			d.docker.run(t, "history", "--no-trunc", "--format", "{{.CreatedBy}} {{.Comment}}", name+":1")
	}
	shown["theirs"] = strings.ReplaceAll(shown["theirs"], "stepFROM ", "step FROM ") // buildah puts nothing between the two.
	assert.Equal(t, shown["theirs"], shown["ours"])
	for _, kept := range []string{"opt/f=new", "by hand", "of one step", `"l":"m"`, `"A=1"`, "/bin/x"} {
		assert.True(t, strings.Contains(shown["ours"], kept), "%s in %s", kept, shown["ours"])
	}
}
