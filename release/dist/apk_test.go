//go:build interop

package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha1" //nolint:gosec // As apk has it.
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// segmentsOf returns the gzip streams that an .apk consists of, packed and unpacked.
func segmentsOf(t *testing.T, data []byte) (packed, unpacked [][]byte) {
	t.Helper()
	r := bytes.NewReader(data)
	for r.Len() > 0 {
		from := len(data) - r.Len()
		z, err := gzip.NewReader(r)
		require.NoError(t, err)
		z.Multistream(false)
		plain, err := io.ReadAll(z)
		require.NoError(t, err)
		packed, unpacked = append(packed, data[from:len(data)-r.Len()]), append(unpacked, plain)
	}
	return packed, unpacked
}

// checkApk checks a package as apk does: the description says the digest of the data, and each
// file its checksum; and that the command is in it.
func checkApk(t *testing.T, path string) {
	t.Helper()
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	packed, unpacked := segmentsOf(t, data)
	require.Len(t, unpacked, 2, "a package that is not signed has a description and data")

	control := tar.NewReader(bytes.NewReader(unpacked[0]))
	header, err := control.Next()
	require.NoError(t, err)
	require.Equal(t, ".PKGINFO", header.Name)
	text, err := io.ReadAll(control)
	require.NoError(t, err)
	said := map[string]string{}
	for line := range strings.Lines(string(text)) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), " = "); ok {
			said[name] = value
		}
	}
	sum := sha256.Sum256(packed[1])
	assert.Equal(t, hex.EncodeToString(sum[:]), said["datahash"])
	assert.Equal(t, command, said["pkgname"])
	assert.Equal(t, "x86_64", said["arch"])
	assert.Regexp(t, `^[0-9]+\.[0-9]+\.[0-9]+`, said["pkgver"])

	there := map[string]bool{}
	for files := tar.NewReader(bytes.NewReader(unpacked[1])); ; {
		header, err := files.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		there[header.Name] = true
		if header.Typeflag != tar.TypeReg {
			continue
		}
		content, err := io.ReadAll(files)
		require.NoError(t, err)
		sum := sha1.Sum(content) //nolint:gosec // As apk has it.
		assert.Equal(t, hex.EncodeToString(sum[:]), header.PAXRecords["APK-TOOLS.checksum.SHA1"], header.Name)
		assert.Equal(t, 0, header.Uid, header.Name)
	}
	for _, name := range []string{"usr/bin/" + command, "usr/share/man/man1/docker-archive.1.gz", "usr/share/licenses/docker-archive/LICENSE", "usr/libexec/docker/cli-plugins/docker-archive"} {
		assert.True(t, there[name], name)
	}
}
