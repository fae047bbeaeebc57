package browsing

import (
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/dockerarchive/dockerarchive/internal/files"
	imagedoc "github.com/dockerarchive/dockerarchive/internal/image"
)

// layersPage has the effect of each layer.
type layersPage struct {
	header
	Rows       []layerStats
	Visible    int64
	Content    int64
	Efficiency string // in percent
}

type layerStats struct {
	layerRow
	files.LayerStats
	VisibleShare, HiddenShare string // of the largest layer's content, in percent
}

// layers shows what each layer adds, changes and hides.
func (p *Pages) layers(r *request) error {
	e, err := r.shelf.find(r.PathValue("id"))
	if err != nil {
		return err
	}
	if !e.isImage() {
		return errNoPage
	}
	o, err := e.open(r.Context())
	if err != nil {
		return err
	}
	defer o.done()
	layers, err := o.manifest.Layers(r.Context())
	if err != nil {
		return err
	}
	data, err := o.manifest.Config(r.Context())
	if err != nil {
		return err
	}
	var config imgspecv1.Image
	if err := imagedoc.Decode("config", data, &config); err != nil {
		return err
	}
	c, release, err := p.contents(r.Context(), e)
	if err != nil {
		return err
	}
	defer release()
	v := layersPage{header: e.header("layers"), Efficiency: "100"}
	largest := int64(1)
	for _, s := range c.stats {
		largest = max(largest, s.Content)
	}
	for i, row := range layerRows(e, layers, imagedoc.CreatedBy(config.History, len(layers))) {
		s := c.stats[i]
		v.Rows = append(v.Rows, layerStats{row, s, percent(s.Content-s.Hidden, largest), percent(s.Hidden, largest)})
	}
	v.Visible, v.Content = files.Visible(c.stats)
	if v.Content > 0 {
		v.Efficiency = percent(v.Visible, v.Content)
	}
	return p.show(r, "layers", page{Title: v.Name + ": layers", Trail: e.trail(crumb{"Layers", ""}), Content: v})
}
