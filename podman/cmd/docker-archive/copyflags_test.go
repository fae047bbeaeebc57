package main

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/signature/sigstore"

	"github.com/dockerarchive/dockerarchive/podman/internal/imagetest"
)

// skopeoFlags are the flags that skopeo 1.9 and later list in the help of copy and
// sync, and of skopeo itself.
const skopeoFlags = `additional-tag all append-suffix authfile command-timeout debug
decryption-key dest dest-authfile dest-cert-dir dest-compress dest-compress-format
dest-compress-level dest-creds dest-daemon-host dest-decompress dest-force-compress-format
dest-no-creds dest-oci-accept-uncompressed-layers dest-password dest-precompute-digests
dest-registry-token dest-shared-blob-dir dest-tls-verify dest-username digestfile dry-run
encrypt-layer encryption-key format help image-parallel-copies insecure-policy keep-going
multi-arch override-arch override-os override-variant policy preserve-digests quiet
registries.d remove-signatures retry-delay retry-times scoped sign-by sign-by-sigstore
sign-by-sigstore-private-key sign-by-sq-fingerprint sign-identity sign-passphrase-file src
src-authfile src-cert-dir src-creds src-daemon-host src-no-creds src-password
src-registry-token src-shared-blob-dir src-tls-verify src-username tls-verify tmpdir
user-agent-prefix version`

// The table of docs/flags.md has every flag of skopeo's, and is true.
func TestTableOfFlags(t *testing.T) {
	doc, err := os.ReadFile(imagetest.Testdata(t, "../docs/flags.md"))
	require.NoError(t, err)
	said := map[string]string{}
	for _, row := range regexp.MustCompile("(?m)^\\| `--([^`]+)` \\| (.*) \\|$").FindAllStringSubmatch(string(doc), -1) {
		said[row[1]] = row[2]
	}
	for flag := range strings.FieldsSeq(skopeoFlags) {
		assert.Contains(t, said, flag)
	}
	root := newRootCommand()
	root.InitDefaultVersionFlag()
	there := func(flag string) bool {
		for _, name := range []string{"copy", "save"} {
			cmd, _, err := root.Find([]string{name})
			require.NoError(t, err)
			cmd.InitDefaultHelpFlag()
			if has(cmd, flag) {
				return true
			}
		}
		return has(root, flag)
	}
	for flag, here := range said {
		if same := strings.HasPrefix(here, "same"); same {
			assert.True(t, there(flag), flag)
		} else if strings.HasPrefix(here, "no") {
			assert.False(t, there(flag), flag)
		}
	}
}

func has(cmd *cobra.Command, flag string) bool {
	return cmd.Flags().Lookup(flag) != nil || cmd.InheritedFlags().Lookup(flag) != nil || cmd.PersistentFlags().Lookup(flag) != nil
}

func TestFlagsOfCopy(t *testing.T) {
	reg := imagetest.NewRegistry(t)
	reg.Push(t, "app:1", imagetest.NewImage(t, "1", imagetest.Gzip(1, 3000)))
	dir := t.TempDir()
	source := "docker://" + reg.Address + "/app:1"
	to := func(name string) string { return filepath.Join(dir, name) }
	succeeds(t, "copy", "--tls-verify=false", source, "docker://"+reg.Address+"/app:2")
	succeeds(t, "copy", "--tls-verify=false", "--dest-decompress", source, "dir:"+to("plain"))
	out, _ := succeeds(t, "copy", "--multi-arch", "all", images+"multi", "image-archive:"+to("all.tar")+":x:1")
	assert.Empty(t, out)
	listed, _ := succeeds(t, "list", to("all.tar"))
	assert.Contains(t, listed, "linux/amd64,linux/arm64/v8")
	succeeds(t, "copy", "--tls-verify=false", "--dest-compress-format", "zstd", "--dest-oci-accept-uncompressed-layers", "dir:"+to("plain"), "oci:"+to("oci")+":x")

	key, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(to("public.pem"), pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public}), 0o600))
	private := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})
	require.NoError(t, os.WriteFile(to("private.pem"), private, 0o600))
	succeeds(t, "copy", "--encryption-key", "jwe:"+to("public.pem"), images+"one", "oci:"+to("secret")+":x")
	raw, err := os.ReadFile(to("secret/index.json"))
	require.NoError(t, err)
	assert.NotContains(t, string(raw), oneDigest)
	succeeds(t, "copy", "--decryption-key", to("private.pem"), "oci:"+to("secret")+":x", "docker-archive:"+to("open.tar")+":x:1")

	pair, err := sigstore.GenerateKeyPair([]byte("secret"))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(to("sigstore.key"), pair.PrivateKey, 0o600))
	require.NoError(t, os.WriteFile(to("passphrase"), []byte("secret\n"), 0o600))
	sign := []string{"copy", "--sign-by-sigstore-private-key", to("sigstore.key"), "--sign-passphrase-file", to("passphrase"), "--sign-identity", "h.example/app:1"}
	succeeds(t, append(sign, images+"one", "dir:"+to("signed"))...)
	assert.FileExists(t, to("signed/signature-1"))
	_, errOut, status := command(t, append(sign, images+"one", "image-archive:"+to("signed.tar")+":x:1")...)
	assert.Equal(t, exitFailure, status)
	assert.Contains(t, errOut, "signatures")

	for want, args := range map[string][]string{
		"neither system nor all":          {"--multi-arch", "some"},
		"contradict":                      {"--dest-compress", "--dest-decompress"},
		"--dest-compress-format":          {"--dest-compress-format", "rar"},
		"need --sign-by-sigstore-private": {"--sign-identity", "a:b"},
		"needs --encryption-key":          {"--encrypt-layer", "0"},
		"must not be negative":            {"--retry-times", "-1"},
	} {
		_, errOut, status := command(t, append([]string{"copy", images + "one", "dir:" + to("none")}, args...)...)
		assert.Equal(t, exitUsage, status, args)
		assert.Contains(t, errOut, want)
	}
	for _, args := range [][]string{{"copy", "--authfile", to("no"), images + "one", "dir:" + to("none")}, {"save", "--authfile", to("no"), "-o", to("x"), images + "one"}} {
		_, errOut, status := command(t, args...)
		assert.Equal(t, exitFailure, status)
		assert.Contains(t, errOut, "reading credentials: stat "+to("no"))
	}
	_, _, status = command(t, "save", "--retry-times", "-1", "-o", to("x"), images+"one")
	assert.Equal(t, exitUsage, status)
}
