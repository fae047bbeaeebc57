package oddities

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
)

// tokens returns an oddity: a registry takes bearer tokens only, the first for so many
// requests of a kind, and each later one for twice as many as the one before.
func tokens(uses int, which func(*http.Request) bool) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		var mu sync.Mutex
		issued, used, most := 0, map[string]int{}, map[string]int{}
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/token" {
				mu.Lock()
				defer mu.Unlock()
				issued++
				most[fmt.Sprintf("t%d", issued)] = uses
				uses *= 2
				w.Header().Set("Content-Type", "application/json")
				fmt.Fprintf(w, `{"token":"t%d","access_token":"t%[1]d","expires_in":3600}`, issued)
				return
			}
			token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
			mu.Lock()
			if which(r) {
				used[token]++
			}
			taken := used[token] <= most[token] && most[token] > 0
			mu.Unlock()
			if !taken {
				w.Header().Set("WWW-Authenticate", `Bearer realm="http://`+r.Host+`/token",service="registry"`)
				answer(http.StatusUnauthorized, `{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}`)(w, r)
				return
			}
			next.ServeHTTP(w, r)
		})
	}
}
