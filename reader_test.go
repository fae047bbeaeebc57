package dockerarchive

import (
	"context"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/containers/image/v5/copy"
	"github.com/containers/image/v5/docker/archive"
	"github.com/containers/image/v5/manifest"
	ocilayout "github.com/containers/image/v5/oci/layout"
	"github.com/containers/image/v5/signature"
	"github.com/containers/image/v5/types"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// origin is an image of testdata/oci, from which all archives in
// testdata/archives were made.
type origin struct {
	manifest []byte // or index
	config   digest.Digest
	diffIDs  []digest.Digest
}

func ociBlob(t testing.TB, d digest.Digest) []byte {
	data, err := os.ReadFile(filepath.Join("testdata/oci/blobs", d.Algorithm().String(), d.Encoded()))
	require.NoError(t, err)
	return data
}

func origins(t testing.TB) map[string]origin {
	data, err := os.ReadFile("testdata/oci/index.json")
	require.NoError(t, err)
	var index v1.Index
	require.NoError(t, json.Unmarshal(data, &index))
	all := map[string]origin{}
	for _, d := range index.Manifests {
		o := origin{manifest: ociBlob(t, d.Digest)}
		if d.MediaType == v1.MediaTypeImageManifest {
			var m v1.Manifest
			require.NoError(t, json.Unmarshal(o.manifest, &m))
			o.config = m.Config.Digest
			o.diffIDs = diffIDsOf(t, ociBlob(t, m.Config.Digest))
		}
		all[d.Annotations[v1.AnnotationRefName]] = o
	}
	return all
}

func diffIDsOf(t testing.TB, config []byte) []digest.Digest {
	var c v1.Image
	require.NoError(t, json.Unmarshal(config, &c))
	return c.RootFS.DiffIDs
}

// fixtures says what is in each archive of testdata/archives.
var fixtures = []struct {
	file    string
	carries bool     // the original manifests
	images  []string // the names in testdata/oci, in order
	tags    [][]string
}{
	{"skopeo.tar", false, []string{"one"}, [][]string{{"one:v1"}}},
	{"podman-multi.tar", false, []string{"one", "two"}, [][]string{{"one:v1", "one:again"}, {"two:v1"}}},
	{"docker20.tar", false, []string{"one"}, [][]string{{"one:v1"}}},
	{"docker29.tar", true, []string{"one"}, [][]string{{"one:v1"}}},
	{"crane.tar", false, []string{"one"}, [][]string{{"one:v1"}}},
	{"ctr24.tar", true, []string{"multi", "one"}, [][]string{{"multi:v1"}, {"one:v1"}}},
}

const fixtureRepository = "127.0.0.1:5111/tiny/"

func TestReaderReadsWhatOthersWrote(t *testing.T) {
	from := origins(t)
	for _, f := range fixtures {
		data, err := os.ReadFile(filepath.Join("testdata/archives", f.file))
		require.NoError(t, err)
		for name, compressed := range map[string][]byte{"plain": data, "gzip": gzipped(data)} {
			open := map[string]func(*testing.T) *Reader{
				"file": func(t *testing.T) *Reader { return openFile(t, compressed) },
				"pipe": func(t *testing.T) *Reader { return openStdin(t, "-", compressed) },
				"/dev/stdin": func(t *testing.T) *Reader {
					return openStdin(t, "/dev/stdin", compressed)
				},
			}
			for way, open := range open {
				t.Run(f.file+"/"+name+"/"+way, func(t *testing.T) {
					r := open(t)
					list, err := r.List()
					require.NoError(t, err)
					require.Len(t, list, len(f.images))
					for i, refs := range list {
						require.Len(t, refs, len(f.tags[i]))
						for j, ref := range refs {
							assert.Equal(t, fixtureRepository+f.tags[i][j], ref.DockerReference().String())
							requireOrigin(t, ref, from[f.images[i]], f.carries)
						}
					}
				})
			}
		}
	}
}

func openFile(t testing.TB, data []byte) *Reader {
	r, err := NewReader(nil, writeFile(t, data))
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, r.Close()) })
	return r
}

func writeFile(t testing.TB, data []byte) string {
	path := filepath.Join(t.TempDir(), "archive")
	require.NoError(t, os.WriteFile(path, data, 0o600))
	return path
}

// openStdin opens path with the standard input being a pipe with data.
func openStdin(t *testing.T, path string, data []byte) *Reader {
	in, out, err := os.Pipe()
	require.NoError(t, err)
	stdin := os.Stdin
	os.Stdin = in
	defer func() { os.Stdin = stdin }()
	go func() {
		_, _ = out.Write(data)
		out.Close()
	}()
	r, err := NewReader(&types.SystemContext{BigFilesTemporaryDir: t.TempDir()}, path)
	require.NoError(t, err)
	require.NoError(t, in.Close())
	t.Cleanup(func() { assert.NoError(t, r.Close()) })
	return r
}

// requireOrigin reads all of an image and compares it with its origin.
func requireOrigin(t testing.TB, ref types.ImageReference, want origin, carried bool) {
	ctx := context.Background()
	src, err := ref.NewImageSource(ctx, nil)
	require.NoError(t, err)
	defer src.Close()
	require.Equal(t, ref, src.Reference())
	data, mediaType, err := src.GetManifest(ctx, nil)
	require.NoError(t, err)
	if carried {
		require.Equal(t, string(want.manifest), string(data))
	}
	if manifest.MIMETypeIsMultiImage(mediaType) {
		list, err := manifest.ListFromBlob(data, mediaType)
		require.NoError(t, err)
		for _, d := range list.Instances() {
			child, childType, err := src.GetManifest(ctx, &d)
			require.NoError(t, err)
			require.Equal(t, d, digest.FromBytes(child))
			readBlobs(t, src, child, childType)
		}
		return
	}
	config := readBlobs(t, src, data, mediaType)
	require.Equal(t, want.config, digest.FromBytes(config))
	require.Equal(t, want.diffIDs, diffIDsOf(t, config))
	if !carried {
		m, err := manifest.FromBlob(data, mediaType)
		require.NoError(t, err)
		require.Len(t, m.LayerInfos(), len(want.diffIDs))
		for i, l := range m.LayerInfos() {
			require.Equal(t, want.diffIDs[i], l.Digest)
		}
	}
}

// readBlobs reads and checks every blob of a manifest and returns the config.
func readBlobs(t testing.TB, src types.ImageSource, data []byte, mediaType string) []byte {
	m, err := manifest.FromBlob(data, mediaType)
	require.NoError(t, err)
	for _, l := range m.LayerInfos() {
		require.Equal(t, l.Size, int64(len(readBlob(t, src, l.BlobInfo))))
	}
	config := readBlob(t, src, m.ConfigInfo())
	require.Equal(t, m.ConfigInfo().Size, int64(len(config)))
	return config
}

func readBlob(t testing.TB, src types.ImageSource, info types.BlobInfo) []byte {
	stream, size, err := src.GetBlob(context.Background(), info, nil)
	require.NoError(t, err)
	data, err := io.ReadAll(stream)
	require.NoError(t, err)
	require.NoError(t, stream.Close())
	require.Equal(t, size, int64(len(data)))
	require.Equal(t, info.Digest, digest.FromBytes(data))
	return data
}

// TestReaderAnswersAsContainersImage compares with containers/image's own
// reader wherever that can read the archive.
func TestReaderAnswersAsContainersImage(t *testing.T) {
	ctx := context.Background()
	for _, f := range fixtures {
		if f.carries {
			continue // Of these, the original manifest is more than theirs gives.
		}
		t.Run(f.file, func(t *testing.T) {
			path := filepath.Join("testdata/archives", f.file)
			ours, err := NewReader(nil, path)
			require.NoError(t, err)
			defer ours.Close()
			theirs, err := archive.NewReader(nil, path)
			require.NoError(t, err)
			defer theirs.Close()
			ourList, err := ours.List()
			require.NoError(t, err)
			theirList, err := theirs.List()
			require.NoError(t, err)
			require.Len(t, ourList, len(theirList))
			for i := range theirList {
				require.Len(t, ourList[i], len(theirList[i]))
				for j, theirRef := range theirList[i] {
					ourRef := ourList[i][j]
					assert.Equal(t, theirRef.StringWithinTransport(), ourRef.StringWithinTransport())
					ourTags, err := ours.ManifestTagsForReference(ourRef)
					require.NoError(t, err)
					theirTags, err := theirs.ManifestTagsForReference(theirRef)
					require.NoError(t, err)
					assert.Equal(t, theirTags, ourTags)
					ourSrc, err := ourRef.NewImageSource(ctx, nil)
					require.NoError(t, err)
					theirSrc, err := theirRef.NewImageSource(ctx, nil)
					require.NoError(t, err)
					ourManifest, ourType, err := ourSrc.GetManifest(ctx, nil)
					require.NoError(t, err)
					theirManifest, theirType, err := theirSrc.GetManifest(ctx, nil)
					require.NoError(t, err)
					assert.Equal(t, string(theirManifest), string(ourManifest))
					assert.Equal(t, theirType, ourType)
				}
			}
		})
	}
}

// TestIndexIsCopiedAsItIs copies an index with an attestation, and one platform
// of it.
func TestIndexIsCopiedAsItIs(t *testing.T) {
	ctx := context.Background()
	want := origins(t)["multi"]
	r, err := NewReader(nil, "testdata/archives/ctr24.tar")
	require.NoError(t, err)
	defer r.Close()
	list, err := r.List()
	require.NoError(t, err)
	dir := t.TempDir()
	dest, err := ocilayout.NewReference(dir, "copy")
	require.NoError(t, err)
	policy := acceptAnything(t)
	got, err := copy.Image(ctx, policy, dest, list[0][0], &copy.Options{ImageListSelection: copy.CopyAllImages})
	require.NoError(t, err)
	assert.Equal(t, string(want.manifest), string(got))
	blobs, err := os.ReadDir(filepath.Join(dir, "blobs", "sha256"))
	require.NoError(t, err)
	assert.Len(t, blobs, 11, "an index, three manifests, three configs, and four distinct layers")

	for platform, config := range map[string]digest.Digest{"amd64": origins(t)["two"].config, "arm64": "sha256:7f621764e4adbeaee1f9257cb63a276c156503922dc5317ca0bf35f822c44541"} {
		got, err := copy.Image(ctx, policy, dest, list[0][0], &copy.Options{SourceCtx: &types.SystemContext{OSChoice: "linux", ArchitectureChoice: platform}})
		require.NoError(t, err)
		m, err := manifest.FromBlob(got, v1.MediaTypeImageManifest)
		require.NoError(t, err)
		assert.Equal(t, config, m.ConfigInfo().Digest)
	}
}

// TestConcurrentReading reads all images of one Reader at once.
func TestConcurrentReading(t *testing.T) {
	r, err := NewReader(nil, "testdata/archives/podman-multi.tar")
	require.NoError(t, err)
	defer r.Close()
	list, err := r.List()
	require.NoError(t, err)
	var wg sync.WaitGroup
	for range 8 {
		for _, refs := range list {
			wg.Go(func() { assert.NoError(t, readImage(context.Background(), refs[0])) })
		}
	}
	wg.Wait()
}

func acceptAnything(t testing.TB) *signature.PolicyContext {
	policy, err := signature.NewPolicyContext(&signature.Policy{Default: signature.PolicyRequirements{signature.NewPRInsecureAcceptAnything()}})
	require.NoError(t, err)
	return policy
}

func TestChoosingAnImage(t *testing.T) {
	ctx := context.Background()
	const path = "testdata/archives/podman-multi.tar"
	for ref, want := range map[string][]string{
		":127.0.0.1:5111/tiny/one:again": {"127.0.0.1:5111/tiny/one:again"},
		":@0":                            {"127.0.0.1:5111/tiny/one:v1", "127.0.0.1:5111/tiny/one:again"},
		":@1":                            {"127.0.0.1:5111/tiny/two:v1"},
		":none":                          {"no image is named docker.io/library/none:latest", "@1 127.0.0.1:5111/tiny/two:v1"},
		":@2":                            {"@2", "@1 127.0.0.1:5111/tiny/two:v1"},
		"":                               {"2 images", "@1 127.0.0.1:5111/tiny/two:v1"},
	} {
		standalone, err := ParseReference(path + ref)
		require.NoError(t, err)
		r2, bound, err := NewReaderForReference(nil, standalone)
		require.NoError(t, err)
		tags, err := r2.ManifestTagsForReference(bound)
		src, srcErr := standalone.NewImageSource(ctx, nil)
		if err == nil {
			assert.Equal(t, want, tags, ref)
			require.NoError(t, srcErr)
			require.NoError(t, src.Close())
		} else {
			for _, part := range want {
				assert.ErrorContains(t, err, part, ref)
				assert.ErrorContains(t, srcErr, part, ref)
			}
		}
		require.NoError(t, r2.Close())
		_, _, err = NewReaderForReference(nil, bound)
		require.Error(t, err)
	}
}
