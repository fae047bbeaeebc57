package imagetest

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"path"
	"testing"
)

// Daemon starts what answers as a Docker daemon that has the images of archives, each
// under a name, and returns its host. Of what it is not asked it tells too, as the names
// of no image and those of other repositories.
func Daemon(t testing.TB, archives map[string][]byte) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Api-Version", "1.43")
		switch name := r.URL.Query().Get("names"); {
		case path.Base(r.URL.Path) == "_ping":
			_, _ = io.WriteString(w, "OK")
		case r.URL.Path == "/images/json":
			listed := []map[string]any{{"RepoTags": []string{"<none>:<none>"}}, {"RepoTags": []string{"elsewhere.example/app:9"}}}
			for name := range archives {
				listed = append(listed, map[string]any{"RepoTags": []string{name}})
			}
			_ = json.NewEncoder(w).Encode(listed) // Whoever asked notices.
		case path.Base(r.URL.Path) == "get" && archives[name] != nil:
			_, _ = w.Write(archives[name])
		default:
			http.NotFound(w, r)
		}
	}))
	t.Cleanup(server.Close)
	return server.URL
}
