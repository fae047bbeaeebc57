package browsing

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/dockerarchive/dockerarchive/errdef"
	"github.com/dockerarchive/dockerarchive/serving"
)

// maxSBOM is how many bytes of an SBOM are read.
const maxSBOM = 32 << 20

var errTooLarge = fmt.Errorf("the document is too large to be shown: %w", errdef.ErrLimit)

// packagesPage is the packages of an SBOM.
type packagesPage struct {
	header
	Format string
	Rows   []software
	Total  int
	Cut    bool
	Pager  pager
}

// sbomLayer returns the index of the layer of an artifact that is an SBOM in JSON,
// or -1.
func sbomLayer(layers []imgspecv1.Descriptor) int {
	return slices.IndexFunc(layers, func(l imgspecv1.Descriptor) bool {
		predicate := l.Annotations[annotationPredicate]
		switch l.MediaType {
		case mediaTypeSPDX, mediaTypeSPDXText, mediaTypeCycloneDX:
			return true
		case mediaTypeInToto, mediaTypeDSSE:
			predicate = cmp.Or(predicate, l.Annotations["predicateType"])
		}
		return strings.HasPrefix(predicate, "https://spdx.dev/") || strings.HasPrefix(predicate, "https://cyclonedx.org/")
	})
}

// packages shows the packages of an SBOM.
func (p *Pages) packages(r *request) error {
	e, err := r.shelf.find(r.PathValue("id"))
	if err != nil {
		return err
	}
	k := key{"sbom", string(e.id), [2]serving.Served{e.places[0].archive}}
	result, release, err := p.cache.get(r.Context(), k, func(ctx context.Context) (result, error) { return p.readSBOM(ctx, e) })
	if err != nil {
		return err
	}
	defer release()
	s := result.(*sbom)
	v := packagesPage{header: e.header("packages"), Format: s.format, Cut: s.cut}
	query := strings.ToLower(strings.TrimSpace(r.URL.Query().Get("q")))
	rows := s.packages
	if query != "" {
		rows = slices.DeleteFunc(slices.Clone(rows), func(p software) bool { return !strings.Contains(strings.ToLower(p.Name), query) })
	}
	v.Total = len(rows)
	v.Rows, v.Pager = paged(r, rows)
	return p.show(r, "packages", page{Title: "Packages", Trail: e.trail(crumb{"Packages", ""}), Content: v})
}

func (p *Pages) readSBOM(ctx context.Context, e *entry) (result, error) {
	free, err := p.cache.slot(ctx)
	if err != nil {
		return nil, err
	}
	defer free()
	o, err := e.openAt(ctx, e.places[0])
	if err != nil {
		return nil, err
	}
	defer o.done()
	layers := o.layers()
	i := sbomLayer(layers)
	if i < 0 {
		return nil, fmt.Errorf("it is no SBOM in JSON: %w", errNoPage)
	}
	data, err := o.read(ctx, layers[i].Digest, maxSBOM)
	if err != nil {
		return nil, err
	}
	return parseSBOM(data)
}
