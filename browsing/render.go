package browsing

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"maps"
	"net/http"
	"path"
	"slices"
	"strconv"
	"sync"
	"time"

	template "github.com/DataDog/datadog-agent/pkg/template/html" // docs/architecture.md says why
)

//go:embed templates assets
var embedded embed.FS

// assetTypes are the files that pages have, and their media types.
var assetTypes = map[string]string{
	"style.css":   "text/css; charset=utf-8",
	"page.js":     "text/javascript; charset=utf-8",
	"favicon.svg": "image/svg+xml",
}

// assetVersion changes with the assets, so that browsers keep them until then.
var assetVersion = sync.OnceValue(func() string {
	h := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(assetTypes)) {
		data, err := embedded.ReadFile("assets/" + name)
		if err != nil {
			panic(err) // The program was built without it.
		}
		h.Write(data) // Never fails.
	}
	return hex.EncodeToString(h.Sum(nil))[:12]
})

// asset sends a file that pages use.
func asset(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("name")
	mediaType, ok := assetTypes[name]
	data, err := embedded.ReadFile(path.Join("assets", name))
	if !ok || err != nil {
		http.NotFound(w, r)
		return
	}
	h := w.Header()
	h.Set("Content-Type", mediaType)
	h.Set("Content-Length", strconv.Itoa(len(data)))
	h.Set("Cache-Control", "private, max-age=31536000, immutable")
	if r.Method != http.MethodHead {
		_, _ = w.Write(data) // The client is gone.
	}
}

// templates are those of all pages, each with the layout around it. They are parsed when the
// first page is shown: most programs that link this package show none.
var templates = sync.OnceValue(func() map[string]*template.Template {
	layout := template.Must(template.New("layout").Funcs(template.FuncMap{
		"size":    humanSize,
		"count":   count,
		"when":    when,
		"px":      func(f float64) string { return strconv.FormatFloat(f, 'f', 1, 64) },
		"add":     func(a, b float64) float64 { return a + b },
		"version": assetVersion,
		"number":  number,
	}).ParseFS(embedded, "templates/layout.html"))
	all := map[string]*template.Template{}
	for _, name := range []string{"home", "image", "layers", "files", "compare", "packages", "error"} {
		all[name] = template.Must(template.Must(layout.Clone()).ParseFS(embedded, "templates/"+name+".html"))
	}
	return all
})

// count is a number of things.
func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return number(n) + " " + many
}

// number is a number with its thousands apart.
func number(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// when is a time as tables have it.
func when(t any) string {
	switch t := t.(type) {
	case time.Time:
		if t.Unix() == 0 {
			return "–"
		}
		return t.UTC().Format("2006-01-02 15:04")
	case *time.Time:
		if t == nil {
			return ""
		}
		return when(*t)
	}
	return fmt.Sprint(t)
}

func sortedKeys(m map[string]string) []string { return slices.Sorted(maps.Keys(m)) }
