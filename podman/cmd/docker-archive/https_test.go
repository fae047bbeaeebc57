package main

import (
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// archiveServer serves a directory over https to clients with the password, and returns its address, the
// flags to reach it, and how many answers had another status than 206.
func archiveServer(t *testing.T, dir string) (address string, flags []string, others *atomic.Int32) {
	t.Helper()
	others = new(atomic.Int32)
	files := http.FileServer(http.Dir(dir))
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, password, _ := r.BasicAuth(); r.URL.Path != "/public.tar" && (user != "me" || password != "secret") {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		if r.Header.Get("Range") == "" {
			others.Add(1)
		}
		w.Header().Set("ETag", `"v1"`)
		files.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	certificates := t.TempDir()
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	require.NoError(t, os.WriteFile(filepath.Join(certificates, "ca.crt"), ca, 0o600))
	return s.URL, []string{"creds=me:secret", "cert-dir=" + certificates}, others
}

func withFlags(prefix string, flags []string, args ...string) []string {
	for _, f := range flags {
		args = append(args, "--"+prefix+f)
	}
	return args
}

// Commands read an archive at an address as they read one at a path: in place.
func TestArchivesOverHTTPS(t *testing.T) {
	dir := t.TempDir()
	local := filepath.Join(dir, "app.tar")
	_, errOut, status := runSave(t, "", "-q", "-o", local, "--name", "example.com/app:1", "oci:../../../testdata/oci:one")
	require.Zero(t, status, errOut)
	address, flags, others := archiveServer(t, dir)
	remote := address + "/app.tar"
	for _, args := range [][]string{{"list", "ARCHIVE"}, {"list", "--json", "ARCHIVE"}, {"inspect", "ARCHIVE:example.com/app:1"}, {"files", "ARCHIVE"}, {"layers", "ARCHIVE:@0"}} {
		var here, there []string
		for _, arg := range args {
			here, there = append(here, replaced(arg, local)), append(there, replaced(arg, remote))
		}
		want, errOut, status := runCommand(t, here...)
		require.Zero(t, status, errOut)
		got, errOut, status := runCommand(t, withFlags("", flags, there...)...)
		require.Zero(t, status, "%v: %s", args, errOut)
		assert.Equal(t, want, got, args)
	}
	out, errOut, status := runCommand(t, withFlags("", flags, "verify", remote)...)
	require.Zero(t, status, errOut)
	assert.Contains(t, out, "OK")
	for n, args := range [][]string{
		withFlags("src-", flags, "copy", "--insecure-policy", remote+":example.com/app:1"),
		append(withFlags("", flags, "save", "-q", "--insecure-policy", remote), "-o"),
	} {
		path := filepath.Join(dir, []string{"copied.tar", "saved.tar"}[n])
		if n == 0 {
			path = "image-archive:" + path + ":example.com/app:1"
		}
		_, errOut, status := runCommand(t, append(args, path)...)
		require.Zero(t, status, errOut)
	}
	want, err := os.ReadFile(local)
	require.NoError(t, err)
	for _, name := range []string{"copied.tar", "saved.tar"} {
		got, err := os.ReadFile(filepath.Join(dir, name))
		require.NoError(t, err)
		assert.Equal(t, want, got, name)
	}
	require.NoError(t, os.WriteFile(filepath.Join(dir, "public.tar"), want, 0o600))
	without := filepath.Join(dir, "without.tar")
	_, errOut, status = runCommand(t, withFlags("", flags, "save", "-q", "--insecure-policy", remote, "--without", address+"/public.tar", "-o"+without)...)
	require.Zero(t, status, errOut)
	out, _, _ = runCommand(t, "list", without)
	assert.Contains(t, out, "public.tar")
	out, errOut, status = runCommand(t, withFlags("", flags, "verify", without, "--base", address+"/public.tar")...)
	require.Zero(t, status, out+errOut)
	assert.Zero(t, others.Load(), "all is read by ranges")
	_, errOut, status = runCommand(t, withFlags("", flags, "list", remote, "https://other.example/x.tar")...)
	assert.Equal(t, exitUsage, status, errOut)
	assert.Contains(t, errOut, "other.example")
}

func replaced(arg, archive string) string {
	if rest, ok := cutArchive(arg); ok {
		return archive + rest
	}
	return arg
}

func cutArchive(arg string) (rest string, ok bool) {
	const archive = "ARCHIVE"
	if len(arg) < len(archive) || arg[:len(archive)] != archive {
		return "", false
	}
	return arg[len(archive):], true
}

// The query string of an address is printed nowhere, and where an archive is written, an address is refused.
func TestAddressesThatAreRefused(t *testing.T) {
	for _, args := range [][]string{
		{"list", "https://127.0.0.1:1/x.tar?X-Amz-Signature=hidden"},
		{"copy", "--insecure-policy", "https://127.0.0.1:1/x.tar?X-Amz-Signature=hidden:app:1", "dir:" + t.TempDir()},
		{"save", "--insecure-policy", "-o", filepath.Join(t.TempDir(), "a.tar"), "oci:../../../testdata/oci:one", "--without=https://127.0.0.1:1/x.tar?X-Amz-Signature=hidden"},
		{"list", "https://me:hidden@127.0.0.1:1/x.tar"},
	} {
		_, errOut, status := runCommand(t, append(withoutQueries(args), "--command-timeout=1s")...)
		assert.NotZero(t, status)
		assert.NotContains(t, errOut, "hidden", args)
	}
	for _, args := range [][]string{
		{"save", "--insecure-policy", "-o", "https://127.0.0.1:1/x.tar", "oci:../../../testdata/oci:one"},
		{"save", "--insecure-policy", "-o", "s3://bucket/x.tar", "--split", "1G", "oci:../../../testdata/oci:one"},
		{"add", "https://127.0.0.1:1/x.tar", "oci:../../../testdata/oci:one"},
		{"remove", "https://127.0.0.1:1/x.tar", "app:1"},
		{"compact", "https://127.0.0.1:1/x.tar"},
	} {
		_, errOut, status := runCommand(t, append(args, "--command-timeout=2s")...)
		assert.NotZero(t, status)
		assert.Contains(t, errOut, "is not supported", args)
	}
}
