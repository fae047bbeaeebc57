package main

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/podman/internal/imagetest"
)

// rewritten returns a copy of an archive without some entries, and with others changed.
func rewritten(t *testing.T, path string, change func(name string, data []byte) ([]byte, bool)) string {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	r := tar.NewReader(bytes.NewReader(imagetest.ReadFile(t, path)))
	for {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		require.NoError(t, err)
		data, err := io.ReadAll(r)
		require.NoError(t, err)
		data, keep := change(h.Name, data)
		if !keep {
			continue
		}
		h.Size = int64(len(data))
		require.NoError(t, w.WriteHeader(h))
		_, err = w.Write(data)
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	return imagetest.WriteFile(t, b.Bytes())
}

// called returns an archive of an image with a name as containerd keeps it.
func called(t *testing.T, name string) string {
	t.Helper()
	return rewritten(t, cases+"name-ipv6.tar", func(entry string, data []byte) ([]byte, bool) {
		return bytes.ReplaceAll(data, []byte("[::1]:5999/m/app:1"), []byte(name)), true
	})
}

// Names that containers/image has no grammar for are kept as they are listed, or the command that
// cannot keep one names it.
func TestNamesBeyondReferences(t *testing.T) {
	reg := imagetest.NewRegistry(t)
	for _, c := range []struct{ name, pushed string }{
		{"[::1]:5999/m/app:1", "m/app:1"},
		{"[2001:db8::1]/m/app:1", "m/app:1"},
		{"bücher.example/m/app:1", "m/app:1"},
		{"EXAMPLE.com/App:1", ""},
		{"example.com/app:v1+build", ""},
		{"App:1", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			source, dir := called(t, c.name), t.TempDir()
			saved, grown, layout := filepath.Join(dir, "saved.tar"), filepath.Join(dir, "grown.tar"), filepath.Join(dir, "oci")
			succeeds(t, "save", "-q", "-o", saved, "docker-archive:"+source)
			succeeds(t, "save", "-q", "-o", grown, images+"one")
			succeeds(t, "add", "-q", grown, "docker-archive:"+source)
			unpack(t, saved, layout)
			again := filepath.Join(dir, "again.tar")
			succeeds(t, "save", "-q", "-o", again, "oci:"+layout)
			for _, path := range []string{saved, grown, again} {
				succeeds(t, "compact", path)
				out, _ := succeeds(t, "list", "-q", path)
				assert.Contains(t, strings.Split(out, "\n"), c.name)
				succeeds(t, "verify", path)
			}
			assert.Equal(t, imagetest.Sum(imagetest.ReadFile(t, saved)), imagetest.Sum(imagetest.ReadFile(t, again)))

			_, stderr, status := command(t, "save", "-q", "--layout", "docker", "-o", filepath.Join(dir, "docker.tar"), "docker-archive:"+source)
			assert.Equal(t, exitFailure, status)
			assert.Contains(t, stderr, c.name)
			out, stderr, status := command(t, "push", "--tls-verify=false", saved, reg.Address)
			if c.pushed != "" {
				require.Zero(t, status, stderr)
				assert.Contains(t, out, reg.Address+"/"+c.pushed+" sha256:5ad025b270f9")
			} else {
				assert.Equal(t, exitFailure, status)
				assert.Contains(t, stderr, c.name)
			}
			_, stderr, status = command(t, "push", "--tls-verify=false", "--keep-host", saved, reg.Address)
			assert.Equal(t, exitFailure, status)
			assert.Contains(t, stderr, c.name)
			succeeds(t, "push", "--tls-verify=false", saved, reg.Address+"/other:2")

			succeeds(t, "remove", grown, c.name)
			out, _ = succeeds(t, "list", "-q", grown)
			assert.NotContains(t, out, c.name)
		})
	}
}

// A registry may be reached by an IPv6 address where the grammar of containers/image is not in the
// way, and where it is, the name is refused.
func TestRegistryAtIPv6(t *testing.T) {
	listener, err := net.Listen("tcp", "[::1]:0")
	if err != nil {
		t.Skipf("this machine has no IPv6: %v", err)
	}
	server := &http.Server{Handler: registry.New(registry.Logger(log.New(io.Discard, "", 0)))}
	go server.Serve(listener) // Ends with Close.
	defer server.Close()
	host, source := listener.Addr().String(), cases+"name-ipv6.tar"
	for target, want := range map[string]string{
		host:               "/m/app:1",
		host + "/pre/fix/": "/pre/fix/m/app:1",
		host + "/other:2":  "/other:2",
	} {
		for _, said := range []string{" was there)", "(up to date)"} {
			out, _ := succeeds(t, "push", source, target)
			assert.Contains(t, out, host+want+" sha256:5ad025b270f9")
			assert.Contains(t, out, said)
		}
	}
	out, _ := succeeds(t, "push", "--map", "[::1]:5999/m=mapped.x", source, host+"/pre")
	assert.Contains(t, out, host+"/pre/mapped.x/app:1 sha256:5ad025b270f9")
	out, _ = succeeds(t, "push", "--print-mirror", "containerd", archives+"skopeo.tar", host)
	assert.Contains(t, out, "http://"+host)
	_, stderr, status := command(t, "push", "--print-mirror", "crio", archives+"skopeo.tar", host)
	assert.Equal(t, exitFailure, status)
	assert.Contains(t, stderr, host)

	name, path := host+"/m/app:1", filepath.Join(t.TempDir(), "saved.tar")
	for _, args := range [][]string{
		{"copy", "docker://" + name, "docker-archive:" + path},
		{"copy", "docker-archive:" + source, "docker://" + name},
		{"save", "-o", path, name},
		{"save", "-o", path, "--name", name, "docker-archive:" + source},
		{"inspect", name},
		{"inspect", source + ":[::1]:5999/m/app:1"},
		{"make", "--base", name, "-o", path, "--label", "a=b"},
		{"tag", source, "@0", name},
	} {
		_, stderr, status := command(t, args...)
		assert.Equal(t, exitUsage, status, args)
		assert.Contains(t, stderr, "]:")
		assert.Contains(t, stderr, "hint: References of containers/image have no IPv6 addresses", args)
	}
}

// serve listens at an IPv6 address.
func TestServeAtIPv6(t *testing.T) {
	if l, err := net.Listen("tcp", "[::1]:0"); err != nil {
		t.Skipf("this machine has no IPv6: %v", err)
	} else {
		l.Close() // It was only to find out.
	}
	stderr := &started{address: make(chan string, 1)}
	ctx, cancel := context.WithCancel(t.Context())
	var done sync.WaitGroup
	done.Go(func() {
		root := newRootCommand()
		root.SetOut(io.Discard)
		root.SetErr(stderr)
		root.SetArgs([]string{"serve", "--quiet", "--listen", "[::1]:0", cases + "name-ipv6.tar"})
		assert.NoError(t, root.ExecuteContext(ctx))
	})
	address := <-stderr.address
	assert.Contains(t, address, "http://[::1]:")
	_, status := get(t, address+"/v2/m/app/manifests/1")
	assert.Equal(t, http.StatusOK, status)
	cancel()
	done.Wait()
}

// unpack unpacks an archive into a directory.
func unpack(t *testing.T, path, dir string) {
	t.Helper()
	files, names := imagetest.Files(t, imagetest.ReadFile(t, path))
	for _, name := range names {
		if strings.HasSuffix(name, "/") {
			continue
		}
		target := filepath.Join(dir, filepath.FromSlash(name))
		require.NoError(t, os.MkdirAll(filepath.Dir(target), 0o700))
		require.NoError(t, os.WriteFile(target, files[name], 0o600))
	}
}

// digestOf returns the digest of the manifest for an architecture.
func digestOf(index v1.Index, architecture string) string {
	for _, d := range index.Manifests {
		if d.Platform.Architecture == architecture {
			return d.Digest.String()
		}
	}
	return ""
}

// A platform with a manifest but without all of its layers is listed as incomplete, and left out
// on request.
func TestIncompletePlatform(t *testing.T) {
	dir := t.TempDir()
	whole := filepath.Join(dir, "whole.tar")
	succeeds(t, "save", "-q", "--all-platforms", "-o", whole, images+"multi")
	files, _ := imagetest.Files(t, imagetest.ReadFile(t, whole))
	layers := map[string]int{}
	blob := func(d v1.Descriptor) string { return "blobs/sha256/" + d.Digest.Encoded() }
	var top, index v1.Index
	require.NoError(t, json.Unmarshal(files["index.json"], &top))
	require.NoError(t, json.Unmarshal(files[blob(top.Manifests[0])], &index))
	var arm v1.Manifest
	for _, d := range index.Manifests {
		var m v1.Manifest
		require.NoError(t, json.Unmarshal(files[blob(d)], &m))
		for _, l := range m.Layers {
			layers[blob(l)]++
		}
		if d.Platform.Architecture == "arm64" {
			arm = m
		}
	}
	missing := blob(arm.Config)
	for _, l := range arm.Layers {
		if layers[blob(l)] == 1 {
			missing = blob(l)
		}
	}
	require.NotEqual(t, blob(arm.Config), missing)
	for _, missing := range []string{missing, blob(arm.Config)} {
		part := rewritten(t, whole, func(name string, data []byte) ([]byte, bool) { return data, name != missing })
		out, _ := succeeds(t, "list", part)
		assert.Contains(t, out, "linux/amd64 (incomplete: linux/arm64/v8)")
		out, _ = succeeds(t, "list", "--json", part)
		assert.Equal(t, 1, strings.Count(out, `"incomplete": true`))
		layout := filepath.Join(t.TempDir(), "oci")
		unpack(t, part, layout)
		for _, source := range []string{"docker-archive:" + part, "oci:" + layout} {
			path := filepath.Join(t.TempDir(), "saved.tar")
			_, stderr, status := command(t, "save", "--all-platforms", "-o", path, source)
			assert.Equal(t, exitFailure, status)
			assert.NotEmpty(t, stderr)
			_, stderr = succeeds(t, "save", "--all-platforms", "--skip-missing", "-o", path, source)
			assert.Contains(t, stderr, "warning: multi: its source has not got all that its index lists: "+digestOf(index, "arm64"))
			out, _ := succeeds(t, "list", path)
			assert.Contains(t, out, "linux/amd64 (missing: linux/arm64/v8)")
			out, _ = succeeds(t, "verify", path)
			assert.NotContains(t, out, "belong to no image")
		}
	}
}
