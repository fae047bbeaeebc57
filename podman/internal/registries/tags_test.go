package registries_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/errdef"
	"github.com/dockerarchive/dockerarchive/podman/internal/imagetest"
	"github.com/dockerarchive/dockerarchive/podman/internal/registries"
)

// tagPages is a registry whose list of tags has pages; link returns the header of a page
// that points to the next one, tags the tags on it. It returns how often it was asked.
func tagPages(t *testing.T, link func(page int) string, tags func(page int) []string) (host string, asked *int) {
	t.Helper()
	asked = new(int)
	host = serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/v2/team/app/tags/list" {
			return
		}
		*asked++
		page, _ := strconv.Atoi(r.URL.Query().Get("page"))
		if next := link(page); next != "" {
			w.Header().Set("Link", next)
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"name": "app", "tags": tags(page)})
	})
	return host, asked
}

// A list of tags may have many pages. Tags ends, whatever the registry says of them.
func TestTagsEnd(t *testing.T) {
	next := func(page int) string { return fmt.Sprintf(`</v2/team/app/tags/list?page=%d>; rel="next"`, page+1) }
	one := func(page int) []string { return []string{"t" + strconv.Itoa(page)} }
	for name, c := range map[string]struct {
		link  func(int) string
		tags  func(int) []string
		want  string
		asked int
	}{
		"tags without end":  {next, one, "more than 100 tags", 101},
		"pages without end": {next, func(int) []string { return []string{"t"} }, "more than 1000 pages", 1000},
		"empty pages":       {next, func(int) []string { return nil }, "more than 1000 pages", 1000},
		"the same page":     {func(int) string { return `</v2/team/app/tags/list>` }, one, "page 2 of the list is one that has been read", 1},
		"two in turn":       {func(page int) string { return next(page % 2) }, one, "page 4 of the list is one that has been read", 3},
	} {
		t.Run(name, func(t *testing.T) {
			host, asked := tagPages(t, c.link, c.tags)
			_, err := newClient(t, imagetest.RegistryContext(t)).Tags(t.Context(), repository(t, host), 100)
			require.ErrorIs(t, err, errdef.ErrLimit)
			require.ErrorContains(t, err, c.want)
			assert.Equal(t, c.asked, *asked)
		})
	}
}

func TestTags(t *testing.T) {
	last := func(page int) bool { return page == 3 }
	for name, form := range map[string]string{
		"absolute path":       `</v2/team/app/tags/list?page=%d>; rel="next"`,
		"relative":            `<list?page=%d>;rel=next`,
		"another's address":   `<http://internal.invalid:1/v2/team/app/tags/list?page=%d>; rel="next"`,
		"with neither < or >": `/v2/team/app/tags/list?page=%d`,
	} {
		host, _ := tagPages(t, func(page int) string {
			if last(page) {
				return ""
			}
			return fmt.Sprintf(form, page+1)
		}, func(page int) []string {
			return []string{"t" + strconv.Itoa(page), "again", "", subject.String()}
		})
		got, err := newClient(t, imagetest.RegistryContext(t)).Tags(t.Context(), repository(t, host), 5)
		require.NoError(t, err, name)
		assert.Equal(t, []string{"t0", "again", "t1", "t2", "t3"}, got, name)
	}
}

func TestTagsFail(t *testing.T) {
	for name, c := range map[string]struct {
		handler http.HandlerFunc
		want    string
		judged  bool
	}{
		"unknown":    {answers(404, "application/json", `{"errors":[{"code":"NAME_UNKNOWN","message":"no such thing"}]}`), "no such thing", true},
		"busy":       {answers(503, "text/plain", "soon"), "503", true},
		"a web page": {answers(200, "text/html", "<html>"), "invalid character '<'", false},
		"too long":   {answers(200, "application/json", `{"tags":["`+strings.Repeat("x", 17<<20)), "more than 16777216 bytes", false},
	} {
		host := serve(t, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/v2/" {
				c.handler(w, r)
			}
		})
		_, err := newClient(t, imagetest.RegistryContext(t)).Tags(t.Context(), repository(t, host), 5)
		require.ErrorContains(t, err, c.want, name)
		_, judged := registries.Judge(err)
		assert.Equal(t, c.judged, judged, name)
	}
	ctx, cancel := context.WithCancel(t.Context())
	host, _ := tagPages(t, func(page int) string {
		if page == 5 {
			cancel()
		}
		return fmt.Sprintf("</v2/team/app/tags/list?page=%d>", page+1)
	}, func(int) []string { return nil })
	_, err := newClient(t, imagetest.RegistryContext(t)).Tags(ctx, repository(t, host), 5)
	require.ErrorIs(t, err, context.Canceled)
}
