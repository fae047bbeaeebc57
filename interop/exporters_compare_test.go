//go:build interop

package interop

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	imagespec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/require"
)

// A tarEntry is an entry of an archive, under a name that another archive also has.
type tarEntry struct {
	header  *tar.Header
	content []byte
	role    string // its role, for people
}

// A dissection is an archive taken apart.
type dissection struct {
	entries map[string]*tarEntry // by a name that is the same in all archives
	order   []string             // of the names
	layers  map[string]digest.Digest
	renamed map[string]string // IDs of legacy configs
}

// dissect reads an archive.
func dissect(t *testing.T, file string) dissection {
	t.Helper()
	content, err := os.ReadFile(file)
	require.NoError(t, err)
	d := dissection{entries: map[string]*tarEntry{}, renamed: map[string]string{}}
	for r := tar.NewReader(bytes.NewReader(content)); ; {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err, file)
		data, err := io.ReadAll(r)
		require.NoError(t, err, file)
		require.NotContains(t, d.entries, header.Name, "%s has it twice", file)
		d.entries[header.Name] = &tarEntry{header: header, content: data}
		d.order = append(d.order, header.Name)
	}
	d.renameLegacy(t, readTar(t, file))
	d.nameRoles(t)
	return d
}

// renameLegacy renames the directories of legacy configs. Their names are digests of content
// that every exporter writes in its own way; the new names are by the layers from the lowest
// to theirs, and by what a container is started with.
func (d *dissection) renameLegacy(t *testing.T, files tarContents) {
	t.Helper()
	type legacy struct{ Parent string }
	configs := map[string]legacy{}
	for name, data := range files {
		if dir, file := path.Split(name); dir != "" && file == "json" {
			var config legacy
			require.NoError(t, json.Unmarshal(data, &config), name)
			configs[path.Clean(dir)] = config
		}
	}
	var chain func(id string) string
	chain = func(id string) string {
		below := ""
		if parent := configs[id].Parent; parent != "" {
			below = chain(parent)
		}
		return digest.FromString(below + diffID(t, files[id+"/layer.tar"]).String()).Encoded()
	}
	for id := range configs {
		var top struct {
			Architecture string
			Config       struct {
				Cmd    []string
				Labels map[string]string
			} `json:"config"`
		}
		require.NoError(t, json.Unmarshal(files[id+"/json"], &top))
		d.renamed[id] = "layer " + chain(id)[:12]
		if top.Architecture != "" {
			started, err := json.Marshal(top.Config)
			require.NoError(t, err)
			d.renamed[id] += " top " + digest.FromBytes(started).Encoded()[:8]
		}
	}
	for i, name := range d.order {
		dir, file, ok := strings.Cut(name, "/")
		if known, legacy := d.renamed[dir]; ok && legacy {
			renamed := known + "/" + file
			d.entries[renamed] = d.entries[name]
			delete(d.entries, name)
			d.order[i] = renamed
		}
	}
}

var registryHost = regexp.MustCompile(`127\.0\.0\.1:[0-9]+`)

var hexDigits = regexp.MustCompile(`\b[0-9a-f]{64}\b`)

// nameRoles gives every entry a role, independent of its digest.
func (d *dissection) nameRoles(t *testing.T) {
	t.Helper()
	for name, e := range d.entries {
		switch {
		case strings.HasPrefix(name, "layer "):
			e.role = "LAYER" + name[strings.Index(name, "/"):]
		default:
			e.role = hexDigits.ReplaceAllString(name, "HEX")
		}
	}
	d.layers = map[string]digest.Digest{}
	mark := func(name, role string) {
		if e := d.entries[name]; e != nil && strings.HasPrefix(name, "blobs/") {
			e.role = role
		}
	}
	for name, e := range d.entries {
		if strings.HasPrefix(name, "blobs/") && e.header.Typeflag == tar.TypeReg {
			e.role = "blob"
		}
	}
	if index := d.entries["index.json"]; index != nil {
		d.markIndex(t, index.content, mark)
	}
	var items []struct {
		Config string
		Layers []string
	}
	if e := d.entries["manifest.json"]; e != nil {
		require.NoError(t, json.Unmarshal(e.content, &items))
	}
	for _, item := range items {
		mark(item.Config, "config")
		for _, layer := range item.Layers {
			mark(layer, "layer")
			d.layers[layer] = d.layerDigest(t, layer)
		}
	}
}

// layerDigest is the diff ID of a layer that manifest.json names.
func (d *dissection) layerDigest(t *testing.T, name string) digest.Digest {
	t.Helper()
	for range 2 {
		dir, file, _ := strings.Cut(name, "/")
		if renamed, ok := d.renamed[dir]; ok {
			name = renamed + "/" + file
		}
		e := d.entries[name]
		if e == nil {
			return "absent"
		}
		if e.header.Typeflag != tar.TypeSymlink {
			return diffID(t, e.content)
		}
		name = path.Join("x", e.header.Linkname)
	}
	return "link to a link"
}

// markIndex marks the blobs of an index.
func (d *dissection) markIndex(t *testing.T, content []byte, mark func(name, role string)) {
	t.Helper()
	var index imagespec.Index
	require.NoError(t, json.Unmarshal(content, &index))
	for _, listed := range index.Manifests {
		name := blobPath("", listed.Digest)
		blob := d.entries[name]
		if blob == nil {
			continue
		}
		var m struct {
			imagespec.Manifest
			Manifests []imagespec.Descriptor
		}
		require.NoError(t, json.Unmarshal(blob.content, &m))
		if len(m.Manifests) > 0 {
			mark(name, "index")
			d.markIndex(t, blob.content, mark)
			continue
		}
		mark(name, "manifest")
		mark(blobPath("", m.Config.Digest), "config")
		for _, layer := range m.Layers {
			mark(blobPath("", layer.Digest), "layer")
		}
	}
}

// differences says how an archive of another exporter differs from ours, each in a line.
func differences(t *testing.T, theirs, ours string) []string {
	t.Helper()
	a, b := dissect(t, theirs), dissect(t, ours)
	found := map[string]bool{}
	add := func(format string, args ...any) { found[fmt.Sprintf(format, args...)] = true }
	in := func(d dissection) func(string) bool {
		return func(name string) bool { return d.entries[name] == nil }
	}
	common := slices.DeleteFunc(slices.Clone(a.order), in(b))
	if !slices.Equal(common, slices.DeleteFunc(slices.Clone(b.order), in(a))) {
		add("order")
	}
	for name, e := range a.entries {
		if b.entries[name] == nil {
			add("theirs only: %s", e.role)
		}
	}
	for name, e := range b.entries {
		if a.entries[name] == nil {
			add("ours only: %s", e.role)
		}
	}
	for _, name := range common {
		x, y := a.entries[name], b.entries[name]
		h, g := x.header, y.header
		if h.Typeflag != g.Typeflag {
			add("type of %s: %c, ours %c", x.role, h.Typeflag, g.Typeflag)
			continue
		}
		if h.Mode != g.Mode {
			add("mode of %s: %o, ours %o", x.role, h.Mode, g.Mode)
		}
		if !h.ModTime.Equal(g.ModTime) {
			add("time of %s", x.role)
		}
		if h.Uid != g.Uid || h.Gid != g.Gid || h.Uname != g.Uname || h.Gname != g.Gname {
			add("owner of %s", x.role)
		}
		if h.Format != g.Format {
			add("format of %s: %s, ours %s", x.role, h.Format, g.Format)
		}
		if a.rename(h.Linkname) != b.rename(g.Linkname) {
			add("link of %s: %s, ours %s", x.role, hexDigits.ReplaceAllString(h.Linkname, "HEX"), hexDigits.ReplaceAllString(g.Linkname, "HEX"))
		}
		if bytes.Equal(x.content, y.content) {
			continue
		}
		if !json.Valid(x.content) || !json.Valid(y.content) {
			add("content of %s", x.role)
			continue
		}
		lines := compareJSON(a.document(t, name), b.document(t, name))
		for _, line := range lines {
			add("%s %s", x.role, line)
		}
		if len(lines) == 0 {
			add("writing of %s", x.role)
		}
	}
	return slices.Sorted(maps.Keys(found))
}

// rename gives the directories of legacy configs in a text the names of their entries.
func (d dissection) rename(text string) string {
	return hexDigits.ReplaceAllStringFunc(text, func(id string) string {
		if renamed, ok := d.renamed[id]; ok {
			return renamed
		}
		return id
	})
}

// document is a JSON document of the archive in which layers are called by their content. Its
// items are in a fixed order, as some exporters write them in a random one.
func (d dissection) document(t *testing.T, name string) map[string]string {
	t.Helper()
	text := string(d.entries[name].content)
	if name == "manifest.json" {
		for file, content := range d.layers {
			text = strings.ReplaceAll(text, strconv.Quote(file), strconv.Quote(content.String()))
		}
		text = regexp.MustCompile(`"(?:blobs/sha256/)?([0-9a-f]{64})(?:\.json)?"`).ReplaceAllString(text, `"$1"`)
	}
	var value any
	text = registryHost.ReplaceAllString(text, "REGISTRY")
	require.NoError(t, json.Unmarshal([]byte(d.rename(text)), &value))
	flat := map[string]string{}
	flatten(flat, "", value)
	return flat
}

// flatten lists the values of a document by where they stand: descriptors by their names or
// digests, images by their configs, and other items of a list by their number.
func flatten(flat map[string]string, at string, value any) {
	switch v := value.(type) {
	case map[string]any:
		for key, member := range v {
			flatten(flat, at+"."+key, member)
		}
		if len(v) == 0 {
			flat[at] = "{}"
		}
	case []any:
		for i, item := range v {
			key := strconv.Itoa(i)
			if fields, ok := item.(map[string]any); ok {
				key = itemKey(fields)
			}
			flatten(flat, at+"["+key+"]", item)
		}
		if len(v) == 0 {
			flat[at] = "[]"
		}
	default:
		text, err := json.Marshal(v)
		if err != nil {
			text = []byte(err.Error())
		}
		flat[at] = string(text)
	}
}

func itemKey(fields map[string]any) string {
	annotations, _ := fields["annotations"].(map[string]any)
	for _, key := range []any{fields["Config"], annotations["io.containerd.image.name"], fields["digest"]} {
		if key != nil {
			return fmt.Sprint(key)
		}
	}
	return ""
}

var keys = regexp.MustCompile(`\[[^\]]*\]`)

// compareJSON returns the fields that differ between two documents.
func compareJSON(theirs, ours map[string]string) []string {
	var lines []string
	shown := func(text string) string { return hexDigits.ReplaceAllString(text, "HEX") }
	for at, value := range theirs {
		field := shown(keys.ReplaceAllString(at, "[]"))
		switch mine, ok := ours[at]; {
		case !ok:
			lines = append(lines, field+" only theirs: "+shown(value))
		case mine != value:
			lines = append(lines, field+": "+shown(value)+", ours "+shown(mine))
		}
	}
	for at, value := range ours {
		if _, ok := theirs[at]; !ok {
			lines = append(lines, shown(keys.ReplaceAllString(at, "[]"))+" only ours: "+shown(value))
		}
	}
	return lines
}
