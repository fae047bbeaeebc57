package signing_test

import (
	"archive/tar"
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"io"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/internal/forging"
	dockerarchive "github.com/dockerarchive/dockerarchive/podman"
	"github.com/dockerarchive/dockerarchive/podman/copying/internal/signing"
)

// problems returns everything that verify --key finds in an archive.
func problems(t *testing.T, data []byte, options signing.Options) error {
	t.Helper()
	r, err := dockerarchive.NewReaderAt(t.Context(), nil, bytes.NewReader(data), int64(len(data)))
	if err != nil {
		return err
	}
	defer r.Close()
	report, err := r.Verify(t.Context(), nil)
	if err != nil {
		return err
	}
	unsigned, err := signing.Verify(t.Context(), r, options)
	return errors.Join(append(append(report.Problems, unsigned...), err)...)
}

// From an archive that somebody has changed, a model of a client loads only images that
// the key has signed, or verify --key fails. The interop tests ask the clients themselves.
func TestHostileArchives(t *testing.T) {
	caught := 0
	for _, signed := range forging.Archives(t) {
		options := signing.Options{Keys: [][]byte{signed.Public}}
		require.NoError(t, problems(t, signed.Good, options))
		for client, load := range clients {
			assert.NotEmpty(t, load(readEntries(t, signed.Good)), client)
			assert.Empty(t, unsigned(signed, load(readEntries(t, signed.Good))), client)
		}
		for _, v := range signed.Variants {
			found := problems(t, v.Data, options)
			for client, load := range clients {
				for _, bad := range unsigned(signed, load(readEntries(t, v.Data))) {
					caught++
					assert.Error(t, found, "%s: %s loads %s as %q", v.Name, client, bad.config, bad.name)
				}
			}
		}
	}
	assert.Greater(t, caught, 300, "the variants are hostile")
}

// loaded is an image as a client has it afterwards.
type loaded struct {
	name   string // "" if it has none
	config digest.Digest
}

// unsigned returns the images that the key has not signed, or not under their names.
func unsigned(s forging.Signed, all []loaded) (bad []loaded) {
	for _, l := range all {
		ok := s.Configs[l.config]
		if named, err := reference.ParseNormalizedNamed(l.name); l.name != "" {
			ok = ok && err == nil && named.Name() == forging.Repository
		}
		if !ok {
			bad = append(bad, l)
		}
	}
	return bad
}

type entry struct {
	name, link string
	data       []byte
}

func readEntries(t *testing.T, data []byte) (all []entry) {
	t.Helper()
	for r := tar.NewReader(bytes.NewReader(data)); ; {
		h, err := r.Next()
		if err == io.EOF {
			return all
		}
		require.NoError(t, err)
		content, err := io.ReadAll(r)
		require.NoError(t, err)
		all = append(all, entry{h.Name, h.Linkname, content})
	}
}

// files finds the content of a name.
type files func(name string) ([]byte, bool)

// extracted are the files of an unpacked archive: the last entry of a name counts.
func extracted(entries []entry) files { return find(entries, true, path.Clean) }

// first are the files of a client that reads an archive until it finds an entry.
func first(clean func(string) string) func([]entry) files {
	return func(entries []entry) files { return find(entries, false, clean) }
}

func exactly(name string) string { return name }

func find(entries []entry, last bool, clean func(string) string) files {
	var lookup func(name string, links int) ([]byte, bool)
	lookup = func(name string, links int) ([]byte, bool) {
		order := slices.Clone(entries)
		if last {
			slices.Reverse(order)
		}
		for _, e := range order {
			n := clean(e.name)
			if last {
				n = strings.TrimPrefix(n, "/")
			}
			if n != name {
				continue
			}
			if e.link == "" {
				return e.data, true
			}
			target := path.Join(path.Dir(name), e.link)
			if path.IsAbs(e.link) {
				target = path.Clean(e.link)[1:]
			}
			if links == 0 {
				return nil, false
			}
			return lookup(target, links-1)
		}
		return nil, false
	}
	return func(name string) ([]byte, bool) { return lookup(name, 10) }
}

// clients are models of clients: each loads all that its client can, by any name or
// position.
var clients = map[string]func([]entry) []loaded{
	"docker 20": func(entries []entry) []loaded {
		f := extracted(entries)
		if _, ok := f("manifest.json"); !ok {
			return legacy(f, entries)
		}
		return items(f, true, true)
	},
	"podman, skopeo docker-archive": func(entries []entry) []loaded { return items(first(path.Clean)(entries), false, false) },
	"crane":                         func(entries []entry) []loaded { return items(first(exactly)(entries), true, false) },
	"podman, skopeo oci-archive": func(entries []entry) []loaded {
		return tops(extracted(entries), fullRefName)
	},
	"containerd, docker 29": func(entries []entry) []loaded {
		f := extracted(entries)
		if _, ok := f("oci-layout"); !ok {
			return items(f, false, true)
		}
		return tops(byContent(f, entries), imageName)
	},
	"a puller from serve": func(entries []entry) []loaded { return tops(extracted(entries), ownTag) },
}

// fullRefName is the name of an image for podman and skopeo; a word is only its tag.
func fullRefName(d v1.Descriptor) string {
	if name := d.Annotations[v1.AnnotationRefName]; strings.ContainsAny(name, "/:") {
		return name
	}
	return ""
}

// imageName is the name of an image for containerd and Docker 29.
func imageName(d v1.Descriptor) string {
	return cmp.Or(d.Annotations["io.containerd.image.name"], d.Annotations[v1.AnnotationRefName])
}

func ownTag(d v1.Descriptor) string { return d.Annotations["io.github.dockerarchive.tag"] }

// byContent are the files of a client that stores blobs under the digests of their
// content.
func byContent(f files, entries []entry) files {
	return func(name string) ([]byte, bool) {
		hex, isBlob := strings.CutPrefix(name, "blobs/sha256/")
		if !isBlob {
			return f(name)
		}
		for _, e := range entries {
			if digest.FromBytes(e.data).Encoded() == hex {
				return e.data, true
			}
		}
		return nil, false
	}
}

// items are the images of manifest.json. lenient reads the first value only; strict
// compares layers with the config.
func items(f files, lenient, strict bool) (all []loaded) {
	data, ok := f("manifest.json")
	if !ok {
		return nil
	}
	var list []struct {
		Config           string
		RepoTags, Layers []string
	}
	if !lenient && json.Unmarshal(data, &list) != nil || json.NewDecoder(bytes.NewReader(data)).Decode(&list) != nil {
		return nil
	}
	for _, i := range list {
		config, ok := f(i.Config)
		var parsed v1.Image
		if !ok || json.Unmarshal(config, &parsed) != nil || strict && len(parsed.RootFS.DiffIDs) != len(i.Layers) {
			continue
		}
		good := true
		for n, name := range i.Layers {
			layer, ok := f(name)
			good = good && ok && (!strict || digest.FromBytes(layer) == parsed.RootFS.DiffIDs[n])
		}
		if !good {
			continue
		}
		l := loaded{config: digest.FromBytes(config)}
		all = append(all, l)
		for _, name := range i.RepoTags {
			all = append(all, loaded{name, l.config})
		}
	}
	return all
}

// legacy are the images of an archive of Docker before 1.10.
func legacy(f files, entries []entry) (all []loaded) {
	for _, e := range entries {
		if dir, base := path.Split(path.Clean(e.name)); base == "layer.tar" {
			if config, ok := f(dir + "json"); ok {
				all = append(all, loaded{config: digest.FromBytes(config)})
			}
		}
	}
	return all
}

// tops are the images of index.json.
func tops(f files, name func(v1.Descriptor) string) (all []loaded) {
	data, ok := f("index.json")
	var index v1.Index
	if !ok || json.Unmarshal(data, &index) != nil {
		return nil
	}
	for _, d := range index.Manifests {
		for _, config := range configs(f, d) {
			all = append(all, loaded{name(d), config})
		}
	}
	return all
}

// configs are those of all images that a descriptor leads to.
func configs(f files, d v1.Descriptor) (all []digest.Digest) {
	data, ok := f("blobs/sha256/" + d.Digest.Encoded())
	if !ok || digest.FromBytes(data) != d.Digest {
		return nil
	}
	var document struct {
		Config            *v1.Descriptor
		Manifests, Layers []v1.Descriptor
	}
	if json.Unmarshal(data, &document) != nil {
		return nil
	}
	for _, child := range document.Manifests {
		all = append(all, configs(f, child)...)
	}
	if document.Config == nil {
		return all
	}
	for _, l := range document.Layers {
		layer, ok := f("blobs/sha256/" + l.Digest.Encoded())
		if _, err := tar.NewReader(bytes.NewReader(layer)).Next(); !ok || err != nil {
			return all
		}
	}
	return append(all, document.Config.Digest)
}
