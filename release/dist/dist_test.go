package main

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestVersionOfCommit(t *testing.T) {
	s := source{commit: "0123456789abcdef0123456789abcdef01234567", time: time.Date(2026, 11, 30, 8, 0, 0, 0, time.UTC)}
	for _, c := range []struct{ described, want string }{
		{"", "v0.0.0-20261130080000-0123456789ab"},
		{"v1.2.3-0-g" + s.commit, "v1.2.3"},
		{"v1.2.3-rc.1-0-g" + s.commit, "v1.2.3-rc.1"},
		{"v1.2.3-7-g" + s.commit, "v1.2.4-0.20261130080000-0123456789ab"},
		{"v1.2.3-rc.1-7-g" + s.commit, "v1.2.3-rc.1.0.20261130080000-0123456789ab"},
	} {
		got, err := s.named(c.described)
		require.NoError(t, err, c.described)
		assert.Equal(t, c.want, got, c.described)
	}
	for _, described := range []string{"v1-0-g" + s.commit, "v1.2.3+x-0-g" + s.commit, "v1.2.3"} {
		_, err := s.named(described)
		assert.ErrorContains(t, err, "is no version", described)
	}
}

// The version comes from the tag, the time from the commit, and nothing else may be there.
func TestSourceOfRepository(t *testing.T) {
	dir := t.TempDir()
	git := func(args ...string) {
		t.Helper()
		when := []string{"GIT_COMMITTER_DATE=1700000000 +0530", "GIT_CONFIG_GLOBAL=/dev/null"}
		_, err := output(t.Context(), dir, when, "git", append([]string{"-c", "user.name=x", "-c", "user.email=x@example.com"}, args...)...)
		require.NoError(t, err)
	}
	git("init", "-q")
	git("commit", "-q", "--allow-empty", "-m", "one")
	s, err := sourceOf(t.Context(), dir)
	require.NoError(t, err)
	assert.Equal(t, "v0.0.0-20231114221320-"+s.commit[:12], s.tag)
	assert.Equal(t, int64(1_700_000_000), s.time.Unix())

	git("tag", "-a", "-m", "x", "podman/v2.0.0") // The other module's.
	git("tag", "-a", "-m", "x", "v1.2.3")
	s, err = sourceOf(t.Context(), dir)
	require.NoError(t, err)
	assert.Equal(t, "1.2.3", s.version())

	require.NoError(t, os.WriteFile(filepath.Join(dir, "new"), nil, 0o600))
	_, err = sourceOf(t.Context(), dir)
	assert.ErrorContains(t, err, "?? new")
}

func TestChoose(t *testing.T) {
	all, err := choose("")
	require.NoError(t, err)
	assert.Len(t, all, len(platforms))
	some, err := choose("windows/arm64,linux/arm")
	require.NoError(t, err)
	assert.Equal(t, []platform{{"windows", "arm64", ""}, {"linux", "arm", "v7"}}, some)
	_, err = choose("linux/mips")
	assert.ErrorContains(t, err, "linux/mips")
}

// A mistyped directory loses no files.
func TestOnlyReleasesAreRemoved(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "SHA256SUMS"), nil, 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "docker-archive_1.2.3_linux_amd64.tar.gz"), nil, 0o600))
	_, err := emptied(dir)
	require.NoError(t, err)
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	assert.Empty(t, entries)

	require.NoError(t, os.WriteFile(filepath.Join(dir, "thesis.txt"), nil, 0o600))
	_, err = emptied(dir)
	require.ErrorContains(t, err, "thesis.txt")
	assert.FileExists(t, filepath.Join(dir, "thesis.txt"))
}

func TestCertificatesOfTheImage(t *testing.T) {
	rest, count := certificates(), 0
	for len(rest) > 0 {
		block, after := pem.Decode(rest)
		require.NotNil(t, block)
		certificate, err := x509.ParseCertificate(block.Bytes)
		require.NoError(t, err)
		assert.True(t, certificate.IsCA, certificate.Subject)
		rest, count = after, count+1
	}
	assert.Greater(t, count, 80)
	pool := x509.NewCertPool()
	assert.True(t, pool.AppendCertsFromPEM(certificates()))
}

const mit = `MIT License

Copyright (c) 2020 Somebody

Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated documentation files (the "Software"), to deal in the Software without restriction, including without limitation the rights to use, copy, modify, merge, publish, distribute, sublicense, and/or sell copies of the Software, and to permit persons to whom the Software is furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all copies or substantial portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.
`

// Licences are read from the folders of packages and all above them, and from no others.
func TestLicencesOfModules(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"LICENSE": mit, "license.go": "package x", "README": "x", "a/COPYING.txt": mit, "a/b/NOTICE": "Made here.", "c/LICENCE": "not linked",
	} {
		require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	l := listed{ImportPath: "example.com/m/a/b", Dir: filepath.Join(dir, "a", "b"), Imports: []string{"example.com/other/x", "fmt", "example.com/m/c"}}
	l.Module = &struct{ Path, Version, Dir, Sum string }{"example.com/m", "v1.0.0", dir, "h1:x"}
	other, sibling := listed{ImportPath: "example.com/other/x"}, listed{ImportPath: "example.com/m/c", Module: l.Module}
	other.Module = &struct{ Path, Version, Dir, Sum string }{Path: "example.com/other"}
	m := linkedModule{path: "example.com/m", version: "v1.0.0"}
	packages := map[string]listed{other.ImportPath: other, sibling.ImportPath: sibling, "fmt": {ImportPath: "fmt", Standard: true}}
	require.NoError(t, m.add(l, packages))
	require.NoError(t, m.add(l, packages)) // Another package of the same folders.
	var names []string
	for _, f := range m.files {
		names = append(names, f.name)
	}
	assert.Equal(t, []string{"LICENSE", "a/COPYING.txt", "a/b/NOTICE"}, names)
	assert.Equal(t, []string{"example.com/other", "std"}, m.needs)
	require.NoError(t, m.identify())
	assert.Equal(t, []string{"MIT"}, m.licences)

	notices := noticesOf([]linkedModule{m, {path: "example.com/n", version: "v2.0.0", files: []licenceFile{{"LICENSE", mit}}}})
	assert.Equal(t, 1, bytes.Count(notices, []byte("Copyright (c) 2020 Somebody")), "once")
	assert.Contains(t, string(notices), "example.com/m v1.0.0 (LICENSE)\nexample.com/m v1.0.0 (a/COPYING.txt)\nexample.com/n v2.0.0 (LICENSE)\n")
	assert.Contains(t, string(notices), "\nMade here.\n")
}

func TestLicencesThatDoNotShip(t *testing.T) {
	for text, want := range map[string]string{
		"Ask me.": "has no licence that is known",
		"This program is free software: you can redistribute it and/or modify it under the terms of the GNU General Public License as published by the Free Software Foundation, either version 3 of the License, or (at your option) any later version.": "GPL-3.0-or-later in LICENSE, which is not among",
	} {
		m := linkedModule{path: "example.com/m", version: "v1.0.0", files: []licenceFile{{"LICENSE", text}}}
		assert.ErrorContains(t, m.identify(), want)
	}
}
