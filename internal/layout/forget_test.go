package layout

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/internal/raced"
)

var otherHex = strings.Repeat("c", 64)

// countingArchive counts how often something is read.
type countingArchive struct {
	oldArchive
	reads map[string]int
}

// ReadTable implements Archive.
func (a countingArchive) ReadTable(name string) ([]byte, error) {
	a.reads[name]++
	return a.oldArchive.ReadTable(name)
}

// put adds a document, and returns its descriptor.
func (a countingArchive) put(t *testing.T, mediaType string, document any) v1.Descriptor {
	data, err := json.Marshal(document)
	require.NoError(t, err)
	d := v1.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(data), Size: int64(len(data))}
	a.oldArchive["blobs/sha256/"+d.Digest.Encoded()] = string(data)
	return d
}

// Indexes that list an index a thousand times, on five levels, are each read once to
// remove them, and not 10^15 times.
func TestRemoveNestedIndexes(t *testing.T) {
	old := countingArchive{oldArchive{}, map[string]int{}}
	config := v1.Descriptor{Digest: "sha256:" + someHex}
	top := old.put(t, v1.MediaTypeImageManifest, v1.Manifest{Config: config})
	for range 5 {
		index := v1.Index{}
		for n := range 1000 {
			listed := top
			listed.Annotations = map[string]string{"n": fmt.Sprint(n)}
			index.Manifests = append(index.Manifests, listed)
		}
		top = old.put(t, v1.MediaTypeImageIndex, index)
	}
	other := old.put(t, v1.MediaTypeImageManifest, v1.Manifest{Config: v1.Descriptor{Digest: digest.Digest("sha256:" + otherHex)}})
	other.Annotations = map[string]string{containerdName: "other:1"}
	top.Annotations = map[string]string{containerdName: "app:1"}
	index, err := json.Marshal(v1.Index{Manifests: []v1.Descriptor{top, other}})
	require.NoError(t, err)
	old.oldArchive[v1.ImageIndexFile] = string(index)
	old.oldArchive[manifestFile] = `[{"Config":"blobs/sha256/` + someHex + `"},{"Config":"blobs/sha256/` + otherHex + `"}]`

	read := func() Table {
		table, err := OCI{Metadata: plainMetadata()}.ReadTable(old)
		require.NoError(t, err)
		clear(old.reads)
		return table
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, read().Remove(ctx, []string{"app:1"}, false), context.Canceled)
	table := read()
	require.NoError(t, table.Remove(t.Context(), []string{"app:1"}, false))
	assert.Len(t, old.reads, 7)
	for name, n := range old.reads {
		assert.Equal(t, 1, n, name)
	}
	tail := tailOf(t, table)
	assert.NotContains(t, tail[manifestFile], someHex)
	assert.Contains(t, tail[manifestFile], otherHex)
}

// An image may have tens of thousands of names. If each were looked for among all others,
// this would take minutes.
func TestRemoveManyNames(t *testing.T) {
	count := raced.Rounds(t, 6_000, 60_000)
	var listed, tags, names []string
	for n := range count {
		name := fmt.Sprintf("example.com/app:%d", n)
		names = append(names, name)
		listed = append(listed, `{"digest":"sha256:`+someHex+`","annotations":{"io.containerd.image.name":"`+name+`"}}`)
		tags = append(tags, `"`+name+`"`)
	}
	old := oldArchive{
		v1.ImageIndexFile: `{"manifests":[` + strings.Join(listed, ",") + `]}`,
		manifestFile:      `[{"Config":"blobs/sha256/` + someHex + `","RepoTags":[` + strings.Join(tags, ",") + `]}]`,
	}
	docker := oldArchive{manifestFile: old[manifestFile]}
	for _, read := range []func() (Table, error){
		func() (Table, error) { return OCI{Metadata: plainMetadata()}.ReadTable(old) },
		func() (Table, error) { return Docker{Metadata: plainMetadata()}.ReadTable(docker) },
	} {
		table, err := read()
		require.NoError(t, err)
		require.NoError(t, table.Remove(t.Context(), names[1:], false))
		tail := tailOf(t, table)
		assert.Contains(t, tail[manifestFile], `"RepoTags":["example.com/app:0"]`)
		assert.LessOrEqual(t, strings.Count(tail[v1.ImageIndexFile], containerdName), 1)
		require.NoError(t, table.Remove(t.Context(), names, false))
		assert.True(t, table.Empty())
	}
}

// Referrers go with the images they refer to, and so do referrers of those. A referrer of another
// image, or of something that was not there before, stays.
func TestRemoveOrphans(t *testing.T) {
	old := countingArchive{oldArchive{}, map[string]int{}}
	config := v1.Descriptor{MediaType: v1.MediaTypeImageConfig, Digest: "sha256:" + someHex}
	manifest := func(n string, subject *v1.Descriptor) v1.Descriptor {
		layer := v1.Descriptor{MediaType: "application/" + n, Digest: digest.FromString(n)}
		if subject == nil {
			layer.MediaType = v1.MediaTypeImageLayer
		} else if subject.Digest == "" {
			subject = nil
		}
		return old.put(t, v1.MediaTypeImageManifest, v1.Manifest{Config: config, Layers: []v1.Descriptor{layer}, Subject: subject})
	}
	as := func(d v1.Descriptor, annotations ...string) v1.Descriptor {
		d.Annotations = map[string]string{annotations[0]: annotations[1]}
		return d
	}
	tag := func(d v1.Descriptor, kind string) string {
		return "r:" + strings.Replace(d.Digest.String(), ":", "-", 1) + kind
	}
	child, one, two := manifest("child", nil), manifest("one", nil), manifest("two", nil)
	index := old.put(t, v1.MediaTypeImageIndex, v1.Index{Manifests: []v1.Descriptor{child, one}})
	elsewhere := v1.Descriptor{Digest: digest.FromString("elsewhere")}
	sbom := manifest("sbom", &index)
	list := func(all ...v1.Descriptor) { // as index.json
		raw, err := json.Marshal(v1.Index{Manifests: all})
		require.NoError(t, err)
		old.oldArchive[v1.ImageIndexFile] = string(raw)
	}
	signature, ofChild := manifest("signature", &v1.Descriptor{}), manifest("of-child", &child)
	gone := []v1.Descriptor{sbom, manifest("of-sbom", &sbom), ofChild, as(signature, "io.github.dockerarchive.tag", tag(index, ".sig")),
		as(manifest("annotation", &v1.Descriptor{}), "io.containerd.manifest.subject", child.Digest.String())}
	stays := []v1.Descriptor{
		as(two, containerdName, "two:1"), manifest("of-two", &two), manifest("of-one", &one), manifest("of-nothing", &elsewhere),
		as(manifest("both", &v1.Descriptor{}), "io.github.dockerarchive.tag", tag(two, ".sbom")),
		as(manifest("named", &index), containerdName, "named:1"),
		as(manifest("image", nil), "io.containerd.manifest.subject", child.Digest.String()), // which is a lie
	}
	both := stays[4]
	both.Annotations = map[string]string{"io.github.dockerarchive.tag": tag(index, ".sbom")}
	list(append(append([]v1.Descriptor{as(index, containerdName, "app:1"), both}, gone...), append(stays, as(one, containerdName, "one:1"))...)...)

	table, err := OCI{Metadata: plainMetadata()}.ReadTable(old)
	require.NoError(t, err)
	removed, err := table.RemoveOrphans(t.Context(), false)
	require.NoError(t, err)
	assert.Empty(t, removed, "no image is removed")
	require.NoError(t, table.Remove(t.Context(), []string{"app:1"}, false))
	removed, err = table.RemoveOrphans(t.Context(), false)
	require.NoError(t, err)
	var want []digest.Digest
	for _, d := range gone {
		want = append(want, d.Digest)
	}
	assert.ElementsMatch(t, want, removed)
	for name, n := range old.reads {
		assert.LessOrEqual(t, n, 6, name)
	}
	var left v1.Index
	require.NoError(t, json.Unmarshal([]byte(tailOf(t, table)[v1.ImageIndexFile]), &left))
	var have []digest.Digest
	for _, d := range left.Manifests {
		have = append(have, d.Digest)
	}
	for _, d := range stays {
		assert.Contains(t, have, d.Digest)
	}
	assert.Len(t, have, len(stays)+2)
}
