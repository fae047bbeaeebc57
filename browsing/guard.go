package browsing

import (
	"crypto/hmac"
	"crypto/rand"
	"net"
	"net/http"
	"strings"
)

// Guard is an http.Handler for one person on this machine: it serves requests that have its
// token and ask for this machine by name. A page of another site can make a browser ask, but
// not under such a name (DNS rebinding), and not with the token.
type Guard struct {
	pages http.Handler
	token string
}

// cookieName is the cookie that has the token once it has been in an address. Browsers do not
// tell ports apart, so the port of the server is in it.
const cookieName = "docker-archive-"

// NewGuard returns a Guard of a handler, with a token of its own.
func NewGuard(pages http.Handler) *Guard { return &Guard{pages, rand.Text()} }

// URL returns the address that lets its user in, of a Guard that is served at host:port.
func (g *Guard) URL(address string) string { return "http://" + address + "/?token=" + g.token }

// ServeHTTP implements http.Handler. It answers a request with the token in its address
// with a cookie and the address without it.
func (g *Guard) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	if !isLoopback(r.Host) {
		http.Error(w, "this server answers only to 127.0.0.1, [::1] and localhost", http.StatusMisdirectedRequest)
		return
	}
	_, port, err := net.SplitHostPort(r.Host)
	if err != nil {
		port = "80"
	}
	if given := r.URL.Query().Get("token"); given != "" && g.is(given) {
		http.SetCookie(w, &http.Cookie{Name: cookieName + port, Value: g.token, Path: "/", HttpOnly: true, SameSite: http.SameSiteLaxMode})
		h.Set("Cache-Control", "no-store")
		http.Redirect(w, r, "/", http.StatusSeeOther)
		return
	}
	if c, err := r.Cookie(cookieName + port); err == nil && g.is(c.Value) {
		g.pages.ServeHTTP(w, r)
		return
	}
	http.Error(w, "open the address that docker-archive browse has printed: it has a token in it", http.StatusForbidden)
}

func (g *Guard) is(token string) bool {
	return hmac.Equal([]byte(strings.TrimSpace(token)), []byte(g.token))
}
