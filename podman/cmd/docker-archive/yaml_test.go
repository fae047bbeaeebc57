package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/podman/internal/imagetest"
)

// found returns the images that yamlImages finds, as LINE IMAGE PLATFORM.
func found(t *testing.T, document string) []string {
	t.Helper()
	listed, err := yamlImages(strings.NewReader(document), "f")
	require.NoError(t, err)
	var lines []string
	for _, a := range listed.images {
		line := strings.TrimSpace(strings.TrimPrefix(a.place, "f:") + " " + a.text + " " + a.platform)
		if a.name != "" {
			line += " =" + a.name
		}
		lines = append(lines, line)
	}
	return lines
}

func TestImagesOfManifests(t *testing.T) {
	assert.Equal(t, []string{
		"11 init:1", "13 quay.io/a/b@sha256:" + strings.Repeat("0", 64), "15 debug:2", "18 data:3", "33 cron:1",
	}, found(t, `
apiVersion: apps/v1
kind: Deployment
metadata: {name: a, annotations: {image: "not:this"}}
spec:
  image: not/this:either
  template:
    spec:
      initContainers:
      - name: i
        image: init:1
      containers:
      - image: quay.io/a/b@sha256:`+strings.Repeat("0", 64)+`
      ephemeralContainers:
      - image: debug:2
      volumes:
      - image:
          reference: data:3
---
# nothing
---
apiVersion: v1
kind: List
items:
- apiVersion: batch/v1
  kind: CronJob
  spec:
    jobTemplate:
      spec:
        template:
          spec:
            containers:
            - image: &cron
                cron:1
            - {name: none}
            - {image: ""}
            - image: *cron
`))
}

func TestImagesOfCustomResources(t *testing.T) {
	assert.Equal(t, []string{
		"5 quay.io/prometheus/prometheus:v3", "6 a/b", "7 pg:16", "9 r.example:5000/gpu/driver:1.2", "14 side:1",
	}, found(t, `apiVersion: monitoring.coreos.com/v1
kind: Prometheus
spec:
  configImage: plain
  image: quay.io/prometheus/prometheus:v3
  baseImage: a/b
  imageName: pg:16
  driver:
    image: {registry: "r.example:5000", repository: gpu/driver, tag: 1.2}
  logo: {image: ""}
  imagePullPolicy: Always
  image_count: 3
  containers:
  - image: side:1
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
spec:
  image: not/this:1
  schema: {properties: {containers: {items: {properties: {image: {type: string}}}}}}
`))
}

func TestImagesOfCompose(t *testing.T) {
	assert.Equal(t, []string{"3 base:1", "7 db:17 linux/arm64", "8 web linux/amd64"}, found(t, `
x-base: &base
  image: base:1
services:
  first:
    <<: [*base]
  db: {image: "db:17", platform: linux/arm64}
  web: {<<: *base, image: web, platform: linux/amd64}
  built: {build: .}
`))
}

func TestManifestsThatNameNothing(t *testing.T) {
	for document, want := range map[string]string{
		"":                                       "f: no image is named there",
		"kind: Secret":                           "f: no image is named there",
		"containers:\n- image: No:1":             `f:2: image "No:1": invalid reference format`,
		"services: {a: {image: 'a:${TAG}'}}":     "has a variable; give what docker compose config prints",
		"services: {a: {image: a, platform: x}}": `f:1: platform "x" is not of the form OS/ARCH`,
		"a: &a {b: *a}":                          "f: no image is named there",
		"a: [\n}":                                "reading the images in f: yaml: line 1",
		"\x00\x01":                               "reading the images in f: ",
	} {
		_, err := yamlImages(strings.NewReader(document), "f")
		assert.ErrorContains(t, err, want, document)
	}
}

// Aliases of aliases are a few nodes, and many documents.
func TestManifestOfAliases(t *testing.T) {
	var document strings.Builder
	document.WriteString("a0: &a0 {containers: [{image: a}]}\n")
	for i := range 60 {
		fmt.Fprintf(&document, "a%d: &a%d [*a%d, *a%d]\n", i+1, i+1, i, i)
	}
	assert.Equal(t, []string{"1 a"}, found(t, document.String()))
}

// Mappings that are merged into one another are looked at once for a key, and not 10^20 times.
func TestManifestOfMerges(t *testing.T) {
	var document strings.Builder
	document.WriteString("x0: &a0 {image: a}\n")
	for i := range 20 {
		fmt.Fprintf(&document, "x%d: &a%d {<<: [%s*a%d]}\n", i+1, i+1, strings.Repeat(fmt.Sprintf("*a%d, ", i), 9), i)
	}
	document.WriteString("services: {one: *a20}\n")
	assert.Equal(t, []string{"1 a"}, found(t, document.String()))
}

func TestSaveFromYAML(t *testing.T) {
	reg := imagetest.NewRegistry(t)
	image := imagetest.NewImage(t, "app", imagetest.Gzip(1, 100))
	for _, name := range []string{"a:1", "dir/b:2", "c:3"} {
		reg.Push(t, name, image)
	}
	manifest := strings.ReplaceAll("containers:\n- image: REG/a:1\n- image: REG/dir/b:2\n", "REG", reg.Address)
	dir := t.TempDir()
	file, list, saved := filepath.Join(dir, "y"), filepath.Join(dir, "l"), filepath.Join(dir, "saved.tar")
	require.NoError(t, os.WriteFile(file, []byte(strings.ReplaceAll(manifest, "a:1", "c:3")), 0o600))
	require.NoError(t, os.WriteFile(list, []byte(reg.Address+"/a:1  listed.example/l:1 # so\n"), 0o600))
	out, errOut, status := runSave(t, manifest, "--tls-verify=false", "-o", saved, "--from-yaml", "-", "--from-yaml", file, "--from-file", list,
		"--map", reg.Address+"=r.example/x", "--map", reg.Address+"/dir=d.example", "--map", "none.example=r.example", reg.Address+"/a:1=given.example/g:1")
	require.Zero(t, status, errOut)
	var names []string
	for line := range strings.Lines(out) {
		names = append(names, strings.Fields(line)[0])
	}
	assert.Equal(t, []string{"given.example/g:1", "listed.example/l:1", "r.example/x/a:1", "d.example/b:2", "r.example/x/c:3"}, names)
	assert.Contains(t, errOut, "warning: --map: no name starts with none.example\n")

	_, errOut, status = runSave(t, "containers:\n- image: "+reg.Address+"/none:1\n", "--tls-verify=false", "-o", filepath.Join(dir, "no.tar"), "--from-yaml", "-")
	assert.Equal(t, exitFailure, status)
	assert.Contains(t, errOut, "docker-archive: standard input:2: saving docker://"+reg.Address+"/none:1")
}

// A service's platform is taken of an index, unless the flags say another.
func TestSaveComposePlatform(t *testing.T) {
	reg := imagetest.NewRegistry(t)
	succeeds(t, "copy", "--all", "--dest-tls-verify=false", "oci:../../../testdata/oci:multi", "docker://"+reg.Address+"/m:1")
	compose := "services: {m: {image: '" + reg.Address + "/m:1', platform: linux/arm64/v8}}"
	for want, args := range map[string][]string{"linux/arm64/v8": nil, "linux/amd64": {"--platform", "linux/amd64"}, "linux/amd64,linux/arm64/v8": {"--all-platforms"}} {
		saved := filepath.Join(t.TempDir(), "saved.tar")
		_, errOut, status := runSave(t, compose, append(args, "--tls-verify=false", "-o", saved, "--from-yaml", "-")...)
		require.Zero(t, status, errOut)
		out, _ := succeeds(t, "list", saved)
		assert.Contains(t, out, " "+want+" ")
	}
}

func TestMapOfCopy(t *testing.T) {
	reg := imagetest.NewRegistry(t)
	saved, copied := filepath.Join(t.TempDir(), "saved.tar"), filepath.Join(t.TempDir(), "copied.tar")
	succeeds(t, "save", "-q", "-o", saved, "--name", "quay.io/a/b:1", "oci:../../../testdata/oci:one")
	succeeds(t, "copy", "-q", "--map", "quay.io=r.example/q", "image-archive:"+saved+":quay.io/a/b:1", "image-archive:"+copied)
	out, _ := succeeds(t, "list", copied)
	assert.Contains(t, out, "r.example/q/a/b:1 ")
	succeeds(t, "copy", "-q", "--dest-tls-verify=false", "--map", "quay.io/a="+reg.Address, "image-archive:"+saved+":quay.io/a/b:1", "docker://")
	succeeds(t, "copy", "-q", "--src-tls-verify=false", "docker://"+reg.Address+"/b:1", "docker-archive:"+filepath.Join(t.TempDir(), "back.tar"))
	_, errOut, status := command(t, "copy", "--map", "quay.io=r.example", "image-archive:"+saved+":quay.io/a/b:1", "dir:x")
	assert.Equal(t, exitUsage, status)
	assert.Contains(t, errOut, "--map is for a DESTINATION without a name")
}

func TestWrongMaps(t *testing.T) {
	for value, want := range map[string]string{
		"quay.io":        "is not of the form FROM=TO",
		"quay.io=":       "is not of the form FROM=TO",
		"quay.io=mirror": `"mirror" does not start with the host`,
		"library=r.io":   `"library" does not start with the host`,
		"quay.io=r.io/A": "invalid reference format",
	} {
		_, err := parseMap([]string{value}, "")
		assert.ErrorContains(t, err, want)
	}
}

// Paths may have the separator between an image and its name.
func TestNamedArguments(t *testing.T) {
	t.Chdir(t.TempDir())
	require.NoError(t, os.Mkdir("a=b c", 0o700))
	for line, want := range map[string]argument{
		"alpine=x:1":             {text: "alpine", name: "x:1"},
		"alpine  x:1":            {text: "alpine", name: "x:1"},
		"oci:new=x:1":            {text: "oci:new", name: "x:1"},
		"oci:a=b c:one":          {text: "oci:a=b c:one"},
		"oci:a=b c:one=r.io/x:1": {text: "oci:a=b c:one", name: "r.io/x:1"},
		"oci:a=b c r.io/x":       {text: "oci:a=b c", name: "r.io/x"},
	} {
		assert.Equal(t, want, listedArgument(line), line)
	}
}
