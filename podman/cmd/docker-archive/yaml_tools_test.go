package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/podman/internal/imagetest"
)

const zarfPackage = `kind: ZarfPackageConfig
metadata:
  name: shop
  architecture: arm64
components:
  - name: web
    required: true
    manifests:
      - name: web
        files: [web.yaml]
    images:
      - ghcr.io/shop/web:1.4
      - registry.example:5000/shop/proxy@sha256:0000000000000000000000000000000000000000000000000000000000000000
  - name: agent
    only: {cluster: {architecture: amd64}}
    images: [docker.io/library/busybox:1.37]
`

const haulerManifest = `apiVersion: content.hauler.cattle.io/v1
kind: Images
metadata:
  name: shop
  annotations:
    hauler.dev/platform: linux/amd64
    hauler.dev/registry: mirror.example
spec:
  images:
    - name: shop/web:1.4
    - name: ghcr.io/shop/api:2
      platform: linux/arm64
    - name: quay.io/shop/db:17
      rewrite: /internal/db
---
apiVersion: content.hauler.cattle.io/v1
kind: Files
spec: {files: [{path: https://shop.example/install.sh}]}
`

const imageSet = `kind: ImageSetConfiguration
apiVersion: mirror.openshift.io/v2alpha1
mirror:
  additionalImages:
    - name: registry.redhat.io/ubi9/ubi:latest
    - name: quay.io/shop/web:1.4
      targetRepo: internal/web
      targetTag: stable
    - name: quay.io/shop/debug:1
  blockedImages:
    - name: quay\.io/shop/debug.*
`

const kustomization = `apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources: [deployment.yaml]
images:
  - name: web
    newName: ghcr.io/shop/web
    newTag: "1.10"
  - name: quay.io/shop/api
    newTag: v2
  - name: db
    newName: quay.io/shop/db
    digest: sha256:0000000000000000000000000000000000000000000000000000000000000000
`

func TestImagesOfTools(t *testing.T) {
	zeros := "@sha256:" + strings.Repeat("0", 64)
	for document, want := range map[string][]string{
		zarfPackage:                      {"12 ghcr.io/shop/web:1.4 linux/arm64", "13 registry.example:5000/shop/proxy" + zeros + " linux/arm64", "16 docker.io/library/busybox:1.37 linux/amd64"},
		haulerManifest:                   {"10 mirror.example/shop/web:1.4 linux/amd64", "11 ghcr.io/shop/api:2 linux/arm64", "13 quay.io/shop/db:17 linux/amd64 =internal/db:17"},
		imageSet:                         {"5 registry.redhat.io/ubi9/ubi:latest", "6 quay.io/shop/web:1.4 =quay.io/internal/web:stable"},
		kustomization:                    {"5 ghcr.io/shop/web:1.10", "8 quay.io/shop/api:v2", "10 quay.io/shop/db" + zeros},
		"images: [{name: a, newTag: b}]": {"1 a:b"},
		"kind: ZarfPackageConfig\ncomponents: [{images: [a]}]":                                                                                            {"2 a"},
		"kind: ZarfInitConfig\nmetadata: {architecture: multi}\ncomponents: [{images: [a]}]":                                                              {"3 a"},
		"apiVersion: zarf.dev/v1beta1\nkind: ZarfPackageConfig\ncomponents: [{target: {architecture: arm64}, images: [{name: 'a:1', source: registry}]}]": {"3 a:1 linux/arm64"},
	} {
		assert.Equal(t, want, found(t, document))
	}
}

// A field that may lead to another image is refused by its name, and so is an unknown field that
// names images.
func TestFieldsOfToolsThatAreRefused(t *testing.T) {
	for document, want := range map[string]string{
		strings.Replace(zarfPackage, "    required: true", "    import: {path: ../base}", 1):                     `f:7: import of component "web" has images that are elsewhere`,
		strings.Replace(zarfPackage, "    required: true", "    imageArchives: [{path: a.tar, images: [a]}]", 1): "f:7: imageArchives of component",
		strings.Replace(zarfPackage, "ghcr.io/shop/web:1.4", "ghcr.io/shop/web:###ZARF_PKG_TMPL_TAG###", 1):      "has a variable of zarf; give its value",
		"kind: ZarfPackageConfig\ncomponents: [{images: [{name: a, source: daemon}]}]":                           `image "a" comes from "daemon"`,
		"kind: ZarfPackageConfig\ncomponents: [{images: [{name: a, mirror: b}]}]":                                `field "mirror" of image "a" is not followed`,
		strings.Replace(haulerManifest, "rewrite: /internal/db", "key: cosign.pub", 1):                           `f:14: field "key" of image "quay.io/shop/db:17" is not followed: to check signatures`,
		strings.Replace(haulerManifest, "rewrite: /internal/db", "certificate-identity: x", 1):                   "to check signatures",
		strings.Replace(haulerManifest, "hauler.dev/registry: mirror.example", "hauler.dev/key: cosign.pub", 1):  "annotation hauler.dev/key is not followed: to check signatures",
		"apiVersion: content.hauler.cattle.io/v1\nkind: Charts\nspec: {charts: [{name: c, add-images: true}]}":   `the images of chart "c" are not looked for`,
		"apiVersion: content.hauler.cattle.io/v1\nkind: ImageTxts\nspec: {imageTxts: [{ref: 'http://x/y.txt'}]}": `the list "http://x/y.txt" is not read: give it with --from-file`,
		"apiVersion: collection.hauler.cattle.io/v1alpha1\nkind: ThickCharts\nspec: {charts: []}":                "what ThickCharts of hauler names is not taken",
		strings.Replace(imageSet, "mirror:\n", "mirror:\n  operators: [{catalog: 'r.io/c:1'}]\n", 1):             "f:4: mirror.operators names images that only oc-mirror finds",
		strings.Replace(imageSet, "targetTag: stable", "platforms: [{os: linux}]", 1):                            `field "platforms" of image "quay.io/shop/web:1.4" is not followed`,
		strings.Replace(kustomization, `"1.10"`, "1.10", 1):                                                      "f:7: newTag of image \"ghcr.io/shop/web\" is a number to kustomize: put 1.10 in quotation marks",
		strings.Replace(kustomization, "    newTag: v2\n", "    newName: x\n", 1):                                `image "x" has neither newTag nor digest`,
		strings.Replace(kustomization, "    newTag: v2\n", "    tagSuffix: -alpine\n", 1):                        `image "quay.io/shop/api" has neither newTag nor digest`,
	} {
		listed, err := yamlImages(strings.NewReader(document), "f")
		if err == nil {
			require.NotEmpty(t, listed.wrong, document)
			err = faults(listed.wrong).err()
		}
		assert.ErrorContains(t, err, want, document)
		var usage usageError
		assert.ErrorAs(t, err, &usage)
	}
}

// Entries that are no image are named, and --keep-going leaves out refused ones.
func TestSaveWithToolsFiles(t *testing.T) {
	reg := imagetest.NewRegistry(t)
	reg.Push(t, "shop/web:1.4", imagetest.NewImage(t, "web", imagetest.Gzip(1, 100)))
	dir := t.TempDir()
	save := func(document string, args ...string) (out, errOut string, status int) {
		return runSave(t, strings.ReplaceAll(document, "REG", reg.Address), append(args, "-o", filepath.Join(dir, t.Name()+strings.Join(args, "")+".tar"), "--force", "--from-yaml", "-")...)
	}
	require.NoError(t, os.MkdirAll(filepath.Join(dir, filepath.Dir(t.Name())), 0o700))
	hauler := "apiVersion: content.hauler.cattle.io/v1\nkind: Images\nspec: {images: [{name: REG/shop/web:1.4, rewrite: in/web}%s]}\n---\napiVersion: content.hauler.cattle.io/v1\nkind: Files\nspec: {files: []}\n"
	out, errOut, status := save(strings.ReplaceAll(hauler, "%s", ""))
	require.Zero(t, status, errOut)
	assert.Contains(t, out, "docker.io/in/web:1.4 sha256:")
	assert.Contains(t, errOut, "docker-archive: note: standard input:6: Files are no images, and are not saved\n")
	_, errOut, status = save(strings.ReplaceAll(hauler, "%s", ""), "-q")
	require.Zero(t, status, errOut)
	assert.Empty(t, errOut)

	signed := strings.ReplaceAll(hauler, "%s", ", {name: REG/shop/web:2, key: k}")
	out, errOut, status = save(signed)
	assert.Equal(t, exitUsage, status)
	assert.Empty(t, out)
	assert.Contains(t, errOut, `standard input:3: field "key" of image`)
	out, errOut, status = save(signed, "--keep-going", "--json")
	assert.Equal(t, exitFailure, status)
	assert.Contains(t, errOut, `field "key" of image`)
	var saved savedJSON
	decode(t, out, &saved)
	assert.False(t, saved.OK)
	require.Len(t, saved.Images, 2)
	assert.Contains(t, saved.Images[1].Error, `field "key" of image`)
}

func TestImagesOfSkopeoSync(t *testing.T) {
	reg := imagetest.NewRegistry(t)
	for n, tag := range []string{"1.2.0", "1.10.0", "2.0.0-rc1", "2.0.0", "latest", "1.2-alpine"} {
		reg.Push(t, "team/app:"+tag, imagetest.NewImage(t, tag, imagetest.Gzip(uint64(n), 100)))
		reg.Push(t, "other:"+tag, imagetest.NewImage(t, tag, imagetest.Gzip(uint64(n), 100)))
	}
	pinned := imagetest.NewImage(t, "pinned", imagetest.Gzip(9, 100))
	reg.Push(t, "pinned:1", pinned)
	for document, want := range map[string][]string{
		"images: {team/app: ['1.2.0', latest], pinned: [" + pinned.Digest().String() + "]}": {"team/app:1.2.0", "team/app:latest", "pinned@" + pinned.Digest().String()},
		"images: {team/app: []}":                                      {"team/app:1.10.0", "team/app:1.2-alpine", "team/app:1.2.0", "team/app:2.0.0", "team/app:2.0.0-rc1", "team/app:latest"},
		"images: {team/app: }":                                        {"team/app:1.10.0", "team/app:1.2-alpine", "team/app:1.2.0", "team/app:2.0.0", "team/app:2.0.0-rc1", "team/app:latest"},
		"images-by-tag-regex: {team/app: '^1\\.2'}":                   {"team/app:1.2-alpine", "team/app:1.2.0"},
		"images-by-semver: {team/app: '>= 1.2.0, < 2'}":               {"team/app:1.10.0", "team/app:1.2.0"},
		"images: {team/app: [1.10.0]}, images-by-semver: {other: ^2}": {"team/app:1.10.0", "other:2.0.0"},
	} {
		saved := filepath.Join(t.TempDir(), "saved.tar")
		out, errOut, status := runSave(t, reg.Address+": {tls-verify: false, "+document+"}", "--dry-run", "-o", saved, "--from-yaml", "-")
		require.Zero(t, status, document+errOut)
		var names []string
		for line := range strings.Lines(out) {
			if name, ok := strings.CutPrefix(line, reg.Address+"/"); ok {
				names = append(names, strings.Fields(name)[0])
			}
		}
		assert.Equal(t, want, names, document)
	}
	for document, want := range map[string]string{
		"REG: {images-by-tag-regex: {team/app: '^9'}}":          `no tag of REG/team/app is one of "^9"`,
		"REG: {images-by-tag-regex: {team/app: '('}}":           "standard input:1: the expression for tags of team/app",
		"REG: {images-by-semver: {team/app: x.y}}":              "standard input:1: the versions of team/app",
		"REG: {images: {team/app: '1'}}":                        "the tags of team/app should be a list",
		"REG: {images: {team/app:1: []}}":                       `"team/app:1" is not the name of a repository`,
		"REG: {images: {a: [b]}, images-by-tag-regexp: {}}":     `has a field "images-by-tag-regexp", which 'skopeo sync' has not`,
		"REG: {images: {a: [b]}, tls-verify: maybe}":            "tls-verify is neither true nor false",
		"REG: {images: {a: [b]}, credentials: {token: secret}}": `credentials have username and password, and not "token"`,
	} {
		_, errOut, status := runSave(t, strings.ReplaceAll(document, "REG", reg.Address), "-o", filepath.Join(t.TempDir(), "x.tar"), "--retry-times", "0", "--from-yaml", "-")
		assert.NotZero(t, status, document)
		assert.Contains(t, errOut, strings.ReplaceAll(want, "REG", reg.Address), document)
	}
}

// The credentials of a file go to its registry, and to no other.
func TestCredentialsOfSkopeoSync(t *testing.T) {
	one, other := guarded(t, "me", "secret"), guarded(t, "you", "word")
	document := one + ": {credentials: {username: me, password: secret}, images: {app: []}}\n" +
		other + ": {credentials: {username: you, password: word}, images: {app: ['1']}}\n"
	saved := filepath.Join(t.TempDir(), "x.tar")
	_, errOut, status := runSave(t, document, "-o", saved, "--map", other+"=r.example", "--from-yaml", "-")
	require.Zero(t, status, errOut)
	out, _ := succeeds(t, "list", "-q", saved)
	assert.Equal(t, one+"/app:1\nr.example/app:1\n", out)

	_, errOut, status = runSave(t, one+": {credentials: {username: you, password: word}, images: {app: []}}", "--retry-times", "0", "-o", saved+".tar", "--from-yaml", "-")
	assert.Equal(t, exitFailure, status)
	assert.NotContains(t, errOut, "word")
}

// Lists that Windows has written begin with a byte order mark, and may be UTF-16.
func TestByteOrderMarks(t *testing.T) {
	utf16 := func(s string) string {
		out := "\xff\xfe"
		for _, r := range s {
			out += string([]byte{byte(r), byte(r >> 8)})
		}
		return out
	}
	dir := t.TempDir()
	for name, c := range map[string]struct{ content, flag string }{
		"list":            {"\ufeffexample.com/a:1\r\nb:2\r\n", "--from-file"},
		"comment":         {"\ufeff# images\nexample.com/a:1\nb:2", "--from-file"},
		"two lists":       {"\ufeffexample.com/a:1\n\ufeffb:2\n", "--from-file"},
		"UTF-16 list":     {utf16("example.com/a:1\r\nb:2\r\n"), "--from-file"},
		"manifest":        {"\ufeffcontainers: [{image: example.com/a:1}, {image: b:2}]", "--from-yaml"},
		"UTF-16 manifest": {utf16("containers: [{image: example.com/a:1}, {image: b:2}]"), "--from-yaml"},
	} {
		file := filepath.Join(dir, "f")
		require.NoError(t, os.WriteFile(file, []byte(c.content), 0o600))
		o := &saveOptions{}
		if c.flag == "--from-file" {
			o.fromFiles = []string{file}
		} else {
			o.fromYAML = []string{file}
		}
		listed, err := o.listed(nil)
		require.NoError(t, err, name)
		require.Len(t, listed.images, 2, name)
		assert.Equal(t, "example.com/a:1", listed.images[0].text, name)
		assert.Equal(t, "b:2", listed.images[1].text, name)
	}
}
