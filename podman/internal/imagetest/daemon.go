package imagetest

import (
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Daemon starts a server that answers as a Docker daemon with the images of archives,
// each under a name, and returns its host, a socket. Its list also has names that were
// not asked for: of no image, and of another repository.
func Daemon(t testing.TB, archives map[string][]byte) string {
	t.Helper()
	return DaemonTelling(t, archives, func(string) string { return "{}" })
}

// DaemonTelling is Daemon with a function for its answers about an image by name.
func DaemonTelling(t testing.TB, archives map[string][]byte, tell func(name string) string) string {
	t.Helper()
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Api-Version", "1.43")
		switch name := r.URL.Query().Get("names"); {
		case path.Base(r.URL.Path) == "_ping":
			_, _ = io.WriteString(w, "OK")
		case r.URL.Path == "/images/json":
			listed := []map[string]any{{"RepoTags": []string{"<none>:<none>"}}, {"RepoTags": []string{"elsewhere.example/app:9"}}}
			for name := range archives {
				listed = append(listed, map[string]any{"RepoTags": []string{name}})
			}
			_ = json.NewEncoder(w).Encode(listed) // The client notices an error.
		case archives[inspected(r)] != nil:
			_, _ = io.WriteString(w, tell(inspected(r)))
		case path.Base(r.URL.Path) == "get" && archives[name] != nil:
			_, _ = w.Write(archives[name])
		default:
			http.NotFound(w, r)
		}
	}))
	dir, err := os.MkdirTemp("", "daemon") // The paths of sockets are short.
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	socket := filepath.Join(dir, "socket")
	listener, err := net.Listen("unix", socket)
	require.NoError(t, err)
	require.NoError(t, server.Listener.Close())
	server.Listener = listener
	server.Start()
	t.Cleanup(server.Close)
	return "unix://" + socket
}

// inspected returns the name of the image that a request is about.
func inspected(r *http.Request) string {
	name, _ := strings.CutSuffix(r.URL.Path, "/json")
	return strings.TrimPrefix(name, "/images/")
}
