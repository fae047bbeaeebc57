package browsing

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestGuard(t *testing.T) {
	g := NewGuard(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) }))
	address := g.URL("127.0.0.1:4000")
	ask := func(url, host string, cookies ...*http.Cookie) *http.Response {
		r := httptest.NewRequest(http.MethodGet, url, nil)
		r.Host = host
		for _, c := range cookies {
			r.AddCookie(c)
		}
		w := httptest.NewRecorder()
		g.ServeHTTP(w, r)
		return w.Result()
	}
	assert.Equal(t, http.StatusForbidden, ask("/", "127.0.0.1:4000").StatusCode)
	assert.Equal(t, http.StatusForbidden, ask("/?token=wrong", "127.0.0.1:4000").StatusCode)
	assert.Equal(t, http.StatusForbidden, ask("/v2/", "127.0.0.1:4000").StatusCode)
	path := strings.TrimPrefix(address, "http://127.0.0.1:4000")
	entered := ask(path, "127.0.0.1:4000")
	require.Equal(t, http.StatusSeeOther, entered.StatusCode)
	assert.Equal(t, "/", entered.Header.Get("Location"), "the token does not stay in the address")
	require.Len(t, entered.Cookies(), 1)
	cookie := entered.Cookies()[0]
	assert.True(t, cookie.HttpOnly)
	for _, host := range []string{"127.0.0.1:4000", "localhost:4000", "[::1]:4000"} {
		assert.Equal(t, http.StatusTeapot, ask("/image/x", host, cookie).StatusCode, host)
	}
	for _, host := range []string{"evil.example:4000", "127.0.0.1.evil.example:4000", "localhost.evil.example", "", "192.0.2.1:4000"} {
		assert.Equal(t, http.StatusMisdirectedRequest, ask("/image/x", host, cookie).StatusCode, host)
		assert.Equal(t, http.StatusMisdirectedRequest, ask(path, host).StatusCode, host)
	}
	other := *cookie
	other.Value = strings.ToLower(cookie.Value)
	assert.Equal(t, http.StatusForbidden, ask("/", "127.0.0.1:4000", &other).StatusCode)
	assert.NotEqual(t, address, NewGuard(nil).URL("127.0.0.1:4000"))
}
