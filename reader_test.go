package dockerarchive_test

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/iotest"

	"github.com/containers/image/v5/copy"
	"github.com/containers/image/v5/directory"
	"github.com/containers/image/v5/docker/archive"
	"github.com/containers/image/v5/manifest"
	ocilayout "github.com/containers/image/v5/oci/layout"
	"github.com/containers/image/v5/types"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/ulikunitz/xz"

	"github.com/dockerarchive/dockerarchive"
	"github.com/dockerarchive/dockerarchive/internal/fronttest"
	"github.com/dockerarchive/dockerarchive/internal/imagetest"
)

// origin is an image of testdata/oci, from which all archives in
// testdata/archives were made.
type origin struct {
	manifest []byte // or index
	config   digest.Digest
	diffIDs  []digest.Digest
}

func origins(t testing.TB) map[string]origin {
	data, err := os.ReadFile(imagetest.Testdata(t, "oci", "index.json"))
	require.NoError(t, err)
	var index v1.Index
	require.NoError(t, json.Unmarshal(data, &index))
	all := map[string]origin{}
	for _, d := range index.Manifests {
		o := origin{manifest: imagetest.SavedBlob(t, d.Digest)}
		if d.MediaType == v1.MediaTypeImageManifest {
			var m v1.Manifest
			require.NoError(t, json.Unmarshal(o.manifest, &m))
			o.config = m.Config.Digest
			o.diffIDs = diffIDsOf(t, imagetest.SavedBlob(t, m.Config.Digest))
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

// compressors are the ways in which an archive may be compressed as a whole.
var compressors = map[string]func(testing.TB, []byte) []byte{
	"plain": func(_ testing.TB, data []byte) []byte { return data },
	"gzip": func(t testing.TB, data []byte) []byte {
		var b bytes.Buffer
		w := gzip.NewWriter(&b)
		return closed(t, &b, w, data)
	},
	"zstd": func(t testing.TB, data []byte) []byte {
		var b bytes.Buffer
		w, err := zstd.NewWriter(&b)
		require.NoError(t, err)
		return closed(t, &b, w, data)
	},
	"xz": func(t testing.TB, data []byte) []byte {
		var b bytes.Buffer
		w, err := xz.NewWriter(&b)
		require.NoError(t, err)
		return closed(t, &b, w, data)
	},
}

func closed(t testing.TB, b *bytes.Buffer, w io.WriteCloser, data []byte) []byte {
	_, err := w.Write(data)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return b.Bytes()
}

func TestReaderReadsWhatOthersWrote(t *testing.T) {
	from := origins(t)
	for _, f := range fixtures {
		data, err := os.ReadFile(imagetest.Testdata(t, "archives", f.file))
		require.NoError(t, err)
		for name, compress := range compressors {
			compressed := compress(t, data)
			open := map[string]func(*testing.T) *dockerarchive.Reader{
				"file": func(t *testing.T) *dockerarchive.Reader { return openFile(t, compressed) },
				"pipe": func(t *testing.T) *dockerarchive.Reader { return openStdin(t, "-", compressed) },
				"/dev/stdin": func(t *testing.T) *dockerarchive.Reader {
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

// An archive from an io.Reader, or in a part of something larger, reads as it
// does from a file.
func TestReaderOfReaders(t *testing.T) {
	from := origins(t)
	for _, f := range fixtures {
		data := imagetest.ReadFile(t, imagetest.Testdata(t, "archives", f.file))
		for name, compress := range compressors {
			compressed := compress(t, data)
			dir := t.TempDir()
			sys := &types.SystemContext{BigFilesTemporaryDir: dir}
			stream, err := dockerarchive.NewReaderFrom(t.Context(), sys, iotest.HalfReader(bytes.NewReader(compressed)))
			require.NoError(t, err, "%s %s", f.file, name)
			inside := io.NewSectionReader(bytes.NewReader(slices.Concat([]byte("before"), compressed, []byte("after"))), 6, int64(len(compressed)))
			at, err := dockerarchive.NewReaderAt(t.Context(), sys, inside, inside.Size())
			require.NoError(t, err, "%s %s", f.file, name)
			for _, r := range []*dockerarchive.Reader{stream, at} {
				list, err := r.List()
				require.NoError(t, err)
				require.Len(t, list, len(f.images))
				for i, refs := range list {
					requireOrigin(t, refs[0], from[f.images[i]], f.carries)
				}
				require.NoError(t, r.Close())
			}
			assert.Empty(t, imagetest.Leftovers(t, dir))
		}
	}
	sys := &types.SystemContext{BigFilesTemporaryDir: imagetest.NoDir(t)}
	data := imagetest.ReadFile(t, imagetest.Testdata(t, "archives", "skopeo.tar"))
	r, err := dockerarchive.NewReaderAt(t.Context(), sys, bytes.NewReader(data), int64(len(data)))
	require.NoError(t, err, "nothing is copied")
	require.NoError(t, r.Close())
	_, err = dockerarchive.NewReaderFrom(t.Context(), sys, iotest.ErrReader(fronttest.ErrSource))
	require.Error(t, err)
}

func TestReaderReadsBzip2(t *testing.T) {
	r, err := dockerarchive.NewReader(nil, imagetest.Testdata(t, "archives", "skopeo.tar.bz2"))
	require.NoError(t, err)
	defer r.Close()
	list, err := r.List()
	require.NoError(t, err)
	requireOrigin(t, list[0][0], origins(t)["one"], false)
}

func openFile(t testing.TB, data []byte) *dockerarchive.Reader {
	r, err := dockerarchive.NewReader(nil, imagetest.WriteFile(t, data))
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, r.Close()) })
	return r
}

// openStdin opens path with the standard input being a pipe with data.
func openStdin(t *testing.T, path string, data []byte) *dockerarchive.Reader {
	in, out, err := os.Pipe()
	require.NoError(t, err)
	stdin := os.Stdin
	os.Stdin = in
	defer func() { os.Stdin = stdin }()
	go func() {
		_, _ = out.Write(data)
		out.Close()
	}()
	r, err := dockerarchive.NewReader(&types.SystemContext{BigFilesTemporaryDir: t.TempDir()}, path)
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
			continue // These have the original manifest, and theirs does not return it.
		}
		t.Run(f.file, func(t *testing.T) {
			path := imagetest.Testdata(t, "archives", f.file)
			ours, err := dockerarchive.NewReader(nil, path)
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
					// Theirs says that the layers are compressed, which they are not.
					assert.Equal(t, strings.ReplaceAll(string(theirManifest), ".tar.gzip", ".tar"), string(ourManifest))
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
	r, err := dockerarchive.NewReader(nil, imagetest.Testdata(t, "archives", "ctr24.tar"))
	require.NoError(t, err)
	defer r.Close()
	list, err := r.List()
	require.NoError(t, err)
	dir := t.TempDir()
	dest, err := ocilayout.NewReference(dir, "copy")
	require.NoError(t, err)
	policy := imagetest.Trusting(t)
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
	r, err := dockerarchive.NewReader(nil, imagetest.Testdata(t, "archives", "podman-multi.tar"))
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

// readImage reads all blobs of an image, and checks their digests.
func readImage(ctx context.Context, ref types.ImageReference) error {
	src, err := ref.NewImageSource(ctx, nil)
	if err != nil {
		return err
	}
	defer src.Close()
	data, mediaType, err := src.GetManifest(ctx, nil)
	if err != nil {
		return err
	}
	type instance struct {
		data      []byte
		mediaType string
	}
	instances := []instance{{data, mediaType}}
	if manifest.MIMETypeIsMultiImage(mediaType) {
		instances = nil
		list, err := manifest.ListFromBlob(data, mediaType)
		if err != nil {
			return err
		}
		for _, d := range list.Instances() {
			data, mediaType, err := src.GetManifest(ctx, &d)
			if err != nil {
				return err
			}
			instances = append(instances, instance{data, mediaType})
		}
	}
	for _, i := range instances {
		m, err := manifest.FromBlob(i.data, i.mediaType)
		if err != nil {
			return err
		}
		blobs := []types.BlobInfo{m.ConfigInfo()}
		for _, l := range m.LayerInfos() {
			blobs = append(blobs, l.BlobInfo)
		}
		for _, b := range blobs {
			stream, _, err := src.GetBlob(ctx, b, nil)
			if err != nil {
				return err
			}
			d, err := digest.FromReader(stream)
			if err := errors.Join(err, stream.Close()); err != nil {
				return err
			}
			if b.Digest.Algorithm() == digest.Canonical && d != b.Digest {
				return fmt.Errorf("blob %s is %s", b.Digest, d)
			}
		}
	}
	return nil
}

// writeTar writes an archive of files, whose names and contents alternate.
func writeTar(t testing.TB, files ...string) string {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for i := 0; i < len(files); i += 2 {
		require.NoError(t, w.WriteHeader(&tar.Header{Name: files[i], Mode: 0o644, Size: int64(len(files[i+1]))}))
		_, err := io.WriteString(w, files[i+1])
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	return imagetest.WriteFile(t, b.Bytes())
}

func TestChoosingAnImage(t *testing.T) {
	ctx := context.Background()
	m := imagetest.NewImage(t, "choose", imagetest.Plain(1, 100))
	manifests, err := json.Marshal([]imagetest.Item{
		{Config: "a.json", RepoTags: []string{"short", "library/tagged:v2", "twice:v1"}, Layers: []string{"l.tar"}},
		{Config: "other.json", RepoTags: []string{"not a name!", "twice:v1"}, Layers: []string{"l.tar"}},
		{Config: "a.json", Layers: []string{"l.tar"}},
	})
	require.NoError(t, err)
	path := writeTar(t, "a.json", string(m.Config), "other.json", " "+string(m.Config), "l.tar", string(m.Layers[0].Diff), "manifest.json", string(manifests))
	for ref, want := range map[string][]string{
		":short":                          {"short"},
		":docker.io/library/short:latest": {"short"},
		":tagged:v2":                      {"library/tagged:v2"},
		":@0":                             {"short", "library/tagged:v2", "twice:v1"},
		":@2":                             nil,
		":twice:v1":                       {"2 images", "@0 short library/tagged:v2 twice:v1, @1 not a name! twice:v1, @2"},
		":none":                           {"docker.io/library/none:latest", "@1 not a name! twice:v1"},
		":tagged":                         {"no image is named"},
		":@3":                             {"@3", "@1 not a name! twice:v1"},
		"":                                {"3 images", "@1 not a name! twice:v1"},
	} {
		standalone, err := dockerarchive.ParseReference(path + ref)
		require.NoError(t, err)
		r, bound, err := dockerarchive.NewReaderForReference(nil, standalone)
		require.NoError(t, err)
		tags, err := r.ManifestTagsForReference(bound)
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
		require.NoError(t, r.Close())
		_, _, err = dockerarchive.NewReaderForReference(nil, bound)
		require.ErrorContains(t, err, "belongs to a reader")
	}
}

// A bit of a layer is flipped, in archives of both kinds: a copy of the image
// reports it, and so does Verify, with both digests.
func TestCopyOfAFlippedBlob(t *testing.T) {
	one := origins(t)["one"]
	var m v1.Manifest
	require.NoError(t, json.Unmarshal(one.manifest, &m))
	stored := imagetest.SavedBlob(t, m.Layers[0].Digest)
	unzip, err := gzip.NewReader(bytes.NewReader(stored))
	require.NoError(t, err)
	content, err := io.ReadAll(unzip)
	require.NoError(t, err)
	for file, layer := range map[string][]byte{"skopeo.tar": content, "docker29.tar": stored} {
		data := imagetest.ReadFile(t, imagetest.Testdata(t, "archives", file))
		at := bytes.Index(data, layer)
		require.Positive(t, at)
		data[at+len(layer)/2] ^= 1
		flipped := digest.FromBytes(data[at : at+len(layer)])
		r := openFile(t, data)
		list, err := r.List()
		require.NoError(t, err)
		dest, err := directory.NewReference(t.TempDir())
		require.NoError(t, err)
		err = imagetest.Copy(t, dest, list[0][0], &copy.Options{ImageListSelection: copy.CopyAllImages})
		require.ErrorContains(t, err, digest.FromBytes(layer).String(), file)
		require.ErrorContains(t, err, flipped.String(), file)
		report, err := r.Verify(context.Background(), nil)
		require.NoError(t, err)
		require.ErrorContains(t, report.Problems[0], digest.FromBytes(layer).String(), file)
		require.ErrorContains(t, report.Problems[0], flipped.String(), file)
	}
}

// Reading ends with its context, wherever it is.
func TestReadingEndsWithItsContext(t *testing.T) {
	in, out, err := os.Pipe()
	require.NoError(t, err)
	defer out.Close()
	stdin := os.Stdin
	os.Stdin = in
	defer func() { os.Stdin = stdin }()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() {
		_, err := dockerarchive.NewReaderContext(ctx, nil, "-") // Nothing is ever written.
		done <- err
	}()
	cancel()
	require.ErrorIs(t, <-done, context.Canceled)

	r, err := dockerarchive.NewReader(nil, imagetest.Testdata(t, "archives", "skopeo.tar"))
	require.NoError(t, err)
	defer r.Close()
	_, err = r.Verify(ctx, nil)
	require.ErrorIs(t, err, context.Canceled)
	list, err := r.List()
	require.NoError(t, err)
	src, err := list[0][0].NewImageSource(ctx, nil)
	require.NoError(t, err)
	stream, _, err := src.GetBlob(ctx, types.BlobInfo{Digest: origins(t)["one"].diffIDs[0]}, nil)
	require.NoError(t, err)
	defer stream.Close()
	_, err = io.ReadAll(stream)
	require.ErrorIs(t, err, context.Canceled)
}

// A position tells images of one name apart, and is known by the reader's transport.
func TestReaderIndexReference(t *testing.T) {
	r, err := dockerarchive.NewReader(nil, imagetest.Testdata(t, "cases", "same-name-per-arch.tar"))
	require.NoError(t, err)
	defer r.Close()
	var all []string
	for position := range 2 {
		ref, err := r.IndexReference(position)
		require.NoError(t, err)
		assert.Equal(t, dockerarchive.Transport.Name(), ref.Transport().Name())
		assert.False(t, dockerarchive.IsArchive(ref), "it belongs to the reader")
		src, err := ref.NewImageSource(t.Context(), nil)
		require.NoError(t, err)
		raw, _, err := src.GetManifest(t.Context(), nil)
		require.NoError(t, err)
		require.NoError(t, src.Close())
		all = append(all, imagetest.Sum(raw))
	}
	assert.NotEqual(t, all[0], all[1])
	_, err = r.IndexReference(-1)
	require.ErrorContains(t, err, "must not be negative")
}
