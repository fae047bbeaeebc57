package browsing

import (
	"html"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/internal/leaktest"
	"github.com/dockerarchive/dockerarchive/serving"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// site is the pages of archives that a test looks at.
type site struct {
	t     testing.TB
	pages *Pages
	http  *httptest.Server
	dir   string
}

// newSite serves archives, by the names of their files.
func newSite(t testing.TB, o Options, archives map[string][]byte) *site {
	t.Helper()
	s := &site{t: t, dir: t.TempDir()}
	for name, data := range archives {
		require.NoError(t, os.WriteFile(filepath.Join(s.dir, name), data, 0o600))
	}
	server, err := serving.New(t.Context(), []string{s.dir}, serving.Options{})
	require.NoError(t, err)
	s.pages = New(server, o)
	server.Handle(s.pages)
	s.http = httptest.NewServer(server)
	t.Cleanup(func() {
		s.http.Client().CloseIdleConnections()
		s.http.Close()
		s.pages.Close()
		assert.NoError(t, server.Close())
	})
	return s
}

// get returns the page at a path, which must have the status.
func (s *site) get(status int, path string) (string, http.Header) {
	s.t.Helper()
	resp, err := s.http.Client().Get(s.http.URL + path)
	require.NoError(s.t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(s.t, err)
	require.Equal(s.t, status, resp.StatusCode, "%s: %s", path, body)
	return string(body), resp.Header
}

var links = regexp.MustCompile(`(?:href|src|action)="([^"]*)"`)

// crawl returns all pages that links lead to, by path. It skips paths that contain a part of without.
func (s *site) crawl(without ...string) map[string]string {
	s.t.Helper()
	found := map[string]string{}
	todo := []string{"/"}
	for len(todo) > 0 {
		path := html.UnescapeString(todo[0])
		todo = todo[1:]
		if _, ok := found[path]; ok || strings.HasPrefix(path, "#") || strings.HasPrefix(path, "http") || slices.ContainsFunc(without, func(part string) bool { return strings.Contains(path, part) }) {
			continue
		}
		require.True(s.t, strings.HasPrefix(path, "/") && !strings.HasPrefix(path, "//"), "a link leads to %s", path)
		body, header := s.get(http.StatusOK, path)
		found[path] = ""
		if strings.HasPrefix(header.Get("Content-Type"), "text/html") {
			found[path] = body
			for _, m := range links.FindAllStringSubmatch(body, -1) {
				todo = append(todo, m[1])
			}
		}
	}
	return found
}
