package compose

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/dockerarchive/dockerarchive/internal/files"
	"github.com/dockerarchive/dockerarchive/internal/image"
)

// Made is an image that has been made.
type Made struct {
	// Manifest and Config are the documents, MediaType the manifest's.
	Manifest, Config []byte
	MediaType        string
	// Base are the layers that are those of the base, lowest first, Added those that
	// were made, which stand above them.
	Base, Added []v1.Descriptor

	temporary *temporary
}

// Digest returns the digest of the manifest.
func (m *Made) Digest() digest.Digest { return digest.FromBytes(m.Manifest) }

// Close frees what the layers of the base take on disk. The sink cannot open them any
// more. The image itself stays as it is.
func (m *Made) Close() error { return m.temporary.close() }

// MakeTo makes the image, whose layers go to sink. The caller must close it when all
// layers of the base have been read. The error names the layer that could not be made.
func (i *Image) MakeTo(ctx context.Context, sink Sink) (*Made, error) {
	m := &maker{image: i, sink: sink, latest: latest(), temporary: &temporary{}}
	made, err := m.make(ctx)
	if m.files != nil {
		err = errors.Join(err, m.files.Close())
	}
	if err != nil || len(made.Base) == 0 { // Nothing is read any more.
		err = errors.Join(err, m.temporary.close())
	}
	if err != nil {
		return nil, fmt.Errorf("making an image: %w", err)
	}
	return made, nil
}

// maker makes one image.
type maker struct {
	image   *Image
	sink    Sink
	base    *baseImage
	added   []Layer
	files   *files.Tree // of the base and what is added
	done    int         // layers of that which lie below what is made
	outside []*outside  // of the added layers in files
	config  *Config
	created time.Time
	given   bool      // created was given
	latest  time.Time // that the layers tell of

	temporary *temporary
}

func (m *maker) make(ctx context.Context) (*Made, error) {
	if err := m.prepare(ctx); err != nil {
		return nil, err
	}
	before := maps.Clone(m.config.run)
	if m.image.Change != nil {
		if err := m.image.Change(m.config); err != nil {
			return nil, fmt.Errorf("changing the config: %w", err)
		}
	}
	made := &Made{temporary: m.temporary}
	diffIDs, err := m.layers(ctx, made)
	if err != nil {
		return nil, err
	}
	m.date()
	if err := m.describe(diffIDs, len(made.Base)); err != nil {
		return nil, err
	}
	if m.image.Format == Docker && m.image.Parent != "" && !m.image.Squash && !m.image.OmitHistory {
		set(&m.config.image, "parent", m.image.Parent, false)
	}
	if m.image.Format == OCI {
		// They tell of the container that an image was committed from. All else stays,
		// including fields that this package does not know: Docker and BuildKit write
		// Healthcheck, Shell, OnBuild and their like into OCI's config too, and Docker reads
		// them there.
		delete(m.config.image, "container")
		delete(m.config.image, "container_config")
	}
	if made.Config, err = m.config.encode(m.image.Format, before); err != nil {
		return nil, err
	}
	return made, m.manifest(made)
}

// check refuses images that cannot be made with any base or layers.
func (i *Image) check() error {
	isEmpty := func(l Layer) bool { return l.Content == nil }
	switch {
	case i.Format != OCI && i.Format != Docker:
		return fmt.Errorf("there is no format %d: an image is of the format OCI or Docker schema 2", int(i.Format))
	case i.Squash && slices.ContainsFunc(i.Layers, isEmpty):
		return errors.New("a step that changes no file is nothing but history, which a squashed image does not have")
	case i.Squash && i.Base == nil && len(i.Layers) == 0:
		return errors.New("there is nothing to squash")
	case !canSay(i.Created) || slices.ContainsFunc(i.Layers, func(l Layer) bool { return l.History.Created != nil && !canSay(*l.History.Created) }):
		return errors.New("a time of an image must be of the years 0 to 9999")
	case i.RewriteTimes && i.Created.IsZero():
		return errors.New("the times of files cannot be rewritten without a time to set")
	case (i.Replace == nil) != (i.On == nil) || i.Replace != nil && i.Base == nil:
		return errors.New("rebasing needs an image, its old base and a new one")
	case i.Format == Docker && (len(i.Annotations) > 0 || slices.ContainsFunc(i.Layers, func(l Layer) bool { return len(l.Annotations) > 0 })):
		return errors.New("a Docker schema 2 manifest has no annotations; make an OCI image")
	}
	return i.Compression.check(i.Format)
}

// prepare reads the base.
func (m *maker) prepare(ctx context.Context) error {
	i := m.image
	if err := i.check(); err != nil {
		return err
	}
	var err error
	if m.base, err = readBase(ctx, i.Base); err != nil {
		return fmt.Errorf("the base%s: %w", m.baseName(), err)
	}
	if i.Replace != nil {
		if m.base, err = m.rebase(ctx); err != nil {
			return fmt.Errorf("rebasing: %w", err)
		}
	}
	m.added = slices.Clone(i.Layers)
	m.done = len(m.base.layers)
	if m.files, err = m.tree(ctx); err != nil {
		return err
	}
	m.config = m.base.config.clone()
	for _, name := range ofItself { // It is another image.
		delete(m.config.image, name)
	}
	return nil
}

// baseName is what errors call the base, behind a space.
func (m *maker) baseName() string { return strings.TrimRight(" "+m.image.BaseName, " ") }

func (m *maker) rebase(ctx context.Context) (*baseImage, error) {
	old, err := readBase(ctx, m.image.Replace)
	if err != nil {
		return nil, fmt.Errorf("the old base: %w", err)
	}
	on, err := readBase(ctx, m.image.On)
	if err != nil {
		return nil, fmt.Errorf("the new base: %w", err)
	}
	if t, ok := on.config.Created(); ok {
		m.latest = latest(m.latest, t)
	}
	return m.base.rebase(old, on)
}

// layers makes the new layers, and returns the diff IDs of all layers.
func (m *maker) layers(ctx context.Context, made *Made) ([]digest.Digest, error) {
	if m.image.Squash {
		if err := m.sink.PutBase(ctx, nil, nil); err != nil {
			return nil, err
		}
		diffIDs, err := m.add(ctx, made, nil, Layer{Content: m.squash()})
		for _, o := range m.outside {
			o.warn(m.image)
		}
		return diffIDs, err
	}
	var diffIDs []digest.Digest
	for _, l := range m.base.layers {
		var err error
		if l.MediaType, err = m.baseType(l.MediaType); err != nil {
			return nil, fmt.Errorf("layer %s of the base: %w", l.Digest, err)
		}
		if m.image.Format == Docker {
			l.Annotations = nil
		}
		made.Base = append(made.Base, l.Descriptor)
		diffIDs = append(diffIDs, l.diffID)
	}
	if err := m.sink.PutBase(ctx, made.Base, func(ctx context.Context, i int) (io.ReadCloser, error) {
		return m.openBase(ctx, i, made.Base[i])
	}); err != nil {
		return nil, err
	}
	return m.add(ctx, made, diffIDs, m.added...)
}

func (m *maker) add(ctx context.Context, made *Made, diffIDs []digest.Digest, layers ...Layer) ([]digest.Digest, error) {
	for _, l := range layers {
		if l.Content == nil {
			continue
		}
		stored, err := m.makeLayer(ctx, l)
		if err != nil {
			return nil, err
		}
		m.done++
		made.Added = append(made.Added, stored.Descriptor)
		diffIDs = append(diffIDs, stored.diffID)
	}
	return diffIDs, nil
}

// baseType returns the media type for a layer of the base in the format of the image.
// Only what it is called changes: the bytes are those of the base.
func (m *maker) baseType(have string) (string, error) {
	other := OCI
	if m.image.Format == OCI {
		other = Docker
	}
	for a, t := range mediaTypes[other] {
		if t == have {
			return mediaType(m.image.Format, a)
		}
	}
	if m.image.Format == Docker && !strings.HasPrefix(have, "application/vnd.docker.") {
		return "", fmt.Errorf("the media type %q has no counterpart in a Docker schema 2 manifest; make an OCI image", have)
	}
	return have, nil
}

// date finds out when the image was made.
func (m *maker) date() {
	if !m.image.Created.IsZero() {
		m.created, m.given = m.image.Created.UTC(), true
		return
	}
	m.created = m.latest
	if t, ok := m.base.config.Created(); ok {
		m.created = latest(m.created, t)
	}
	for _, l := range m.image.Layers {
		if l.History.Created != nil {
			m.created = latest(m.created, *l.History.Created)
		}
	}
	if limit := m.image.NotAfter; !limit.IsZero() && m.created.After(limit) {
		m.image.warn("what the image is made of is as new as %s; the image is called as old as %s", m.created.Format(time.DateOnly), limit.UTC().Format(time.RFC3339))
		m.created = limit.UTC().Truncate(time.Second)
	}
}

// manifest encodes the manifest.
func (m *maker) manifest(made *Made) error {
	types := map[Format][2]string{
		OCI:    {v1.MediaTypeImageManifest, v1.MediaTypeImageConfig},
		Docker: {image.DockerManifest, image.DockerConfig},
	}[m.image.Format]
	made.MediaType = types[0]
	manifest := v1.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2},
		MediaType: types[0],
		Config:    v1.Descriptor{MediaType: types[1], Digest: digest.FromBytes(made.Config), Size: int64(len(made.Config))},
		Layers:    append(append([]v1.Descriptor{}, made.Base...), made.Added...), // never null
	}
	if m.image.Format == OCI {
		manifest.Annotations = m.annotations()
	}
	var err error
	made.Manifest, err = json.Marshal(manifest)
	return err
}

// annotations returns those of the manifest.
func (m *maker) annotations() map[string]string {
	all := map[string]string{}
	if !m.image.ClearAnnotations {
		maps.Copy(all, m.base.annotations)
		// The base's values say what the base itself was built on.
		delete(all, v1.AnnotationBaseImageName)
		delete(all, v1.AnnotationBaseImageDigest)
		if m.image.BaseName != "" {
			all[v1.AnnotationBaseImageName] = m.image.BaseName
		}
		if m.base.digest != "" && !m.base.madeUp {
			all[v1.AnnotationBaseImageDigest] = m.base.digest.String()
		}
		for _, name := range m.image.UnsetAnnotations {
			delete(all, name)
		}
	}
	maps.Copy(all, m.image.Annotations)
	if len(all) == 0 {
		return nil
	}
	return all
}
