package browsing

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"
	"strings"

	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/dockerarchive/dockerarchive/internal/files"
	imagedoc "github.com/dockerarchive/dockerarchive/internal/image"
	"github.com/dockerarchive/dockerarchive/internal/imagediff"
	"github.com/dockerarchive/dockerarchive/internal/printable"
	"github.com/dockerarchive/dockerarchive/serving"
)

const (
	// maxChanges is how many changed files of a comparison are listed.
	maxChanges = 20_000
	// maxChoices is how many images there are to choose from.
	maxChoices = 1000
)

// comparePage compares two images.
type comparePage struct {
	Choices []choice
	Many    bool // there are more
	A, B    string
	Chosen  bool
	Same    bool
	NameA   crumb
	NameB   crumb
	Config  []configChange
	Layers  *imagediff.LayerSets
	Stat    imagediff.Stat
	Rows    []changeRow
	Listed  int
	Found   int
	Pager   pager
}

type choice struct{ ID, Name string }

type configChange struct{ Field, A, B string }

type changeRow struct {
	Path, URL string
	Kind      string // added, removed or changed
	Of        string
	A, B      int64
}

// comparison is how the files of two images differ.
type comparison struct {
	found int
	stat  imagediff.Stat
	rows  []changed // the first of them
}

// changed is a change, without its trees.
type changed struct {
	path, of, kind string
	old, new       int64 // sizes
	inA, inB       bool
}

func (c *comparison) weight() int64 {
	w := int64(0)
	for _, r := range c.rows {
		w += 120 + int64(len(r.path)+len(r.of))
	}
	return w
}

func (c *comparison) close() {}

// compare compares two images, or asks which.
func (p *Pages) compare(r *request) error {
	v := comparePage{A: r.URL.Query().Get("a"), B: r.URL.Query().Get("b")}
	for i := range r.shelf.images {
		if img := &r.shelf.images[i]; img.entry != nil && !img.referrer {
			v.choose(r.shelf, img.entry)
		}
	}
	slices.SortFunc(v.Choices, func(a, b choice) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID)) })
	v.Choices = slices.Compact(v.Choices)
	if v.Many = len(v.Choices) > maxChoices; v.Many {
		v.Choices = v.Choices[:maxChoices]
	}
	trail := []crumb{{"Images", "/"}, {"Compare", ""}}
	if v.A == "" || v.B == "" {
		return p.show(r, "compare", page{Title: "Compare", Trail: trail, Content: v})
	}
	a, err := r.shelf.one(v.A)
	if err != nil {
		return err
	}
	b, err := r.shelf.one(v.B)
	if err != nil {
		return err
	}
	v.A, v.B = string(a.id), string(b.id)
	v.Chosen, v.NameA, v.NameB = true, crumb{a.label(), a.url()}, crumb{b.label(), b.url()}
	if err := p.addComparison(r, &v, a, b); err != nil {
		return err
	}
	return p.show(r, "compare", page{Title: "Compare " + v.NameA.Name + " and " + v.NameB.Name, Trail: trail, Content: v})
}

// choose adds an image, or those of an index, to the images to choose from.
func (v *comparePage) choose(s *shelf, e *entry) {
	if e.isImage() {
		v.Choices = append(v.Choices, choice{string(e.id), e.label()})
	}
	for _, m := range e.info.Manifests {
		if child := s.entries[m.Digest]; child != nil && !m.Attestation && child != e {
			v.choose(s, child)
		}
	}
}

// label is the name of an image and its platform.
func (e *entry) label() string {
	if s := e.info.Platform.String(); s != "" {
		return e.title() + " (" + text(s) + ")"
	}
	return e.title()
}

// one returns an image by a digest: of an index, the first image.
func (s *shelf) one(id string) (*entry, error) {
	e, err := s.find(id)
	if err != nil || e.isImage() {
		return e, err
	}
	for _, m := range e.info.Manifests {
		if child := s.entries[m.Digest]; child != nil && child.isImage() {
			return child, nil
		}
	}
	return nil, errNoImage
}

func (p *Pages) addComparison(r *request, v *comparePage, a, b *entry) error {
	configA, err := a.config(r.Context())
	if err != nil {
		return err
	}
	configB, err := b.config(r.Context())
	if err != nil {
		return err
	}
	for _, f := range imagediff.Configs(configA, configB, false) {
		v.Config = append(v.Config, configChange{text(f.Field), inLine(f.A), inLine(f.B)})
	}
	v.Layers = imagediff.Layers(configA.RootFS.DiffIDs, configB.RootFS.DiffIDs, false)
	k := key{"compare", string(a.id) + " " + string(b.id), [2]serving.Served{a.places[0].archive, b.places[0].archive}}
	result, release, err := p.cache.get(r.Context(), k, func(ctx context.Context) (result, error) { return p.readComparison(ctx, a, b) })
	if err != nil {
		return err
	}
	defer release()
	c := result.(*comparison)
	v.Stat, v.Found, v.Listed = c.stat, c.found, len(c.rows)
	v.Same = c.found == 0 && len(v.Config) == 0 && !v.Layers.Differ
	rows, pager := paged(r, c.rows)
	v.Pager = pager
	for _, row := range rows {
		at := a
		if row.inB {
			at = b
		}
		v.Rows = append(v.Rows, changeRow{"/" + text(row.path), at.filesURL(row.path, -1), row.kind, row.of, row.old, row.new})
	}
	return nil
}

// readComparison compares the files of two images.
func (p *Pages) readComparison(ctx context.Context, a, b *entry) (result, error) {
	as, releaseA, err := p.contents(ctx, a)
	if err != nil {
		return nil, err
	}
	defer releaseA()
	bs, releaseB, err := p.contents(ctx, b)
	if err != nil {
		return nil, err
	}
	defer releaseB()
	free, err := p.cache.slot(ctx)
	if err != nil {
		return nil, err
	}
	defer free()
	changes, err := files.Compare(ctx, as.tree, bs.tree, files.CompareOptions{})
	if err != nil {
		return nil, err
	}
	c := &comparison{found: len(changes), stat: imagediff.Count(changes)}
	for _, change := range changes[:min(len(changes), maxChanges)] {
		row := changed{path: change.Path(), of: strings.Join(change.Of, ", "), kind: "changed", inA: change.Old != nil, inB: change.New != nil}
		if row.inA {
			row.old = change.Old.Size()
		}
		if row.inB {
			row.new = change.New.Size()
		}
		switch {
		case !row.inA:
			row.kind = "added"
		case !row.inB:
			row.kind = "removed"
		}
		c.rows = append(c.rows, row)
	}
	return c, nil
}

// config reads the config of an image.
func (e *entry) config(ctx context.Context) (*imgspecv1.Image, error) {
	o, err := e.open(ctx)
	if err != nil {
		return nil, err
	}
	defer o.done()
	data, err := o.manifest.Config(ctx)
	if err != nil {
		return nil, err
	}
	var config imgspecv1.Image
	if err := imagedoc.Decode("config", data, &config); err != nil {
		return nil, err
	}
	return &config, nil
}

// inLine returns a value of a config in one line, not too long; "" for none.
func inLine(v any) string {
	const enough = 300
	if v == nil {
		return ""
	}
	data, err := json.Marshal(v)
	if err != nil {
		return "?"
	}
	s := []rune(text(string(printable.JSON(data))))
	if len(s) > enough {
		s = append(s[:enough-1], '…')
	}
	return string(s)
}
