//go:build interop

package interop

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/copy"
	"go.podman.io/image/v5/docker"
	"go.podman.io/image/v5/manifest"
	"go.podman.io/image/v5/oci/layout"
	"go.podman.io/image/v5/pkg/blobinfocache/none"
	"go.podman.io/image/v5/signature"
	"go.podman.io/image/v5/types"
)

// Programs that find transports by their names, and also call package docker/archive, move
// over to this project by one blank import and by changing that package's import where they
// have it. These tests do both to skopeo and to podman's libimage, under either name of
// containers/image, and run them.

const (
	rootModule   = "github.com/dockerarchive/dockerarchive"
	podmanModule = rootModule + "/podman"
	buildTags    = "containers_image_openpgp,exclude_graphdriver_btrfs"
)

// A library is containers/image under one of its names, with its siblings.
type library struct {
	image, storage, common string // module paths
	commonVersion          string
	ours                   string // the import that replaces docker/archive
}

var libraries = map[string]library{
	"containers": {
		image:         "github.com/containers/image/v5",
		storage:       "github.com/containers/storage",
		common:        "github.com/containers/common",
		commonVersion: "v0.64.2",
		ours:          rootModule,
	},
	"podman": {
		image:         "go.podman.io/image/v5",
		storage:       "go.podman.io/storage",
		common:        "go.podman.io/common",
		commonVersion: "v0.69.0",
		ours:          podmanModule,
	},
}

const blankImport = "package PACKAGE\n\nimport _ \"OURS/register\"\n"

// TestDropInLibimage changes the four imports of libimage, and runs its own tests of
// loading, saving, pushing, pulling and importing, and one of ours.
func TestDropInLibimage(t *testing.T) {
	archive := writeArchive(t, t.TempDir(),
		copied{ref: "one", names: []string{oneName}}, copied{ref: "two", names: []string{twoName}})
	t.Setenv("DROPIN_ARCHIVE", archive)
	t.Setenv("DROPIN_ONE", oneName)
	t.Setenv("DROPIN_TWO", twoName)
	registry := libimageRegistry(t)
	for name, l := range libraries {
		t.Run(name, func(t *testing.T) {
			u := newUpstream(t, l.common, l.commonVersion)
			u.require(t, l.ours)
			changed := u.replace(t, "libimage", false, `"`+l.image+`/docker/archive"`, `"`+l.ours+`"`)
			require.ElementsMatch(t, []string{"load.go", "pull.go", "push.go", "save.go"}, changed)
			u.write(t, "libimage/dropin.go", blankImport, "PACKAGE", "libimage", "OURS", l.ours)
			test, err := os.ReadFile("testdata/dropin/libimage_test.go.txt")
			require.NoError(t, err)
			u.write(t, "libimage/dropin_test.go", string(test), "COMMON", l.common, "IMAGE", l.image, "OURS", l.ours)
			// The images that its tests want of quay.io.
			u.write(t, "libimage/testdata/registries.conf", `unqualified-search-registries = ["quay.io"]
[[registry]]
prefix = "quay.io"
location = "HOST"
insecure = true
`, "HOST", registry)

			binary := filepath.Join(u.dir, "libimage.test")
			u.run(t, "test", "-c", "-tags", buildTags, "-o", binary, "./libimage")
			const tests = "^(TestDropIn|TestLoadByPath|TestLoadReference|TestSave|TestPush|TestPushOtherPlatform|TestPullOCINoReference|TestImport)$"
			output := runLibimage(t, binary, filepath.Join(u.dir, "libimage"), "-test.v", "-test.run", tests)
			require.NotContains(t, output, "--- SKIP")
			require.Equal(t, 8, strings.Count(output, "--- PASS: "), output)
		})
	}
}

// runLibimage runs the tests of libimage in its directory, and returns their output.
func runLibimage(t *testing.T, binary, dir string, args ...string) string {
	t.Helper()
	home := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(home, ".config/containers"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(home, ".config/containers/policy.json"),
		[]byte(`{"default": [{"type": "insecureAcceptAnything"}]}`), 0o600))
	cmd := exec.CommandContext(t.Context(), binary, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "HOME="+home)
	output, err := cmd.CombinedOutput()
	require.NoError(t, err, string(output))
	return string(output)
}

// libimageRegistry has the names of the images that libimage's tests pull from quay.io.
// There, they are in Docker's format.
func libimageRegistry(t *testing.T) string {
	t.Helper()
	host := startRegistry(t)
	pushSchema2(t, "two", "amd64", host, "busybox:latest")
	pushSchema2(t, "one", "amd64", host, "alpine_nginx:latest")
	list, err := manifest.Schema2ListFromComponents([]manifest.Schema2ManifestDescriptor{
		pushSchema2(t, "multi", "amd64", host, "alpine:amd64"),
		pushSchema2(t, "multi", "arm64", host, "alpine:arm64"),
	}).Serialize()
	require.NoError(t, err)
	to, err := libimageReference(t, host, "alpine:latest").NewImageDestination(t.Context(), insecure)
	require.NoError(t, err)
	defer to.Close()
	require.NoError(t, to.PutManifest(t.Context(), list, nil))
	require.NoError(t, to.Commit(t.Context(), nil))
	return host
}

var insecure = &types.SystemContext{DockerInsecureSkipTLSVerify: types.OptionalBoolTrue}

func libimageReference(t *testing.T, host, name string) types.ImageReference {
	t.Helper()
	ref, err := docker.ParseReference("//" + host + "/libpod/" + name)
	require.NoError(t, err)
	return ref
}

// pushSchema2 copies an image of the test layout to a registry, and returns its descriptor
// for a list.
func pushSchema2(t *testing.T, image, architecture, host, name string) manifest.Schema2ManifestDescriptor {
	t.Helper()
	policy, err := signature.NewPolicyContext(&signature.Policy{
		Default: []signature.PolicyRequirement{signature.NewPRInsecureAcceptAnything()},
	})
	require.NoError(t, err)
	defer func() { require.NoError(t, policy.Destroy()) }()
	from, err := layout.NewReference(testLayout, image)
	require.NoError(t, err)
	to := libimageReference(t, host, name)
	pushed, err := copy.Image(t.Context(), policy, to, from, &copy.Options{
		SourceCtx:             &types.SystemContext{OSChoice: "linux", ArchitectureChoice: architecture},
		DestinationCtx:        insecure,
		ForceManifestMIMEType: manifest.DockerV2Schema2MediaType,
	})
	require.NoError(t, err)
	pushed = addDockerVersion(t, to, pushed)
	return manifest.Schema2ManifestDescriptor{
		Schema2Descriptor: manifest.Schema2Descriptor{
			MediaType: manifest.DockerV2Schema2MediaType,
			Size:      int64(len(pushed)),
			Digest:    digest.FromBytes(pushed),
		},
		Platform: manifest.Schema2PlatformSpec{OS: "linux", Architecture: architecture},
	}
}

// addDockerVersion adds a field that only Docker's configs have to the config of an image
// in a registry, so that it is another config, and image, when converted to OCI; TestPush
// counts on that. It returns the new manifest.
func addDockerVersion(t *testing.T, ref types.ImageReference, old []byte) []byte {
	t.Helper()
	m, err := manifest.Schema2FromManifest(old)
	require.NoError(t, err)
	from, err := ref.NewImageSource(t.Context(), insecure)
	require.NoError(t, err)
	defer from.Close()
	blob, _, err := from.GetBlob(t.Context(), m.ConfigInfo(), none.NoCache)
	require.NoError(t, err)
	defer blob.Close()
	var config map[string]any
	require.NoError(t, json.NewDecoder(blob).Decode(&config))
	config["docker_version"] = "29.1.0"
	changed, err := json.Marshal(config)
	require.NoError(t, err)

	to, err := ref.NewImageDestination(t.Context(), insecure)
	require.NoError(t, err)
	defer to.Close()
	m.ConfigDescriptor.Digest, m.ConfigDescriptor.Size = digest.FromBytes(changed), int64(len(changed))
	_, err = to.PutBlob(t.Context(), bytes.NewReader(changed), types.BlobInfo{
		Digest: m.ConfigDescriptor.Digest, Size: m.ConfigDescriptor.Size,
	}, none.NoCache, true)
	require.NoError(t, err)
	serialized, err := m.Serialize()
	require.NoError(t, err)
	require.NoError(t, to.PutManifest(t.Context(), serialized, nil))
	require.NoError(t, to.Commit(t.Context(), nil))
	return serialized
}

// skopeoVersion is the newest that the module proxy and the checksum database both have. It
// is older than the renaming of containers/image, so its imports of that and its siblings
// are renamed first, as skopeo's authors did.
const (
	skopeoModule  = "github.com/containers/skopeo"
	skopeoVersion = "v1.15.1"
)

// TestDropInSkopeo changes skopeo's one import and runs it.
func TestDropInSkopeo(t *testing.T) {
	for name, l := range libraries {
		t.Run(name, func(t *testing.T) {
			u := newUpstream(t, skopeoModule, skopeoVersion)
			u.require(t, l.ours, l.common+"@"+l.commonVersion)
			old := libraries["containers"]
			if l != old {
				u.replace(t, "cmd", true, `"`+old.image, `"`+l.image, `"`+old.storage, `"`+l.storage, `"`+old.common, `"`+l.common)
			}
			changed := u.replace(t, "cmd/skopeo", false, `"`+l.image+`/docker/archive"`, `archive "`+l.ours+`"`)
			require.Equal(t, []string{"list_tags.go"}, changed)
			u.write(t, "cmd/skopeo/dropin.go", blankImport, "PACKAGE", "main", "OURS", l.ours)
			dir := t.TempDir()
			binary := filepath.Join(dir, "skopeo")
			u.run(t, "build", "-tags", buildTags, "-o", binary, "./cmd/skopeo")
			skopeo := program{name: "skopeo of " + l.image, argv: []string{binary, "--insecure-policy"}}

			// The built-in transport cannot write zstd layers.
			archive := "docker-archive:" + filepath.Join(dir, "copied.tar")
			skopeo.run(t, "copy", "--additional-tag", hubName, "oci:"+testLayout+":zstd", archive+":"+twoName)
			requireTags(t, skopeo, archive, twoName, hubName)
			requireTags(t, skopeo, "docker-archive:"+writeArchive(t, dir,
				copied{ref: "one", names: []string{oneName, hubName}},
				copied{ref: "two", names: []string{twoName}}), oneName, hubName, twoName)
			require.Equal(t,
				skopeo.run(t, "inspect", "--config", "--raw", "oci:"+testLayout+":zstd"),
				skopeo.run(t, "inspect", "--config", "--raw", archive))
		})
	}
}

func requireTags(t *testing.T, skopeo program, archive string, names ...string) {
	t.Helper()
	var list struct{ Tags []string }
	require.NoError(t, json.Unmarshal([]byte(skopeo.run(t, "list-tags", archive)), &list))
	require.Equal(t, names, list.Tags)
}
