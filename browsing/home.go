package browsing

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
)

// rowsPerPage is the number of rows of a table on a page.
const rowsPerPage = 500

// homePage lists images.
type homePage struct {
	Query    string
	Rows     []homeRow
	Total    int
	Archives int
	Pager    pager
}

type homeRow struct {
	Name      string
	More      int // other names
	URL       string
	Platforms []string
	Size      int64
	Layers    int
	About     int // how much refers to it
	Digest    string
	Archive   string
	Fault     string
}

// home lists the images, or those that are searched for.
func (p *Pages) home(r *request) error {
	query := strings.TrimSpace(r.URL.Query().Get("q"))
	h := homePage{Query: query, Archives: len(r.shelf.archives)}
	for i := range r.shelf.images {
		if img := &r.shelf.images[i]; !img.referrer && img.matches(query) {
			h.Rows = append(h.Rows, img.row())
		}
	}
	slices.SortStableFunc(h.Rows, func(a, b homeRow) int { return cmp.Compare(a.Name, b.Name) })
	h.Total = len(h.Rows)
	h.Rows, h.Pager = paged(r, h.Rows)
	return p.show(r, "home", page{Title: "Images", Query: query, Content: h})
}

// matches reports whether all words of a query are in the image's row of the list.
func (l *listed) matches(query string) bool {
	text := strings.ToLower(strings.Join(l.names, " ") + " " + l.archiveNamed)
	if l.entry != nil {
		text += " " + string(l.id) + " " + strings.Join(l.platforms(), " ")
	}
	for _, word := range strings.Fields(strings.ToLower(query)) {
		if !strings.Contains(text, word) {
			return false
		}
	}
	return true
}

func (l *listed) row() homeRow {
	row := homeRow{Name: "(no name)", Archive: text(l.archiveNamed), Fault: l.fault, About: l.about}
	if len(l.names) > 0 {
		row.Name, row.More = text(l.names[0]), len(l.names)-1
	}
	if l.entry != nil {
		row.URL, row.Digest = l.url(), short(l.id)
		row.Platforms, row.Size, row.Layers = l.platforms(), l.info.Size, l.info.Layers
	}
	return row
}

// platforms returns the platforms of an image, those that are not in the archive left out.
func (e *entry) platforms() []string {
	var all []string
	if !e.isIndex() {
		if s := e.info.Platform.String(); s != "" {
			all = append(all, text(s))
		}
		return all
	}
	for _, m := range e.info.Manifests {
		if s := m.Platform.String(); s != "" && !m.Attestation && !m.Missing {
			all = append(all, text(s))
		}
	}
	return all
}

// pager leads to the other pages of a table.
type pager struct {
	Page, Pages    int
	Previous, Next string // URLs, "" if there is none
}

// paged returns the rows of the page that is asked for.
func paged[T any](r *request, rows []T) ([]T, pager) {
	n, _ := strconv.Atoi(r.URL.Query().Get("page"))
	pages := max((len(rows)+rowsPerPage-1)/rowsPerPage, 1)
	n = min(max(n, 1), pages)
	p := pager{Page: n, Pages: pages}
	to := func(n int) string {
		query := r.URL.Query()
		query.Set("page", strconv.Itoa(n))
		return r.URL.EscapedPath() + "?" + query.Encode()
	}
	if n > 1 {
		p.Previous = to(n - 1)
	}
	if n < pages {
		p.Next = to(n + 1)
	}
	return rows[(n-1)*rowsPerPage : min(n*rowsPerPage, len(rows))], p
}
