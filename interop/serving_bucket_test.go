//go:build interop

package interop

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
)

// TestServeBucket pulls from an archive in a bucket with containerd and skopeo, even while the store is away.
func TestServeBucket(t *testing.T) {
	t.Parallel()
	store, dir := startVersitygw(t), t.TempDir()
	layout := helloLayout(t, dir)
	kept := filepath.Join(dir, "kept.tar")
	dockerArchive(t).run(t, "copy", "--insecure-policy", "oci:"+layout+":hello", "image-archive:"+kept+":"+servedHost+"/"+servedPath+":"+servedTag)
	store.put(t, "prod/hello.tar", kept)
	want := layoutImage(t, layout, "hello").manifest
	address, _ := startServeAs(t, store.command(t), "--quiet", "--cache", filepath.Join(dir, "cache"), "--cache-size", "1G", store.path("prod"))
	output, manifest := pullContainerd(t, address, startBuiltContainerd(t))
	assert.Equal(t, helloOutput, strings.TrimSpace(output))
	assert.Equal(t, want, manifest)
	store.daemon.die(t)
	skopeo := debian(t, "skopeo")
	out := filepath.Join(dir, "pulled")
	skopeo.run(t, "copy", "--insecure-policy", "--src-tls-verify=false", "docker://"+address+"/"+servedPath+":"+servedTag, "dir:"+out)
	assert.Equal(t, want, digest.Digest(strings.TrimSpace(skopeo.run(t, "manifest-digest", filepath.Join(out, "manifest.json")))))
}
