package layout

import (
	"archive/tar"
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/dockerarchive/dockerarchive/errdef"
	"github.com/dockerarchive/dockerarchive/internal/image"
	"github.com/dockerarchive/dockerarchive/internal/naming"
	"github.com/dockerarchive/dockerarchive/internal/tarfile"
)

// containerdName is the annotation under which containerd, and Docker with it,
// look for the full name of an image.
const containerdName = "io.containerd.image.name"

// OCI is an OCI image layout in a tar that is a docker archive as well.
type OCI struct {
	Metadata Metadata
	// Pure leaves out the parts that make it a docker archive.
	Pure bool
	// Prefer returns the manifest of an index to offer to Docker, if it is there. Without
	// Prefer, or without that manifest, it is the first.
	Prefer func(index *image.Document) (digest.Digest, bool)
}

// Unpacks is false.
func (OCI) Unpacks() bool { return false }

// Types returns manifests and indexes.
func (OCI) Types() []string {
	return []string{v1.MediaTypeImageManifest, image.DockerManifest, v1.MediaTypeImageIndex, image.DockerList}
}

// BlobName returns the path that the image layout specification wants.
func (OCI) BlobName(d digest.Digest) string {
	return directoryOf(d.Algorithm()) + "/" + d.Encoded()
}

// ConfigName implements Layout.
func (l OCI) ConfigName(d digest.Digest) string { return l.BlobName(d) }

// NeedsFiles reports whether a blob's digest has another algorithm than the one whose
// directory every archive has.
func (OCI) NeedsFiles(d digest.Digest) bool { return d.Algorithm() != digest.Canonical }

// BlobHeader describes a blob.
func (l OCI) BlobHeader(d digest.Digest, size int64) (*tar.Header, error) {
	return l.Metadata.File(l.BlobName(d), size)
}

// Check refuses documents of other types.
func (l OCI) Check(d *image.Document) error { return checkType(l, d) }

// LeftOut says why Docker cannot run the image, or the first platform of an index.
func (l OCI) LeftOut(img *image.Image) string {
	if l.Pure { // Nobody expects it there.
		return ""
	}
	t := &ociTable{layout: l}
	item, err := t.dockerItem(img, img.Top())
	if item != nil || err != nil { // Add fails with the error.
		return ""
	}
	for _, d := range img.Documents {
		if reason := t.notForDocker(img, d); reason != "" {
			return reason
		}
	}
	return "it lists no image that is there"
}

// NewTable returns an empty table.
func (l OCI) NewTable() Table {
	return &ociTable{
		layout: l, index: newTagIndex(l.Metadata), names: names{}, known: map[string]struct{}{}, directories: newDirectories(),
		contents: contents{kept[indexFile]{value: indexFile{indexHead: indexHead{SchemaVersion: 2, MediaType: v1.MediaTypeImageIndex}}}}, added: map[digest.Digest]*image.Fields{}, trees: map[digest.Digest]image.Tree{},
	}
}

// ReadTable implements Layout.
func (l OCI) ReadTable(old Archive) (Table, error) {
	if !old.Has(v1.ImageIndexFile) {
		return nil, ErrOther
	}
	l.Pure = !old.Has(manifestFile) // Its writer did not want Docker to see a part of it.
	t := &ociTable{layout: l, index: newTagIndex(l.Metadata), names: names{}, known: map[string]struct{}{}, directories: newDirectories(), old: old, added: map[digest.Digest]*image.Fields{}, trees: map[digest.Digest]image.Tree{}}
	t.directories.read(old)
	var err error
	if err = t.index.read(old); err != nil {
		return nil, err
	}
	if t.contents, err = readContents(old); err != nil {
		return nil, err
	}
	// An annotation that cannot be read leaves out nothing, and stays as it is.
	t.leftOut, _ = image.ParseLeftOut(t.contents.value.Annotations[image.AnnotationLeftOut])
	listed := make([]v1.Descriptor, 0, len(t.contents.value.Manifests))
	for _, d := range t.contents.value.Manifests {
		if d == nil {
			return nil, errdef.Errorf(errdef.ErrDamaged, "%s: a descriptor is null", v1.ImageIndexFile)
		}
		listed = append(listed, d.value)
	}
	t.cosign = image.CosignSubject(listed)
	for _, d := range old.Unlisted() { // It would be lost where more than one image is listed.
		t.contents.value.Manifests = append(t.contents.value.Manifests, &kept[v1.Descriptor]{value: d})
	}
	t.known, t.names = make(map[string]struct{}, len(listed)), make(names, len(listed))
	for _, d := range t.contents.value.Manifests {
		name := t.nameOf(d.value)
		t.known[knownAs(d.value.Digest, name)] = struct{}{}
		if name != "" {
			t.names[name] = d.value.Digest.String()
		}
	}
	return t, nil
}

// nameOf returns the name that index.json has for an image, "" if none.
func (t *ociTable) nameOf(d v1.Descriptor) string {
	if name := cmp.Or(d.Annotations[containerdName], d.Annotations[image.AnnotationTag]); name != "" {
		return name
	}
	return cmp.Or(d.Annotations[v1.AnnotationRefName], image.CosignTag(d, t.cosign))
}

// ociTable is the table of contents of the OCI layout.
type ociTable struct {
	layout      OCI
	index       tagIndex
	names       names
	tagged      map[string][]string // by tag, the names with it, also such as are none any more; nil if it is to be made of names
	contents    contents
	known       map[string]struct{} // digests and names in contents
	listed      *listed             // elements of contents; nil if they are to be looked up first
	directories directories
	leftOut     image.LeftOut
	old         Archive                         // nil for a new archive
	cosign      digest.Digest                   // the subject of signatures in old that have a kind only
	removed     []digest.Digest                 // listed in old, and not here any more
	added       map[digest.Digest]*image.Fields // manifests and indexes that old need not have
	trees       map[digest.Digest]image.Tree    // of the complete images in added
}

// Notes implements Table. They are the trees of the images, in the order of index.json.
func (t *ociTable) Notes() ([]byte, bool) {
	var notes []byte
	seen := map[digest.Digest]bool{}
	for _, d := range t.contents.value.Manifests {
		top := d.value.Digest
		if seen[top] {
			continue
		}
		seen[top] = true
		tree, ok := t.trees[top]
		if !ok && t.old != nil {
			tree, ok = t.old.Tree(top)
		}
		if ok {
			notes = image.AppendTree(notes, top, tree)
		}
	}
	return notes, true
}

// Empty implements Table.
func (t *ociTable) Empty() bool { return len(t.contents.value.Manifests) == 0 }

// Taken implements Table.
func (t *ociTable) Taken(img *image.Image) []string {
	return t.names.taken(img.Names, img.Digest().String())
}

// Claim implements Table.
func (t *ociTable) Claim(img *image.Image) (release func(), err error) {
	fresh, err := t.names.claim(img.Names, img.Digest().String())
	if err != nil {
		return nil, err
	}
	t.noteTags(fresh)
	return t.names.release(fresh), nil
}

// Head starts with the file that tells an OCI layout.
func (t *ociTable) Head() ([]tarfile.Small, error) {
	m := t.layout.Metadata
	version, err := m.jsonFile(v1.ImageLayoutFile, v1.ImageLayout{Version: v1.ImageLayoutVersion})
	if err != nil {
		return nil, err
	}
	files := []tarfile.Small{version}
	for _, name := range []string{v1.ImageBlobsDir, directoryOf(digest.Canonical)} {
		header, err := m.Directory(name)
		if err != nil {
			return nil, err
		}
		files = append(files, tarfile.Small{Header: header})
	}
	return files, nil
}

// Place implements Table. The files are directories that no blob before has needed.
func (t *ociTable) Place(img *image.Image) ([]Blob, tarfile.Smalls, error) {
	var blobs []Blob
	var files []tarfile.Small
	for b := range img.Blobs() {
		blobs = append(blobs, Blob{Received: b.Digest, Stored: b.Digest, Size: b.Size})
	}
	for _, algorithm := range t.directories.missing(img) {
		header, err := t.layout.Metadata.Directory(directoryOf(algorithm))
		if err != nil {
			return nil, nil, err
		}
		files = append(files, tarfile.Small{Header: header})
	}
	return blobs, tarfile.List(files...), nil
}

// Add implements Table.
func (t *ociTable) Add(img *image.Image) error {
	if _, err := t.Claim(img); err != nil {
		return err
	}
	item, err := t.dockerItem(img, img.Top())
	if err != nil {
		return err
	}
	t.directories.add(t.directories.missing(img))
	t.noteLeftOut(img)
	t.noteAdded(img)
	top := t.descriptor(img)
	if item == nil {
		t.describe(top, img, t.artifactAnnotations)
		return nil
	}
	t.describe(top, img, annotations)
	t.index.add(item, img.Names)
	return nil
}

// descriptor returns the descriptor of an image in index.json under any name. Readers such
// as syft choose among the manifests of an index by their platforms, also in an index of
// one.
func (t *ociTable) descriptor(img *image.Image) v1.Descriptor {
	top := img.Top()
	d := v1.Descriptor{MediaType: top.Descriptor.MediaType, Digest: top.Descriptor.Digest, Size: top.Descriptor.Size}
	if top.IsIndex() || t.notForDocker(img, top) != "" {
		return d
	}
	config, err := image.ParseConfig("", img.Configs[top.Config.Digest])
	if err == nil && config.Platform.OS != "" && config.Platform.Architecture != "" {
		d.Platform = &config.Platform
	}
	return d
}

// describe adds an image to index.json, once for every name.
func (t *ociTable) describe(top v1.Descriptor, img *image.Image, annotations func(name string) map[string]string) {
	if len(img.Names) == 0 {
		unnamed, document := top, img.Top()
		if document.Subject != nil {
			unnamed.ArtifactType = document.ArtifactType
			unnamed.Annotations = map[string]string{image.AnnotationSubject: document.Subject.Digest.String()}
		}
		t.addDescriptor(unnamed, "")
	}
	for _, name := range img.Names {
		named := top
		named.Annotations = annotations(name)
		t.addDescriptor(named, name)
	}
}

// artifactAnnotations is annotations for an artifact, which nobody can run. In a layout that
// is not for Docker, a digest tag stands where the specification has tags, and oras and
// regctl look for them; containerd would take a signature for an image there.
func (t *ociTable) artifactAnnotations(name string) map[string]string {
	subject, _, ok := image.ParseDigestTag(name)
	if !ok {
		return annotations(name)
	}
	all := map[string]string{image.AnnotationTag: name, image.AnnotationSubject: subject.String()}
	if t.layout.Pure {
		all[v1.AnnotationRefName] = name[strings.LastIndexByte(name, ':')+1:]
	}
	return all
}

// annotations returns those of an image with a name. A name without a tag or a digest is
// kept as it is, and hidden from containerd and Docker, which would make another name of it.
func annotations(name string) map[string]string {
	ref, err := reference.Parse(name)
	tagged, isTagged := ref.(reference.Tagged)
	_, isDigested := ref.(reference.Digested)
	_, tag, hasTag := naming.SplitTag(name)
	switch {
	case err == nil && isTagged:
		return map[string]string{containerdName: name, v1.AnnotationRefName: tagged.Tag()}
	case err == nil && isDigested:
		return map[string]string{containerdName: name}
	case hasTag: // containerd keeps any name.
		return map[string]string{containerdName: name, v1.AnnotationRefName: tag}
	}
	return map[string]string{v1.AnnotationRefName: name}
}

func (t *ociTable) addDescriptor(d v1.Descriptor, name string) {
	key := knownAs(d.Digest, name)
	if _, ok := t.known[key]; !ok {
		t.known[key] = struct{}{}
		contents := t.contents.change()
		element := &kept[v1.Descriptor]{value: d}
		contents.Manifests = append(contents.Manifests, element)
		t.listed.add(name, element)
	}
}

func knownAs(d digest.Digest, name string) string { return d.String() + " " + name }

// dockerItem returns the item of an image in manifest.json, nil if it has none.
func (t *ociTable) dockerItem(img *image.Image, d *image.Document) (*dockerItem, error) {
	if t.layout.Pure {
		return nil, nil
	}
	return t.firstItem(img, d, map[*image.Document]bool{})
}

// firstItem is dockerItem, but looks at no document twice: an index may list another one a
// thousand times, and that a third.
func (t *ociTable) firstItem(img *image.Image, d *image.Document, seen map[*image.Document]bool) (*dockerItem, error) {
	seen[d] = true
	if !d.IsIndex() {
		return t.manifestItem(img, d)
	}
	candidates := make([]digest.Digest, 0, len(d.Manifests)+1)
	if t.layout.Prefer != nil {
		if preferred, ok := t.layout.Prefer(d); ok {
			candidates = append(candidates, preferred)
		}
	}
	for _, listed := range d.Manifests {
		candidates = append(candidates, listed.Digest)
	}
	for _, candidate := range candidates {
		child := img.Find(candidate)
		if child == nil || seen[child] {
			continue
		}
		if item, err := t.firstItem(img, child, seen); item != nil || err != nil {
			return item, err
		}
	}
	return nil, nil
}

// notForDocker returns why Docker could not run the image of a manifest.
func (t *ociTable) notForDocker(img *image.Image, m *image.Document) string {
	if m.IsIndex() {
		return ""
	}
	raw, ok := img.Configs[m.Config.Digest]
	if !ok {
		return fmt.Sprintf("its config %s is not there", m.Config.Digest)
	}
	config, err := image.ParseConfig(m.Config.Digest.String(), raw)
	switch {
	case err != nil:
		return err.Error()
	case !config.HasRootFS:
		return fmt.Sprintf("its config, of type %q, has no rootfs, so this is not a container image but an artifact", m.Config.MediaType)
	case config.Platform.OS == image.UnknownPlatform:
		return "it is an attestation"
	case slices.ContainsFunc(m.Layers, image.IsEncrypted):
		return "its layers are encrypted"
	case image.HasOtherLayers(m.Layers):
		return fmt.Sprintf("its layers are of the type %q, so this is not a container image but an artifact", m.Layers[0].MediaType)
	case len(config.DiffIDs) != len(m.Layers):
		return fmt.Sprintf("its config lists %d layers, the manifest %d", len(config.DiffIDs), len(m.Layers))
	}
	return ""
}

func (t *ociTable) manifestItem(img *image.Image, m *image.Document) (*dockerItem, error) {
	if t.notForDocker(img, m) != "" {
		return nil, nil
	}
	raw := img.Configs[m.Config.Digest]
	config, err := image.ParseConfig(m.Config.Digest.String(), raw)
	if err != nil {
		return nil, err
	}
	legacy, err := t.layout.Metadata.Legacy(raw, config.DiffIDs)
	if err != nil {
		return nil, fmt.Errorf("config %s: %w", m.Config.Digest, err)
	}
	item := &dockerItem{
		tagItem: tagItem{Config: t.layout.BlobName(m.Config.Digest), RepoTags: []string{}, Layers: []string{}},
		config:  raw, parent: img.Origins[m.Config.Digest].Parent, top: topID(legacy),
	}
	for _, l := range m.Layers {
		item.Layers = append(item.Layers, t.layout.BlobName(l.Digest))
	}
	item.LayerSources = img.LayerSources(m, config.DiffIDs)
	return item, nil
}

// Tail implements Table.
func (t *ociTable) Tail() ([]tarfile.Small, error) {
	t.markForCosign()
	data, err := t.contents.encode()
	if err != nil {
		return nil, err
	}
	index, err := t.layout.Metadata.small(v1.ImageIndexFile, data)
	if err != nil {
		return nil, err
	}
	if t.index.empty() { // Only artifacts: nothing that docker load could use.
		return []tarfile.Small{index}, nil
	}
	files, err := t.index.files(false)
	return append([]tarfile.Small{index}, files...), err
}
