package copying_test

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/types"

	"github.com/dockerarchive/dockerarchive/archive"
	"github.com/dockerarchive/dockerarchive/errdef"
	dockerarchive "github.com/dockerarchive/dockerarchive/podman"
	"github.com/dockerarchive/dockerarchive/podman/copying"
	"github.com/dockerarchive/dockerarchive/podman/internal/imagetest"
)

// without returns the layers that archives or lists have, by their names.
func without(t testing.TB, name string, data []byte) *copying.Without {
	t.Helper()
	w := &copying.Without{}
	require.NoError(t, w.Open(t.Context(), name, bytes.NewReader(data)))
	return w
}

// thin returns options that leave out the layers of an archive.
func thin(t testing.TB, name string, data []byte) *copying.SaveOptions {
	t.Helper()
	o := saving(t)
	o.Without = without(t, name, data)
	return o
}

// inFile returns the only image of an archive, of either kind.
func inFile(t testing.TB, data []byte) types.ImageReference {
	t.Helper()
	ref, err := dockerarchive.ImageTransport.ParseReference(imagetest.WriteFile(t, data))
	require.NoError(t, err)
	return ref
}

// archiveReference returns a new archive.
func archiveReference(t testing.TB) types.ImageReference {
	t.Helper()
	ref, err := dockerarchive.ImageTransport.ParseReference(filepath.Join(t.TempDir(), "copied.tar"))
	require.NoError(t, err)
	return ref
}

// add adds images to a copy of an archive, and returns that.
func add(t testing.TB, full []byte, images ...copying.SaveImage) ([]byte, error) {
	t.Helper()
	path := imagetest.WriteFile(t, full)
	_, err := copying.Add(t.Context(), imagetest.Trusting(t), path, images, saving(t).Adding())
	assert.Len(t, imagetest.Leftovers(t, filepath.Dir(path)), 1)
	return imagetest.ReadFile(t, path), err
}

// reportOf verifies an archive.
func reportOf(t testing.TB, data []byte) *archive.Report {
	t.Helper()
	a, err := archive.New(t.Context(), bytes.NewReader(data), int64(len(data)))
	require.NoError(t, err)
	defer a.Close()
	report, err := a.Verify(t.Context(), nil)
	require.NoError(t, err)
	return report
}

// listOf returns the output of docker-archive list --json.
func listOf(t testing.TB, data []byte) []byte {
	t.Helper()
	r, err := dockerarchive.NewReader(nil, imagetest.WriteFile(t, data))
	require.NoError(t, err)
	defer r.Close()
	images, err := r.Images(t.Context())
	require.NoError(t, err)
	list, err := json.MarshalIndent(images, "", "  ")
	require.NoError(t, err)
	return list
}

// edited returns an archive with one of its files changed, or without it if change
// returns nil.
func edited(t testing.TB, data []byte, name string, change func([]byte) []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w, r := tar.NewWriter(&b), tar.NewReader(bytes.NewReader(data))
	for {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		require.NoError(t, err)
		content, err := io.ReadAll(r)
		require.NoError(t, err)
		if h.Name == name {
			if content = change(content); content == nil {
				continue
			}
			h.Size = int64(len(content))
		}
		require.NoError(t, w.WriteHeader(h))
		_, err = w.Write(content)
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	return b.Bytes()
}

// versions are two images that share all but the last layer of the second.
func versions(t testing.TB) (first, second *imagetest.Image) {
	t.Helper()
	base, lib := imagetest.Gzip(1, 30000), imagetest.Zstd(2, 20000)
	return imagetest.NewImage(t, "1", base, lib), imagetest.NewImage(t, "2", base, lib, imagetest.Gzip(3, 1000))
}

// Save leaves out the layers that the other side has, according to an archive or a
// list. Added to those, the rest makes the bytes whole.
func TestSaveWithout(t *testing.T) {
	first, second := versions(t)
	full, _ := save(t, saving(t), named(t, first, "app:1"))
	both, _ := save(t, saving(t), named(t, first, "app:1"), named(t, second, "app:2"))
	digests := "# what is there\n\n"
	for _, l := range first.Layers {
		digests += " " + l.Digest.String() + "\r\n"
	}
	for name, had := range map[string][]byte{
		"archive": full, "compressed": imagetest.Gzipped(full), "list": listOf(t, full), "digests": []byte(digests),
	} {
		t.Run(name, func(t *testing.T) {
			second.Forget()
			o := thin(t, "old.tar", had)
			delta, results := save(t, o, named(t, second, "app:2"))
			for _, l := range first.Layers {
				assert.Zero(t, second.Gets[l.Digest])
			}
			require.Len(t, results[0].LeftOut, 2)
			assert.Equal(t, errdef.LeftOut{Digest: first.Layers[0].Digest, Size: int64(len(first.Layers[0].Blob)), Archive: "old.tar"}, results[0].LeftOut[0])
			assert.Less(t, len(delta), len(both)/2)
			piped, err := saveToPipe(t, o, named(t, second, "app:2"))
			require.NoError(t, err)
			assert.Equal(t, imagetest.Sum(delta), imagetest.Sum(piped))

			report := reportOf(t, delta)
			assert.Empty(t, report.Problems)
			assert.Empty(t, report.Notes)
			assert.Equal(t, results[0].LeftOut, report.LeftOut)

			whole, err := add(t, full, copying.SaveImage{Source: inFile(t, delta), Name: imagetest.Tagged(t, "app:2")})
			require.NoError(t, err)
			report = reportOf(t, whole)
			assert.Empty(t, report.Problems)
			assert.Empty(t, report.LeftOut)
			path := imagetest.WriteFile(t, whole)
			require.NoError(t, copying.Compact(t.Context(), imagetest.Trusting(t), path, nil))
			assert.Equal(t, imagetest.Sum(both), imagetest.Sum(imagetest.ReadFile(t, path)))
		})
	}
}

// An archive with uncompressed layers has the layers of its configs.
func TestSaveWithoutDockerLayout(t *testing.T) {
	first, second := versions(t)
	o := saving(t)
	o.Transport = dockerarchive.Transport
	full, _ := save(t, o, named(t, first, "app:1"))
	for name, had := range map[string][]byte{"archive": full, "list": listOf(t, full)} {
		t.Run(name, func(t *testing.T) {
			delta, results := save(t, thin(t, "old.tar", had), named(t, second, "app:2"))
			assert.Len(t, results[0].LeftOut, 2)
			whole, err := add(t, full, copying.SaveImage{Source: inFile(t, delta), Name: imagetest.Tagged(t, "app:2")})
			require.NoError(t, err)
			assert.Empty(t, reportOf(t, whole).Problems)
			assert.Equal(t, [][]string{{"docker.io/library/app:1"}, {"docker.io/library/app:2"}}, imagetest.RepoTags(t, whole))

			oci, _ := save(t, saving(t), named(t, first, "app:1"))
			_, err = add(t, oci, copying.SaveImage{Source: inFile(t, delta)})
			require.NoError(t, err, "that it has them in the form of the manifest is as good")
		})
	}
}

// A layer that is in neither archive is named before anything is fetched, and nothing
// changes.
func TestLeftOutIsNamed(t *testing.T) {
	first, second := versions(t)
	full, _ := save(t, saving(t), named(t, first, "app:1"))
	delta, results := save(t, thin(t, "old.tar", full), named(t, second, "app:2"))
	other := imagetest.NewImage(t, "other", first.Layers[1])
	others, _ := save(t, saving(t), named(t, other, "other:1"))

	var leftOut *errdef.LeftOutError
	changed, err := add(t, others, copying.SaveImage{Source: inFile(t, delta)})
	require.ErrorAs(t, err, &leftOut)
	assert.Equal(t, results[0].LeftOut[:1], leftOut.Layers, "the other archive has one of the two")
	assert.True(t, bytes.Equal(others, changed))
	require.ErrorContains(t, err, first.Layers[0].Digest.String()+" is in old.tar")

	leftOut = nil
	err = refused(t, saving(t), copying.SaveImage{Source: inFile(t, delta)})
	require.ErrorAs(t, err, &leftOut)
	assert.Equal(t, results[0].LeftOut, leftOut.Layers)
	_, err = saveToPipe(t, saving(t), copying.SaveImage{Source: inFile(t, delta)})
	require.ErrorAs(t, err, &leftOut)
	_, err = copying.PlanSave(t.Context(), imagetest.Trusting(t), []copying.SaveImage{{Source: inFile(t, delta)}}, saving(t))
	require.ErrorAs(t, err, &leftOut)
	err = imagetest.Copy(t, archiveReference(t), inFile(t, delta), nil)
	require.ErrorAs(t, err, &leftOut)

	// Other images go on without it, or with its missing layers from elsewhere.
	o := saving(t)
	o.KeepGoing = true
	_, err = copying.Save(t.Context(), imagetest.Trusting(t), filepath.Join(t.TempDir(), "x"), []copying.SaveImage{{Source: inFile(t, delta)}, named(t, other, "o:1")}, o)
	require.ErrorIs(t, err, copying.ErrImagesLeftOut)
	merged, _ := save(t, saving(t), copying.SaveImage{Source: inFile(t, delta)}, copying.SaveImage{Source: inFile(t, full)})
	assert.Empty(t, reportOf(t, merged).Problems)
	assert.Empty(t, reportOf(t, merged).LeftOut)
}

// A thin archive stays thin when it grows or is compacted. It no longer says that a
// layer is elsewhere once it has the layer.
func TestThinArchiveGrows(t *testing.T) {
	first, second := versions(t)
	full, _ := save(t, saving(t), named(t, first, "app:1"))
	delta, _ := save(t, thin(t, "old.tar", full), named(t, second, "app:2"))

	path := imagetest.WriteFile(t, delta)
	require.NoError(t, copying.Compact(t.Context(), imagetest.Trusting(t), path, nil))
	assert.True(t, bytes.Equal(delta, imagetest.ReadFile(t, path)))

	again, _ := save(t, thin(t, "new.tar", delta), named(t, second, "app:2"))
	assert.Len(t, reportOf(t, again).LeftOut, 1, "it does not have what it leaves out")

	grown, err := add(t, delta, named(t, imagetest.NewImage(t, "3", first.Layers[0]), "three:1"))
	require.NoError(t, err)
	report := reportOf(t, grown)
	assert.Empty(t, report.Problems)
	assert.Empty(t, report.Notes)
	assert.Len(t, report.LeftOut, 1)
	grown, err = add(t, grown, named(t, first, "app:1"))
	require.NoError(t, err)
	report = reportOf(t, grown)
	assert.Empty(t, report.Problems)
	assert.Empty(t, report.LeftOut)
	files, _ := imagetest.Files(t, grown)
	assert.NotContains(t, string(files["index.json"]), "left-out")
}

// Only layers that an archive has in full count, and it is read or refused.
func TestWithoutHostile(t *testing.T) {
	first, second := versions(t)
	full, _ := save(t, saving(t), named(t, first, "app:1"))
	blob := func(i int) string { return "blobs/sha256/" + first.Layers[i].Digest.Encoded() }
	gone := func([]byte) []byte { return nil }
	cut := func(data []byte) []byte { return data[:len(data)-1] }

	oci := edited(t, full, "manifest.json", gone)
	for name, had := range map[string][]byte{"cut": edited(t, oci, blob(0), cut), "gone": edited(t, full, blob(0), gone)} {
		t.Run(name, func(t *testing.T) {
			w := without(t, "old.tar", had)
			o := saving(t)
			o.Without = w
			delta, results := save(t, o, named(t, second, "app:2"))
			require.Len(t, results[0].LeftOut, 1)
			assert.Equal(t, first.Layers[1].Digest, results[0].LeftOut[0].Digest)
			files, _ := imagetest.Files(t, delta)
			assert.Equal(t, first.Layers[0].Blob, files[blob(0)])
		})
	}
	manifest := "blobs/sha256/" + first.Digest().Encoded()
	for name, had := range map[string][]byte{
		"contradictory":      edited(t, full, blob(0), cut),
		"no archive":         []byte("PK\x03\x04" + strings.Repeat("x", 2000)),
		"no images":          edited(t, edited(t, full, "index.json", gone), "manifest.json", gone),
		"cut short":          full[:len(full)/2],
		"a broken manifest":  edited(t, edited(t, full, "manifest.json", gone), manifest, cut),
		"no layers listed":   []byte(`[{"names":["a"],"layers":3}]`),
		"broken list":        []byte(`[{"names":`),
		"list of no digests": []byte("sha256:abc\n"),
		"list of nothing":    []byte("\n# nothing\n"),
		"empty":              {},
		"false digest":       []byte(`[{"digest":"x","layers":1,"layerBlobs":[{"digest":"../x","size":1}]}]`),
		"nested":             []byte(strings.Repeat(`[{"manifests":`, 1) + strings.Repeat(`[{"manifests":`, 20) + "[]" + strings.Repeat("}]", 21)),
	} {
		t.Run(name, func(t *testing.T) {
			err := (&copying.Without{}).Open(t.Context(), "old", bytes.NewReader(had))
			require.ErrorContains(t, err, "old")
		})
	}
	f, err := os.Open(imagetest.WriteFile(t, full))
	require.NoError(t, err)
	defer f.Close()
	require.NoError(t, (&copying.Without{}).Open(t.Context(), "old", f), "where it is")
}

// False claims of an archive about layers that it leaves out are not believed, and
// reported.
func TestFalseLeftOut(t *testing.T) {
	first, second := versions(t)
	full, _ := save(t, saving(t), named(t, first, "app:1"))
	delta, _ := save(t, thin(t, "old.tar", full), named(t, second, "app:2"))
	whole, _ := save(t, saving(t), named(t, second, "app:2"))
	files, _ := imagetest.Files(t, delta)
	index := func([]byte) []byte { return files["index.json"] }

	t.Run("of what is there", func(t *testing.T) {
		data := edited(t, whole, "index.json", index)
		report := reportOf(t, data)
		assert.Empty(t, report.Problems)
		assert.Empty(t, report.LeftOut)
		require.Len(t, report.Notes, 1)
		assert.Contains(t, report.Notes[0], "they are there")
		copied, _ := save(t, saving(t), copying.SaveImage{Source: inFile(t, data), Name: imagetest.Tagged(t, "app:2")})
		assert.Equal(t, imagetest.Sum(whole), imagetest.Sum(copied))
	})
	t.Run("not of what is missing", func(t *testing.T) {
		report := reportOf(t, edited(t, delta, "blobs/sha256/"+second.Layers[2].Digest.Encoded(), func([]byte) []byte { return nil }))
		assert.NotEmpty(t, report.Problems)
		assert.Len(t, report.LeftOut, 2)
	})
	t.Run("of a config", func(t *testing.T) {
		data := edited(t, delta, "blobs/sha256/"+second.ConfigDigest().Encoded(), func([]byte) []byte { return nil })
		data = edited(t, data, "index.json", func(index []byte) []byte {
			return bytes.Replace(index, []byte(first.Layers[0].Digest.String()), []byte(second.ConfigDigest().String()), 1)
		})
		assert.NotEmpty(t, reportOf(t, data).Problems)
	})
	t.Run("what cannot be read", func(t *testing.T) {
		for _, bad := range []string{`"[{\"blobs\":[\"x\"]}]"`, `"nonsense"`, `7`} {
			at := bytes.Index(files["index.json"], []byte(`"[{`))
			end := bytes.LastIndexByte(files["index.json"], '"') + 1
			data := edited(t, delta, "index.json", func(index []byte) []byte {
				return append(append(bytes.Clone(index[:at]), bad...), index[end:]...)
			})
			report := reportOf(t, data)
			assert.Greater(t, len(report.Problems), 1, bad)
			assert.Empty(t, report.LeftOut)
		}
	})
}

// Nothing is left out in archives that have no room to say so.
func TestWithoutIsRefused(t *testing.T) {
	first, second := versions(t)
	full, _ := save(t, saving(t), named(t, first, "app:1"))
	o := thin(t, "old.tar", full)
	o.Transport = dockerarchive.Transport
	require.ErrorContains(t, refused(t, o, named(t, second, "app:2")), "all layers of an image")
}

// An image that loses its last name to another stays if KeepUntagged is set.
func TestAddKeepUntagged(t *testing.T) {
	for name, kind := range map[string]types.ImageTransport{"docker": dockerarchive.Transport, "oci": dockerarchive.ImageTransport} {
		t.Run(name, func(t *testing.T) {
			first, second := versions(t)
			o := saving(t)
			o.Transport = kind
			full, _ := save(t, o, named(t, first, "app:1"))
			path := imagetest.WriteFile(t, full)
			adding := o.Adding()
			adding.KeepUntagged = true
			_, err := copying.Add(t.Context(), imagetest.Trusting(t), path, []copying.SaveImage{named(t, second, "app:1")}, adding)
			require.NoError(t, err)
			grown := imagetest.ReadFile(t, path)
			assert.Equal(t, [][]string{{}, {"docker.io/library/app:1"}}, imagetest.RepoTags(t, grown))
			assert.Empty(t, reportOf(t, grown).Problems)
			a, err := archive.Open(t.Context(), path)
			require.NoError(t, err)
			defer a.Close()
			require.Len(t, a.Images(), 2)
			assert.Empty(t, a.Images()[0].Names)
			found, err := a.Find("app:1")
			require.NoError(t, err)
			d, err := found.Describe(t.Context())
			require.NoError(t, err)
			assert.Equal(t, second.ConfigDigest(), d.Config)

			_, err = copying.Add(t.Context(), imagetest.Trusting(t), path, []copying.SaveImage{named(t, first, "app:1")}, o.Adding())
			require.NoError(t, err)
			assert.Len(t, imagetest.RepoTags(t, imagetest.ReadFile(t, path)), 1, "the default")
		})
	}
}

// A thin archive is loaded where the daemon has the rest.
func TestLoadThinArchive(t *testing.T) {
	first, second := versions(t)
	full, _ := save(t, saving(t), named(t, first, "app:1"))
	delta, results := save(t, thin(t, "old.tar", full), named(t, second, "app:2"))
	for _, containerd := range []bool{false, true} {
		d := imagetest.NewLoadDaemon(t)
		d.Containerd = containerd
		image := copying.SaveImage{Source: inFile(t, delta), Name: imagetest.Tagged(t, "app:2")}
		var leftOut *errdef.LeftOutError
		_, err := copying.Load(t.Context(), imagetest.Trusting(t), []copying.SaveImage{image}, loading(t, d))
		require.ErrorAs(t, err, &leftOut)
		assert.Equal(t, results[0].LeftOut, leftOut.Layers)

		load(t, d, loading(t, d), named(t, first, "app:1"))
		_, sent := load(t, d, loading(t, d), image)
		assert.Equal(t, digests(second.Layers[2]), sent)
	}
}
