package copying_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/dockerarchive/dockerarchive/podman/internal/imagetest"
)

// opened is an archive as seen by a reader that is too simple to be wrong: it has
// everything in memory, hashes every layer, and believes nothing.
type opened struct {
	files map[string][]byte
	index *v1.Index // nil if index.json is not there or no JSON
	items []imagetest.Item
	// readable is false if a table of contents is no JSON or the tar was cut.
	readable bool
	readings []*reading
	faults   []error // all faults
	// contested is set if several images have one name.
	contested bool
}

// reading is an image as one of the documents of an archive describes it.
type reading struct {
	item     bool // of manifest.json, not of index.json
	names    []string
	top      digest.Digest // that of index.json's descriptor
	index    bool          // top is that of an index
	platform string
	config   []byte
	layers   []digest.Digest // diff IDs of the content
	lost     bool            // there is not even a manifest
	wrong    error           // it is not what its config says
	mild     error           // a false statement that does no harm
	hidden   bool            // only unpacking layers shows that it is wrong
}

// image tells images apart.
func (r *reading) image() string { return fmt.Sprintf("%s %v", digest.FromBytes(r.config), r.layers) }

func openArchive(data []byte) *opened {
	o := &opened{files: map[string][]byte{}, readable: true}
	r := tar.NewReader(bytes.NewReader(data))
	for {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			o.readable = false
			break
		}
		content, err := io.ReadAll(r)
		if err != nil {
			o.readable = false
			break
		}
		if h.Typeflag == tar.TypeReg {
			o.files[path.Clean(h.Name)] = content
		}
	}
	if raw, ok := o.files["index.json"]; ok {
		o.index = &v1.Index{}
		o.parse(raw, o.index)
	}
	if raw, ok := o.files["manifest.json"]; ok {
		o.parse(raw, &o.items)
	}
	if o.index != nil {
		for _, d := range o.index.Manifests {
			o.follow(d, nil, d, 0)
		}
	}
	for _, item := range o.items {
		o.readings = append(o.readings, o.readItem(item))
	}
	o.faults = o.judge()
	return o
}

func (o *opened) parse(raw []byte, v any) {
	if err := json.Unmarshal(raw, v); err != nil {
		o.readable = false
	}
}

// blob returns a blob, and the fault that it has.
func (o *opened) blob(d digest.Digest) ([]byte, error) {
	if err := d.Validate(); err != nil {
		return nil, err
	}
	data, ok := o.files["blobs/"+d.Algorithm().String()+"/"+d.Encoded()]
	switch {
	case !ok:
		return nil, fmt.Errorf("there is no %s: %w", d, fs.ErrNotExist)
	case d.Algorithm().FromBytes(data) != d:
		return data, fmt.Errorf("%s is damaged", d)
	}
	return data, nil
}

// follow adds the images that a descriptor leads to.
func (o *opened) follow(d v1.Descriptor, platform *v1.Platform, top v1.Descriptor, depth int) {
	r := &reading{top: top.Digest, index: depth > 0}
	if name := top.Annotations["io.containerd.image.name"]; name != "" {
		r.names = []string{name}
	} else if name := top.Annotations[v1.AnnotationRefName]; name != "" {
		r.names = []string{name}
	}
	raw, err := o.blob(d.Digest)
	if err != nil && raw == nil && depth > 0 {
		return // Archives are partial.
	}
	var doc struct {
		v1.Manifest
		Manifests []v1.Descriptor `json:"manifests"`
	}
	if err == nil {
		err = json.Unmarshal(raw, &doc)
	}
	if err != nil {
		r.lost, r.wrong = true, err
		o.readings = append(o.readings, r)
		return
	}
	if doc.Manifests != nil {
		for _, child := range doc.Manifests {
			o.follow(child, child.Platform, top, depth+1)
		}
		return
	}
	if int64(len(raw)) != d.Size {
		r.mild = errors.New("the manifest has another size")
	}
	o.readManifest(r, &doc.Manifest)
	if platform != nil {
		r.platform = platform.Architecture
	}
	o.readings = append(o.readings, r)
}

func (o *opened) readManifest(r *reading, m *v1.Manifest) {
	config, err := o.blob(m.Config.Digest)
	ids := o.readConfig(r, config, err)
	if m.Config.Size != int64(len(config)) {
		r.mild = errors.New("the config has another size")
	}
	var layers [][]byte
	for _, l := range m.Layers {
		blob, err := o.blob(l.Digest)
		if err != nil {
			r.wrong = err
		}
		if int64(len(blob)) != l.Size {
			r.mild = errors.New("a layer has another size")
		}
		if !typeFits(l.MediaType, blob) {
			r.mild = fmt.Errorf("%s is not of the type %s", l.Digest, l.MediaType)
		}
		layers = append(layers, blob)
	}
	broken := r.wrong
	r.compare(layers, ids)
	r.hidden = r.wrong != nil && len(ids) == len(m.Layers) && len(ids) == len(r.layers) && broken == nil
	for n := range ids {
		if r.hidden && r.layers[n] != ids[n] {
			r.hidden = compressionOf(layers[n]) != "" && ids[n] != m.Layers[n].Digest
		}
	}
}

func (o *opened) readItem(item imagetest.Item) *reading {
	r := &reading{item: true, names: item.RepoTags}
	config, ok := o.files[path.Clean(item.Config)]
	var err error
	if !ok {
		err = fmt.Errorf("there is no %s", item.Config)
	} else if d, ok := namedByDigest(item.Config); ok && d != d.Algorithm().FromBytes(config) {
		err = fmt.Errorf("%s is damaged", item.Config)
	}
	ids := o.readConfig(r, config, err)
	var layers [][]byte
	for _, name := range item.Layers {
		layer, ok := o.files[path.Clean(name)]
		if !ok {
			r.wrong = fmt.Errorf("there is no %s", name)
		}
		layers = append(layers, layer)
	}
	r.compare(layers, ids)
	return r
}

// namedByDigest returns the digest that a config's path consists of.
func namedByDigest(name string) (digest.Digest, bool) {
	d := digest.NewDigestFromEncoded(digest.SHA256, strings.TrimSuffix(path.Base(name), ".json"))
	return d, d.Validate() == nil
}

// readConfig returns the diff IDs.
func (o *opened) readConfig(r *reading, config []byte, err error) []digest.Digest {
	var fields struct {
		Architecture string
		RootFS       *struct {
			DiffIDs []digest.Digest `json:"diff_ids"`
		}
	}
	if err == nil {
		err = json.Unmarshal(config, &fields)
	}
	if err == nil && fields.RootFS == nil {
		err = errors.New("the config has no rootfs")
	}
	r.config = config
	if err != nil {
		r.wrong = err
		return nil
	}
	r.platform = fields.Architecture
	return fields.RootFS.DiffIDs
}

// compare compares unpacked layers with the config.
func (r *reading) compare(layers [][]byte, ids []digest.Digest) {
	for _, l := range layers {
		content, err := unpacked(l)
		if err != nil {
			r.wrong = err
		}
		r.layers = append(r.layers, digest.FromBytes(content))
	}
	if r.wrong == nil && !slices.Equal(r.layers, ids) {
		r.wrong = fmt.Errorf("the layers are %v, but the config says %v", r.layers, ids)
	}
}

func unpacked(blob []byte) ([]byte, error) {
	switch compressionOf(blob) {
	case "gzip":
		r, err := gzip.NewReader(bytes.NewReader(blob))
		if err != nil {
			return nil, err
		}
		return io.ReadAll(r)
	case "zstd":
		r, err := zstd.NewReader(bytes.NewReader(blob))
		if err != nil {
			return nil, err
		}
		defer r.Close()
		return io.ReadAll(r)
	}
	return blob, nil
}

func compressionOf(blob []byte) string {
	switch {
	case bytes.HasPrefix(blob, []byte{0x1f, 0x8b}):
		return "gzip"
	case bytes.HasPrefix(blob, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		return "zstd"
	}
	return ""
}

// typeFits reports whether a media type says what a blob is.
func typeFits(mediaType string, blob []byte) bool {
	for _, algorithm := range []string{"gzip", "zstd"} {
		if strings.HasSuffix(mediaType, algorithm) {
			return compressionOf(blob) == algorithm
		}
	}
	return compressionOf(blob) == ""
}

// called returns the readings under a name, those of index.json and those of
// manifest.json. A name in the latter only is of an image in both.
func (o *opened) called(name string) (index, items []*reading) {
	for _, r := range o.readings {
		switch {
		case !slices.Contains(r.names, name):
		case r.item:
			items = append(items, r)
		default:
			index = append(index, r)
		}
	}
	if len(index) > 0 {
		return index, items
	}
	tops := map[digest.Digest]bool{}
	for _, r := range o.readings {
		if !r.item && slices.ContainsFunc(items, r.sameConfig) {
			tops[r.top] = true
		}
	}
	for _, r := range o.readings {
		if !r.item && tops[r.top] {
			index = append(index, r)
		}
	}
	return index, items
}

func (r *reading) sameConfig(other *reading) bool {
	return r.config != nil && bytes.Equal(r.config, other.config)
}

// hidden reports whether a reading is wrong in a way that only unpacking its layers
// shows.
func (o *opened) hidden(r *reading) bool {
	return r.hidden && !slices.ContainsFunc(o.readings, func(other *reading) bool {
		return other.item && other.sameConfig(r) && other.image() != r.image()
	})
}

// judge returns all faults of the archive.
func (o *opened) judge() []error {
	var all []error
	if !o.readable {
		all = append(all, errors.New("it cannot be read to its end"))
	}
	if len(o.readings) == 0 {
		all = append(all, errors.New("there is no image"))
	}
	owner := map[string]string{}
	for _, r := range o.readings {
		if err := errors.Join(r.wrong, r.mild); err != nil {
			all = append(all, fmt.Errorf("%v: %w", r.names, err))
		}
		id := digest.FromBytes(r.config).String() // Both tables tell it.
		if r.index {
			continue // manifest.json has one of several.
		}
		for _, name := range r.names {
			if other, ok := owner[name]; ok && other != id {
				all = append(all, fmt.Errorf("two images are called %s", name))
				o.contested = true
			}
			owner[name] = id
		}
	}
	return all
}

// names are those of all images.
func (o *opened) names() []string {
	var all []string
	for _, r := range o.readings {
		all = append(all, r.names...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}
