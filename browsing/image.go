package browsing

import (
	"bytes"
	"context"
	"encoding/json"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/dockerarchive/dockerarchive/archive"
	imagedoc "github.com/dockerarchive/dockerarchive/internal/image"
	"github.com/dockerarchive/dockerarchive/internal/printable"
)

// imagePage is about an image, an index or an artifact.
type imagePage struct {
	header
	Commands    []command
	CommandsFor string // the purpose of the commands
	InsecureFor string // the host that docker must know to be without https
	Platforms   []platformRow
	Layers      []layerRow
	LayersNote  string
	Config      []field
	Labels      []pair
	Annotations []pair
	Referrers   []referrerRow
	Blobs       []blobRow
	Signers     []string
	HasPackages bool
}

// header is the beginning of all pages about an image.
type header struct {
	Name      string
	Names     []string
	Base      string // URL
	Kind      string
	Platform  string
	Digest    string
	Size      int64
	Created   *time.Time
	Archive   string
	Tab       string
	HasFiles  bool
	Warning   string
	IndexName string
	IndexURL  string
}

type platformRow struct {
	Platform, URL, Digest string
	Size                  int64
	Layers                int
	Missing               bool
}

type layerRow struct {
	Number    int
	Digest    string
	Size      int64
	Share     string // of the largest, in percent, for a picture
	CreatedBy string
	URL       string
}

type field struct {
	Name   string
	Values []string
}

// pair is a label or an annotation. URL is set if the value is a link.
type pair struct{ Name, Value, URL string }

type blobRow struct {
	Digest, MediaType, Title string
	Size                     int64
}

func (e *entry) header(tab string) header {
	h := header{Name: e.title(), Base: e.url(), Platform: text(e.info.Platform.String()), Digest: string(e.id), Size: e.info.Size, Archive: text(filepath.Base(e.places[0].archive.Path())), Tab: tab, HasFiles: e.isImage()}
	for _, name := range e.names {
		h.Names = append(h.Names, text(name))
	}
	switch {
	case e.isIndex():
		h.Kind = "Image index"
	case e.isImage():
		h.Kind = "Image"
	case e.info.Attestation:
		h.Kind = "Attestation"
	default:
		h.Kind = artifactKind(e.info.ArtifactType)
	}
	if e.index != nil {
		h.IndexName, h.IndexURL = e.index.title(), e.index.url()
	}
	if e.info.Fault != nil {
		h.Warning = printable.Error(e.info.Fault)
	}
	return h
}

func (e *entry) trail(last ...crumb) []crumb {
	t := []crumb{{"Images", "/"}}
	if e.index != nil {
		t = append(t, crumb{e.index.title(), e.index.url()})
	}
	name := e.title()
	if s := e.info.Platform.String(); e.index != nil && s != "" {
		name = text(s)
	}
	t = append(t, crumb{name, e.url()})
	t = append(t, last...)
	t[len(t)-1].URL = ""
	return t
}

// image shows an image, an index or an artifact.
func (p *Pages) image(r *request) error {
	e, err := r.shelf.find(r.PathValue("id"))
	if err != nil {
		return err
	}
	o, err := e.open(r.Context())
	if err != nil {
		return err
	}
	defer o.done()
	v := imagePage{header: e.header("overview")}
	v.Referrers = o.referrers(r.Context(), r.shelf)
	if e.isIndex() || e.isImage() {
		p.addCommands(&v, r, e)
	}
	var fields struct {
		Annotations map[string]string      `json:"annotations"`
		Layers      []imgspecv1.Descriptor `json:"layers"`
	}
	if err := imagedoc.Decode("manifest", o.manifest.Data, &fields); err != nil {
		return err
	}
	v.Annotations = pairs(fields.Annotations)
	switch {
	case e.isIndex():
		v.Platforms = platformRows(r.shelf, e)
	case e.isImage():
		if err := v.describe(r.Context(), o); err != nil {
			return err
		}
	default:
		for _, l := range fields.Layers {
			v.Blobs = append(v.Blobs, blobRow{short(l.Digest), text(l.MediaType), text(l.Annotations[imgspecv1.AnnotationTitle]), l.Size})
		}
		v.Signers = o.signers(r.Context(), fields.Layers)
		v.HasPackages = sbomLayer(fields.Layers) >= 0
	}
	return p.show(r, "image", page{Title: v.Name, Trail: e.trail(), Content: v})
}

// describe adds the content of the config and the manifest.
func (v *imagePage) describe(ctx context.Context, o *opened) error {
	layers, err := o.manifest.Layers(ctx)
	if err != nil {
		return err
	}
	data, err := o.manifest.Config(ctx)
	if err != nil {
		return err
	}
	var config imgspecv1.Image
	if err := imagedoc.Decode("config", data, &config); err != nil {
		return err
	}
	v.Created = config.Created
	v.Config, v.Labels = configFields(&config), pairs(config.Config.Labels)
	v.Layers = layerRows(o.entry, layers, imagedoc.CreatedBy(config.History, len(layers)))
	return nil
}

func layerRows(e *entry, layers []archive.Layer, made []string) []layerRow {
	largest := int64(1)
	for _, l := range layers {
		largest = max(largest, l.Size)
	}
	rows := make([]layerRow, len(layers))
	for i, l := range layers {
		rows[i] = layerRow{Number: i, Digest: short(l.Digest), Size: l.Size, Share: percent(l.Size, largest), CreatedBy: createdBy(made[i]), URL: e.filesURL("", i)}
	}
	return rows
}

// createdBy returns the instruction that made a layer, in one line, without the fixed
// prefixes of BuildKit and docker.
func createdBy(s string) string {
	s = strings.TrimSuffix(strings.Join(strings.Fields(s), " "), " # buildkit")
	if rest, ok := strings.CutPrefix(s, "/bin/sh -c #(nop) "); ok {
		s = strings.TrimSpace(rest)
	} else if rest, ok := strings.CutPrefix(strings.TrimPrefix(s, "RUN "), "/bin/sh -c "); ok {
		s = "RUN " + rest
	}
	return text(s)
}

func configFields(c *imgspecv1.Image) []field {
	var all []field
	add := func(name string, values ...string) {
		values = slices.DeleteFunc(values, func(s string) bool { return s == "" })
		if len(values) > 0 {
			all = append(all, field{name, printable.Strings(values)})
		}
	}
	command := func(args []string) string {
		if len(args) == 0 {
			return ""
		}
		var b bytes.Buffer
		e := json.NewEncoder(&b)
		e.SetEscapeHTML(false)
		_ = e.Encode(args) // Strings can always be written.
		return strings.TrimSpace(b.String())
	}
	add("Entrypoint", command(c.Config.Entrypoint))
	add("Command", command(c.Config.Cmd))
	add("Working directory", c.Config.WorkingDir)
	add("User", c.Config.User)
	add("Environment", c.Config.Env...)
	add("Ports", slices.Sorted(maps.Keys(c.Config.ExposedPorts))...)
	add("Volumes", slices.Sorted(maps.Keys(c.Config.Volumes))...)
	add("Stop signal", c.Config.StopSignal)
	add("Author", c.Author)
	return all
}

// pairs returns labels or annotations, sorted.
func pairs(of map[string]string) []pair {
	var all []pair
	for _, name := range slices.Sorted(maps.Keys(of)) {
		all = append(all, pair{text(name), printable.Text(of[name]), webLink(of[name])})
	}
	return all
}

func platformRows(s *shelf, e *entry) []platformRow {
	var rows []platformRow
	for _, m := range e.info.Manifests {
		if m.Attestation {
			continue
		}
		row := platformRow{Platform: text(m.Platform.String()), Digest: short(m.Digest), Size: m.Size, Layers: m.Layers, Missing: m.Missing}
		if row.Platform == "" {
			row.Platform = "unknown"
		}
		if child := s.entries[m.Digest]; child != nil && !m.Missing {
			row.URL = child.url()
		}
		rows = append(rows, row)
	}
	return rows
}

// manifestFile sends a manifest as a file.
func (p *Pages) manifestFile(r *request) error {
	return p.document(r, "manifest", func(o *opened) ([]byte, error) { return o.manifest.Data, nil })
}

// configFile sends a config as a file.
func (p *Pages) configFile(r *request) error {
	return p.document(r, "config", func(o *opened) ([]byte, error) { return o.manifest.Config(r.Context()) })
}

func (p *Pages) document(r *request, what string, read func(*opened) ([]byte, error)) error {
	e, err := r.shelf.find(r.PathValue("id"))
	if err != nil {
		return err
	}
	o, err := e.open(r.Context())
	if err != nil {
		return err
	}
	defer o.done()
	data, err := read(o)
	if err != nil {
		return err
	}
	attach(r.w, what+"-"+e.id.Encoded()[:12]+".json")
	r.w.Header().Set("Content-Length", strconv.Itoa(len(data)))
	if r.Method != "HEAD" {
		_, _ = r.w.Write(data) // The client is gone.
	}
	return nil
}

// entryOf returns the entry of an image of an archive.
func (s *shelf) entryOf(d digest.Digest, at place) *entry {
	if e := s.entries[d]; e != nil && slices.Contains(e.places, at) {
		return e
	}
	return nil
}
