package main

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/internal/compression"
	"github.com/dockerarchive/dockerarchive/podman/internal/imagetest"
)

// runMake runs make and returns its standard output, standard error and exit status.
func runMake(t *testing.T, stdin io.Reader, args ...string) (stdout, stderr string, status int) {
	t.Helper()
	var out, errOut buffer
	root := newRootCommand()
	root.SetArgs(append([]string{"make", "--insecure-policy"}, args...))
	root.SetIn(stdin)
	root.SetOut(&out)
	root.SetErr(&errOut)
	if err := root.ExecuteContext(t.Context()); err != nil {
		status = report(t.Context(), &errOut, err)
	}
	return out.String(), errOut.String(), status
}

// made is an image that make has written to an archive.
type made struct {
	v1.Manifest
	config map[string]any
	run    map[string]any
	files  map[string][]byte
}

// makes runs make, which has to succeed, and returns the image.
func makes(t *testing.T, args ...string) made {
	t.Helper()
	path := filepath.Join(t.TempDir(), "made.tar")
	_, stderr, status := runMake(t, nil, append(args, "-q", "-o", path)...)
	require.Zero(t, status, stderr)
	assert.Empty(t, stderr)
	_, stderr = succeeds(t, "verify", path)
	assert.Empty(t, stderr)
	m := made{}
	m.files, _ = imagetest.Files(t, imagetest.ReadFile(t, path))
	var index v1.Index
	require.NoError(t, json.Unmarshal(m.files["index.json"], &index))
	require.Len(t, index.Manifests, 1)
	require.NoError(t, json.Unmarshal(m.files["blobs/sha256/"+index.Manifests[0].Digest.Encoded()], &m.Manifest))
	require.NoError(t, json.Unmarshal(m.files["blobs/sha256/"+m.Config.Digest.Encoded()], &m.config))
	m.run, _ = m.config["config"].(map[string]any)
	return m
}

// layer returns the headers of a layer by name, and the contents of its files.
func (m made) layer(t *testing.T, n int) (map[string]*tar.Header, map[string]string) {
	t.Helper()
	blob := m.files["blobs/sha256/"+m.Layers[n].Digest.Encoded()]
	unpacked, err := compression.NewReader(bytes.NewReader(blob), compression.Detect(blob))
	require.NoError(t, err)
	headers, contents := map[string]*tar.Header{}, map[string]string{}
	for r := tar.NewReader(unpacked); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return headers, contents
		}
		require.NoError(t, err)
		content, err := io.ReadAll(r)
		require.NoError(t, err)
		headers[h.Name], contents[h.Name] = h, string(content)
	}
}

// sourceFiles writes files to be added, and returns their directory.
func sourceFiles(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "d", "e"), 0o755))
	for _, name := range []string{"d/one", "d/e/two", "d/three.o", "single"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(name), 0o640))
	}
	return dir
}

// Every flag about the config does what it says, and leaves the rest.
func TestMakeConfig(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config.json")
	require.NoError(t, os.WriteFile(file, []byte(`{"config":{"User":"of the file","Env":["B=2"]},"author":"file"}`), 0o600))
	base := makes(t, "--base", images+"one")
	require.Equal(t, []any{"PATH=/bin", "GREETING=hi"}, base.run["Env"], "as the base has it")
	for _, c := range []struct {
		field string
		want  any
		args  []string
	}{
		{"Entrypoint", []any{"/app", "x"}, []string{"--entrypoint", `["/app", "x"]`}},
		{"Entrypoint", []any{"/bin/sh", "-c", "app x"}, []string{"--entrypoint", "app x"}},
		{"Entrypoint", nil, []string{"--entrypoint", ""}},
		{"Cmd", []any{"a"}, []string{"--cmd", `["a"]`, "--entrypoint", `["/app"]`}},
		{"Cmd", []any{"b"}, []string{"--change", `CMD ["b"]`}},
		{"Cmd", nil, []string{"--cmd", ""}},
		{"Env", []any{"PATH=/bin", "GREETING=b=c", "A=1"}, []string{"-e", "A=1", "--env", "GREETING=b=c"}},
		{"Env", []any{"PATH=/bin"}, []string{"--unset-env", "GREETING"}},
		{"Env", []any{"PATH=/bin", "GREETING=hi", "B=2"}, []string{"--config", file}},
		{"Labels", map[string]any{"maintainer": "none", "a": "b,c"}, []string{"--label", "a=b,c"}},
		{"Labels", map[string]any{"a": "b"}, []string{"--clear-labels", "-l", "a=b"}},
		{"Labels", nil, []string{"--unset-label", "maintainer"}},
		{"ExposedPorts", map[string]any{"80/tcp": map[string]any{}, "53/udp": map[string]any{}}, []string{"-p", "80", "--port", "53/udp", "-p", "1", "-p", "-1"}},
		{"Volumes", map[string]any{"/data": map[string]any{}}, []string{"-v", "/data"}},
		{"User", "1:2", []string{"-u", "1:2"}},
		{"User", "of the file", []string{"--config", file}},
		{"User", "flag", []string{"--config", file, "--user", "flag"}},
		{"WorkingDir", "/w", []string{"--workdir", "/w"}},
		{"StopSignal", "SIGINT", []string{"--stop-signal", "SIGINT"}},
	} {
		got := makes(t, append([]string{"--base", images + "one"}, c.args...)...)
		assert.Equal(t, c.want, got.run[c.field], "%s: %q", c.field, c.args)
		assert.Equal(t, base.Layers, got.Layers, "the layers of the base are kept")
		assert.Len(t, got.config["history"], len(base.config["history"].([]any)), "%q", c.args)
	}
	for _, c := range []struct {
		field string
		want  any
		args  []string
	}{
		{"Healthcheck", map[string]any{"Test": []any{"CMD", "x"}}, []string{"--healthcheck", `CMD ["x"]`}},
		{"OnBuild", []any{"RUN a"}, []string{"--onbuild", "RUN a"}},
		{"Shell", []any{"/bin/bash", "-c"}, []string{"--shell", `["/bin/bash", "-c"]`}},
	} {
		got := makes(t, append([]string{"--format", "docker", "--base", images + "one"}, c.args...)...)
		assert.Equal(t, c.want, got.run[c.field], "%s: %q", c.field, c.args)
	}
	got := makes(t, "--base", images+"one", "--author", "me", "--os-version", "1", "--os-feature", "f", "--created-by", "by hand", "-m", "why", "--timestamp", "86400",
		"--annotation", "a=b")
	assert.Equal(t, "me", got.config["author"])
	assert.Equal(t, "1", got.config["os.version"])
	assert.Equal(t, []any{"f"}, got.config["os.features"])
	assert.Equal(t, "1970-01-02T00:00:00Z", got.config["created"])
	history := got.config["history"].([]any)
	assert.Equal(t, map[string]any{"created": "1970-01-02T00:00:00Z", "created_by": "by hand", "comment": "why", "empty_layer": true, "author": "me"}, history[len(history)-1])
	assert.Equal(t, "b", got.Annotations["a"])
	got = makes(t, "--format", "docker", "--base", images+"one", "--parent", oneDigest, "--container-id", "c", "--docker-version", "24")
	assert.Equal(t, []any{oneDigest, "c", "24"}, []any{got.config["parent"], got.config["container"], got.config["docker_version"]})
	assert.Nil(t, makes(t, "--base", images+"one", "--omit-history").config["history"])

	got = makes(t, "--base", images+"one", "--set-platform", "plan9/arm64/v8")
	assert.Equal(t, []any{"plan9", "arm64", "v8"}, []any{got.config["os"], got.config["architecture"], got.config["variant"]})
	got = makes(t, "--layer", t.TempDir(), "--platform", "linux/s390x")
	assert.Equal(t, []any{"linux", "s390x"}, []any{got.config["os"], got.config["architecture"]})
	got = makes(t, "--layer", t.TempDir())
	assert.Equal(t, []any{"linux", runtime.GOARCH}, []any{got.config["os"], got.config["architecture"]})
}

// Files get where the flags say, in their order, in as many layers as they make.
func TestMakeLayers(t *testing.T) {
	dir := sourceFiles(t)
	d, single := filepath.Join(dir, "d"), filepath.Join(dir, "single")
	base := len(makes(t, "--base", images+"one").Layers)
	got := makes(t, "--base", images+"one", "--add", d+":/opt", "--add", single+":/usr/", "--add", single+":/bin/app", "--remove", "/etc/gone", "--opaque", "/var/cache",
		"--layer", d+":/x", "--remove", "/opt/one", "--exclude", "*.o", "--chmod", "755", "--timestamp", "86400", "--rewrite-timestamp")
	require.Len(t, got.Layers, base+3)
	headers, contents := got.layer(t, base)
	assert.Equal(t, "d/one", contents["opt/one"])
	assert.Equal(t, "d/e/two", contents["opt/e/two"])
	assert.Equal(t, "single", contents["usr/single"])
	assert.Equal(t, "single", contents["bin/app"])
	assert.Contains(t, headers, "etc/.wh.gone")
	assert.Contains(t, headers, "var/cache/.wh..wh..opq")
	assert.NotContains(t, headers, "opt/three.o", "it is excluded")
	require.Contains(t, headers, "opt/e/")
	assert.EqualValues(t, 0o755, headers["opt/one"].Mode)
	for _, h := range headers {
		assert.Equal(t, [2]int{}, [2]int{h.Uid, h.Gid}, h.Name)
		assert.EqualValues(t, 86400, h.ModTime.Unix(), h.Name)
	}
	headers, _ = got.layer(t, base+1)
	require.Contains(t, headers, "x/one")
	assert.EqualValues(t, 0o640, headers["x/one"].Mode, "--chmod is for --add")
	headers, _ = got.layer(t, base+2)
	assert.Contains(t, headers, "opt/.wh.one")
	assert.Len(t, headers, 2, "and its directory, as it is below")

	headers, _ = makes(t, "--layer", d, "--chown", "7:8").layer(t, 0)
	assert.Equal(t, [2]int{7, 8}, [2]int{headers["one"].Uid, headers["one"].Gid})
	headers, _ = makes(t, "--layer", d, "--chown", "9", "--layer", d).layer(t, 1)
	assert.Equal(t, [2]int{9, 9}, [2]int{headers["one"].Uid, headers["one"].Gid})
	uid, gid := os.Getuid(), os.Getgid()
	headers, _ = makes(t, "--layer", d).layer(t, 0)
	assert.Equal(t, [2]int{uid, gid}, [2]int{headers["one"].Uid, headers["one"].Gid}, "owners are kept")
	headers, _ = makes(t, "--add", single+":/s", "--chown", "keep").layer(t, 0)
	assert.Equal(t, [2]int{uid, gid}, [2]int{headers["s"].Uid, headers["s"].Gid})

	other := sourceFiles(t)
	require.NoError(t, os.Remove(filepath.Join(other, "d", "one")))
	require.NoError(t, os.WriteFile(filepath.Join(other, "d", "new"), nil, 0o600))
	headers, _ = makes(t, "--layer", d, "--diff", d+":"+filepath.Join(other, "d"), "--timestamp", "0").layer(t, 1)
	assert.Contains(t, headers, ".wh.one")
	assert.Contains(t, headers, "new")
	headers, _ = makes(t, "--base", images+"one", "--rootfs", d).layer(t, base)
	assert.Contains(t, headers, "one")
}

// A tar is taken as it is, compressed or not, from a file or from standard input.
func TestMakeOfTars(t *testing.T) {
	plain, packed := imagetest.Plain(1, 2000), imagetest.Gzip(2, 2000)
	got := makes(t, "--layer", imagetest.WriteFile(t, packed.Blob), "--layer", imagetest.WriteFile(t, plain.Blob), "--compress", "none")
	require.Len(t, got.Layers, 2)
	assert.Equal(t, packed.Digest, got.Layers[0].Digest)
	assert.Equal(t, v1.MediaTypeImageLayerGzip, got.Layers[0].MediaType)
	assert.Equal(t, plain.Digest, got.Layers[1].Digest)
	assert.Equal(t, v1.MediaTypeImageLayer, got.Layers[1].MediaType)
	got = makes(t, "--layer", imagetest.WriteFile(t, plain.Blob), "--compress", "zstd:3")
	assert.Equal(t, v1.MediaTypeImageLayerZstd, got.Layers[0].MediaType)

	path := filepath.Join(t.TempDir(), "piped.tar")
	_, stderr, status := runMake(t, bytes.NewReader(packed.Blob), "--layer", "-", "-o", path)
	require.Zero(t, status, stderr)
	files, _ := imagetest.Files(t, imagetest.ReadFile(t, path))
	assert.Contains(t, files, "blobs/sha256/"+packed.Digest.Encoded())
}

// One image is the same wherever it goes.
func TestMakeDestinations(t *testing.T) {
	dir := sourceFiles(t)
	args := []string{"--base", images + "one", "--add", filepath.Join(dir, "d") + ":/opt"}
	path, digestfile := filepath.Join(dir, "made.tar"), filepath.Join(dir, "digest")
	out, stderr, status := runMake(t, nil, append(args, "-t", "app", "-t", "other:2", "-o", path, "--digestfile", digestfile, "--iidfile", digestfile+".id")...)
	require.Zero(t, status, stderr)
	d, id := string(imagetest.ReadFile(t, digestfile)), string(imagetest.ReadFile(t, digestfile+".id"))
	contents, _ := imagetest.Files(t, imagetest.ReadFile(t, path))
	assert.Contains(t, string(contents["manifest.json"]), strings.TrimPrefix(id, "sha256:"))
	require.Contains(t, contents, "blobs/sha256/"+strings.TrimPrefix(d, "sha256:"))
	assert.Equal(t, "docker.io/library/app:latest "+d+"\ndocker.io/library/other:2 "+d+"\n", out)
	out, _ = succeeds(t, "list", "--json", path)
	assert.Contains(t, out, d)

	layout := "oci:" + filepath.Join(dir, "layout") + ":app"
	out, stderr, status = runMake(t, nil, append(args, layout)...)
	require.Zero(t, status, stderr)
	assert.Equal(t, layout+" "+d+"\n", out)
	assert.Contains(t, stderr, "copied sha256:")

	docker := filepath.Join(dir, "docker.tar")
	_, stderr, status = runMake(t, nil, append(args, "-q", "-t", "app", "--layout", "docker", "-o", docker)...)
	require.Zero(t, status, stderr)
	_, stderr = succeeds(t, "verify", docker)
	assert.Empty(t, stderr)
	again := filepath.Join(dir, "again.tar")
	_, stderr, status = runMake(t, nil, append(args, "-q", "docker-archive:"+again+":app")...)
	require.Zero(t, status, stderr)
	assert.Equal(t, imagetest.Sum(imagetest.ReadFile(t, docker)), imagetest.Sum(imagetest.ReadFile(t, again)))
}

func TestMakeSquashAndRebase(t *testing.T) {
	assert.Len(t, makes(t, "--base", images+"one", "--squash").Layers, 1)
	one := filepath.Join(t.TempDir(), "one.tar")
	_, stderr, status := runMake(t, nil, "--base", images+"one", "--add", filepath.Join(sourceFiles(t), "single")+":/s", "-o", one)
	require.Zero(t, status, stderr)
	two := makes(t, "--base", images+"two")
	got := makes(t, "--base", "image-archive:"+one, "--rebase", images+"one="+images+"two")
	require.Len(t, got.Layers, len(two.Layers)+1)
	assert.Equal(t, two.Layers, got.Layers[:len(two.Layers)])
	_, stderr, status = runMake(t, nil, "--base", images+"one", "--rebase", images+"two="+images+"one", "-o", filepath.Join(t.TempDir(), "x.tar"))
	assert.Equal(t, exitFailure, status)
	assert.Contains(t, stderr, "is not what the image was built on")
}

// Files that no layer can have are reported and left out.
func TestMakeSaysSockets(t *testing.T) {
	dir, err := os.MkdirTemp("", "make") // The paths of sockets are short.
	require.NoError(t, err)
	defer os.RemoveAll(dir) //nolint:errcheck // A temporary directory.
	listener, err := net.Listen("unix", filepath.Join(dir, "socket"))
	require.NoError(t, err)
	defer listener.Close() //nolint:errcheck // No client connects.
	_, stderr, status := runMake(t, nil, "--layer", dir, "-o", filepath.Join(t.TempDir(), "x.tar"))
	require.Zero(t, status, stderr)
	assert.Contains(t, stderr, "socket is left out: it is a socket")
}

func TestMakeUsage(t *testing.T) {
	dir := t.TempDir()
	some := []string{"--layer", dir}
	archive := append(some, "-o", filepath.Join(dir, "x.tar"))
	for want, args := range map[string][]string{
		"neither --output nor a destination":      some,
		"contradict each other":                   append(archive, "oci:x"),
		"--tag is for archives":                   append(some, "-t", "a", "oci:x"),
		"neither image nor docker":                append(archive, "--layout", "zip"),
		"neither oci nor docker":                  append(archive, "--format", "v1"),
		"--rebase needs --base":                   append(archive, "--rebase", "a=b"),
		"nothing to make an image of":             {"-o", "x.tar"},
		`--tag "No"`:                              append(archive, "-t", "No"),
		"there is no media type for layers in xz": append(archive, "--compress", "xz"),
		"neither gzip, zstd nor none":             append(archive, "--compress", "lzma"),
		"no such level":                           append(archive, "--compress", "gzip:10"),
		"seconds since 1970":                      append(archive, "--timestamp", "yesterday"),
		"--rewrite-timestamp needs":               append(archive, "--rewrite-timestamp"),
		`--annotation "a"`:                        append(archive, "--annotation", "a"),
		`--env "A"`:                               append(archive, "-e", "A"),
		`--parent "x"`:                            append(archive, "--parent", "x"),
		"neither UID[:GID] nor keep":              append(archive, "--chown", "me"),
		"no octal mode":                           append(archive, "--chmod", "rwx", "--add", dir+":/x"),
		"not of the form IMAGE:HOST:SIZE":         append(archive, "--uid-map", "1:2"),
		"not of the form SRC:DST":                 append(archive, "--add", dir),
		"not of the form OLD:NEW":                 append(archive, "--diff", dir),
		`--base "No Name"`:                        append(archive, "--base", "No Name"),
		"destination: ":                           append(some, "nothing"),
		"it is empty":                             append(archive, "--layer", ""),
	} {
		t.Setenv("SOURCE_DATE_EPOCH", "")
		_, stderr, status := runMake(t, nil, args...)
		assert.Equal(t, exitUsage, status, "%s: %s", want, stderr)
		assert.Contains(t, stderr, want)
	}
	for want, args := range map[string][]string{
		"no such file":        append(archive, "--add", filepath.Join(dir, "none")+":/x"),
		"changing the config": append(archive, "--change", "RUN x"),
		"--config: ":          append(archive, "--config", filepath.Join(dir, "none")),
		"opening oci:":        append(archive, "--base", images+"none"),
	} {
		_, stderr, status := runMake(t, nil, args...)
		assert.Equal(t, exitFailure, status, "%s: %s", want, stderr)
		assert.Contains(t, stderr, want)
		assert.NoFileExists(t, filepath.Join(dir, "x.tar"))
	}
}

// The policy decides what may be built on.
func TestMakeObeysThePolicy(t *testing.T) {
	policy := filepath.Join(t.TempDir(), "policy.json")
	require.NoError(t, os.WriteFile(policy, []byte(`{"default":[{"type":"reject"}]}`), 0o600))
	var errOut buffer
	root := newRootCommand()
	root.SetArgs([]string{"make", "--policy", policy, "--base", images + "one", "-o", filepath.Join(t.TempDir(), "x.tar")})
	root.SetErr(&errOut)
	err := root.ExecuteContext(t.Context())
	require.ErrorContains(t, err, "rejected by policy")
}
