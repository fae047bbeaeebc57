package verify_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/errdef"
	"github.com/dockerarchive/dockerarchive/internal/catalog"
	"github.com/dockerarchive/dockerarchive/internal/tarfile"
	"github.com/dockerarchive/dockerarchive/internal/verify"
)

// file is an entry of an archive.
type file struct {
	name    string
	content []byte
}

// claimsOf returns the claims of an archive of the files, in the order of names.
func claimsOf(t *testing.T, files ...file) []*catalog.Claim {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range files {
		require.NoError(t, w.WriteHeader(&tar.Header{Name: f.name, Mode: 0o644, Size: int64(len(f.content))}))
		_, err := w.Write(f.content)
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	index, err := tarfile.NewIndex(t.Context(), bytes.NewReader(b.Bytes()), int64(b.Len()))
	require.NoError(t, err)
	c, err := catalog.Load(t.Context(), index)
	require.NoError(t, err)
	findings, err := c.Claims(t.Context())
	require.NoError(t, err)
	slices.SortFunc(findings.Claims, func(a, b *catalog.Claim) int { return strings.Compare(a.Name, b.Name) })
	return findings.Claims
}

// image returns the files of an archive with one image, whose config has the diff IDs and
// whose layers are the others.
func image(t *testing.T, ids []digest.Digest, layers ...file) []file {
	t.Helper()
	config, err := json.Marshal(map[string]any{"os": "linux", "architecture": "amd64", "rootfs": map[string]any{"type": "layers", "diff_ids": ids}})
	require.NoError(t, err)
	var names []string
	for _, l := range layers {
		names = append(names, l.name)
	}
	manifest, err := json.Marshal([]map[string]any{{"Config": "config.json", "RepoTags": []string{"app:1"}, "Layers": names}})
	require.NoError(t, err)
	return append(layers, file{"config.json", config}, file{"manifest.json", manifest})
}

func gzipped(t *testing.T, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, err := w.Write(data)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return b.Bytes()
}

func named(suffix string, content []byte) string { return digest.FromBytes(content).Encoded() + suffix }

// layerOf returns content behind the beginning of a tar archive.
func layerOf(content []byte) []byte { return append(make([]byte, 512), content...) }

// Claims that hold are no problem, in any form of a layer and of its name; every byte is
// reported once.
func TestWhatHolds(t *testing.T) {
	plain, other := layerOf(bytes.Repeat([]byte("plain"), 200_000)), layerOf([]byte("other"))
	packed := gzipped(t, other)
	ids := []digest.Digest{digest.FromBytes(plain), digest.FromBytes(other), digest.FromBytes(other)}
	files := image(t, ids, file{named(".tar", plain), plain}, file{named(".tar.gz", packed), packed}, file{named(".tar", other), packed})
	claims := claimsOf(t, files...)
	var read, size atomic.Int64
	for _, c := range claims {
		size.Add(c.File.Size)
	}
	problems, err := verify.Claims(t.Context(), claims, func(n int) { read.Add(int64(n)) })
	require.NoError(t, err)
	assert.Empty(t, problems)
	assert.Equal(t, size.Load(), read.Load())
	problems, err = verify.Claims(t.Context(), claims, nil)
	require.NoError(t, err)
	assert.Empty(t, problems)
}

// Each claim that does not hold has an error of its own, in the order given.
func TestWhatDoesNotHold(t *testing.T) {
	one, two := []byte("one"), []byte("two")
	id := digest.FromBytes
	packed := gzipped(t, one)
	cut := packed[:len(packed)-6]
	for what, c := range map[string]struct {
		files []file
		want  []string
	}{
		"a name that lies":    {image(t, []digest.Digest{id(two)}, file{named(".tar", one), two}), []string{"its digest should be " + id(one).String() + " but is " + id(two).String()}},
		"another layer":       {image(t, []digest.Digest{id(one)}, file{"layer.tar", two}), []string{"layer 0, layer.tar, has the diff ID " + id(two).String()}},
		"another order":       {image(t, []digest.Digest{id(one), id(two)}, file{"a.tar", two}, file{"b.tar", one}), []string{"another order than in the config: layer 0", "another order than in the config: layer 1"}},
		"a digest for a diff": {image(t, []digest.Digest{id(packed)}, file{"layer.tar.gz", packed}), []string{"which is the digest of layer.tar.gz as it is compressed"}},
		"cut":                 {image(t, []digest.Digest{id(one)}, file{"layer.tar.gz", cut}), []string{"reading layer.tar.gz: "}},
		// Wrong diff IDs of damaged content are not reported too.
		"cut, under its name": {image(t, []digest.Digest{id(one)}, file{named(".tar", two), cut}), []string{"its digest should be " + id(two).String(), "reading " + named(".tar", two)}},
		"damaged, and whole":  {image(t, []digest.Digest{id(one)}, file{named(".tar", two), gzipped(t, []byte("three"))}), []string{"its digest should be " + id(two).String()}},
	} {
		problems, err := verify.Claims(t.Context(), claimsOf(t, c.files...), nil)
		require.NoError(t, err)
		require.Len(t, problems, len(c.want), "%s: %v", what, problems)
		for i, want := range c.want {
			assert.ErrorContains(t, problems[i], want, what)
		}
	}
	problems, err := verify.Claims(t.Context(), claimsOf(t, image(t, []digest.Digest{id(two)}, file{named(".tar", one), two})...), nil)
	require.NoError(t, err)
	var mismatch *errdef.MismatchError
	require.ErrorAs(t, problems[0], &mismatch)
	assert.Equal(t, []digest.Digest{id(one), id(two)}, []digest.Digest{mismatch.Want, mismatch.Got})
}

// Bytes after the compressed data are a part of the file that has the digest.
func TestTrailingBytes(t *testing.T) {
	content := []byte("content")
	packed := append(gzipped(t, content), make([]byte, 16<<20)...)
	problems, err := verify.Claims(t.Context(), claimsOf(t, image(t, []digest.Digest{digest.FromBytes(content)}, file{named(".tar.gz", packed), packed})...), nil)
	require.NoError(t, err)
	for _, p := range problems {
		assert.NotContains(t, p.Error(), "its digest should be")
	}
}

func TestCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	content := []byte("content")
	problems, err := verify.Claims(ctx, claimsOf(t, image(t, []digest.Digest{digest.FromBytes(content)}, file{named(".tar", content), content})...), nil)
	require.ErrorIs(t, err, context.Canceled)
	assert.Empty(t, problems)
}
