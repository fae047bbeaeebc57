//go:build interop

package interop

import (
	"bytes"
	"errors"
	"fmt"
	"image/png"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/chromedp/cdproto/fetch"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/browsing"
	"github.com/dockerarchive/dockerarchive/internal/showcase"
)

// showBad serves a page under the policy of the pages, and without one on request.
func showBad(t *testing.T, page string) string {
	t.Helper()
	policy, err := http.Get(showPages(t, browsing.Options{}, showcase.Shop(t)))
	require.NoError(t, err)
	require.NoError(t, policy.Body.Close())
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.RawQuery != "unguarded" {
			w.Header().Set("Content-Security-Policy", policy.Header.Get("Content-Security-Policy"))
		}
		if r.URL.Path == "/script.js" {
			w.Header().Set("Content-Type", "text/javascript")
			_, _ = w.Write([]byte(`console.error("wrong"); throw new Error("thrown")`))
			return
		}
		w.Header().Set("Content-Type", "text/html")
		_, _ = w.Write([]byte(page))
	}))
	t.Cleanup(web.Close)
	return web.URL
}

// TestPagesAsk has serve ask the browser for a user and a password, and browse for its token.
func TestPagesAsk(t *testing.T) {
	chromium := startChromium(t, "MAP rebound.example.com 127.0.0.1")
	dir := daemonDir(t)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "shop.tar"), showcase.Shop(t), 0o600))
	t.Run("htpasswd", func(t *testing.T) {
		users := filepath.Join(dir, "users")
		writeUsers(t, users)
		b := newTab(t, chromium, "http://"+startServe(t, "--quiet", "--htpasswd", users, dir))
		var mutex sync.Mutex
		asked, password := 0, ""
		require.NoError(t, chromedp.Listen(b.ctx, func(event any) {
			switch e := event.(type) {
			case *fetch.EventRequestPaused:
				go chromedp.Call(b.ctx, fetch.ContinueRequest, fetch.ContinueRequestParams{RequestID: e.RequestID}) //nolint:errcheck // The page that waits says so.
			case *fetch.EventAuthRequired:
				mutex.Lock()
				defer mutex.Unlock()
				asked++
				answer := &fetch.AuthChallengeResponse{Response: fetch.AuthChallengeResponseResponseCancelAuth}
				if password != "" {
					answer = &fetch.AuthChallengeResponse{Response: fetch.AuthChallengeResponseResponseProvideCredentials, Username: securedUser, Password: password}
				}
				go chromedp.Call(b.ctx, fetch.ContinueWithAuth, fetch.ContinueWithAuthParams{RequestID: e.RequestID, AuthChallengeResponse: answer}) //nolint:errcheck // As above.
			}
		}))
		handle := true
		call(b, fetch.Enable, fetch.EnableParams{HandleAuthRequests: &handle})
		require.EqualValues(t, http.StatusUnauthorized, b.open("/"))
		require.NotContains(t, evaluate[string](b, "document.body.innerText"), "shop")
		mutex.Lock()
		assert.Equal(t, 1, asked)
		password = securedPassword
		mutex.Unlock()
		require.EqualValues(t, http.StatusOK, b.open("/"))
		require.Contains(t, evaluate[string](b, "document.body.innerText"), "registry.example.com/team/shop:1.4")
		require.EqualValues(t, http.StatusOK, b.open("/compare"))
	})
	t.Run("browse", func(t *testing.T) {
		var address string
		printed := regexp.MustCompile(`(?m)^(http://127\.0\.0\.1:\d+)(/\?token=\w+)$`)
		logs := daemonDir(t)
		startDaemon(t, logs, dockerArchive(t).with("browse", dir), func() error {
			data, err := os.ReadFile(filepath.Join(logs, "docker-archive.log"))
			if m := printed.FindString(string(data)); m != "" {
				address = m
				return nil
			}
			return errors.Join(err, errors.New("no address has been printed"))
		})
		m := printed.FindStringSubmatch(address)
		b := newTab(t, chromium, m[1])
		require.EqualValues(t, http.StatusForbidden, b.open("/"))
		b.taken()
		require.EqualValues(t, http.StatusOK, b.open(m[2]))
		require.Equal(t, "/", b.path(), "the token is not left in the address")
		require.EqualValues(t, http.StatusOK, b.open("/compare"))
		require.Contains(t, evaluate[string](b, "document.body.innerText"), "registry.example.com/team/shop:1.4")
		require.Empty(t, b.taken())

		stranger := newTab(t, chromium, m[1], chromedp.WithNewBrowserContext())
		require.EqualValues(t, http.StatusForbidden, stranger.open("/compare"))
		rebound := newTab(t, chromium, strings.Replace(m[1], "127.0.0.1", "rebound.example.com", 1))
		require.EqualValues(t, http.StatusMisdirectedRequest, rebound.open(m[2]))
	})
}

// follow follows links by their texts.
func (b *tab) follow(texts ...string) {
	b.t.Helper()
	for _, text := range texts {
		href := evaluate[string](b, fmt.Sprintf(`[...document.querySelectorAll("main a")].find(a => a.textContent.trim().replace(/\/$/, "") == %q)?.href ?? ""`, text))
		require.NotEmpty(b.t, href, "%s has no link %s", b.path(), text)
		require.EqualValues(b.t, http.StatusOK, b.open(strings.TrimPrefix(href, b.origin)))
	}
}

// pictures show pages of showcase.Shop in the docs.
var pictures = map[string]func(b *tab){
	"browse-image.png": func(b *tab) { b.follow(shopNow, "linux/amd64") },
	"browse-files.png": func(b *tab) {
		b.as(look{pictureWidth, "dark"})
		b.follow(shopNow, "linux/amd64", "Files", "usr")
	},
	"browse-compare.png": func(b *tab) {
		b.follow(shopNow, "linux/amd64")
		now := path.Base(b.path())
		b.open("/")
		b.follow(shopBefore)
		b.open("/compare?a=" + path.Base(b.path()) + "&b=" + now)
	},
}

const (
	shopBefore, shopNow         = "registry.example.com/team/shop:1.4", "registry.example.com/team/shop:1.5"
	pictureWidth, pictureHeight = 1200, 900
)

// TestPagesPictures makes the pictures of pages in the docs; with UPDATE_PICTURES=1 it puts them
// there.
func TestPagesPictures(t *testing.T) {
	const host = "archives.example.com"
	server := showPages(t, browsing.Options{TLS: true}, showcase.Shop(t))
	chromium := startChromium(t, "MAP "+host+" "+strings.TrimPrefix(server, "https://"))
	for name, show := range pictures {
		t.Run(name, func(t *testing.T) {
			b := newTab(t, chromium, "https://"+host)
			b.as(look{pictureWidth, "light"})
			b.open("/")
			show(b)
			require.Empty(t, b.taken())
			data := b.picture()
			picture, err := png.Decode(bytes.NewReader(data))
			require.NoError(t, err)
			require.Equal(t, [2]int{pictureWidth, pictureHeight}, [2]int{picture.Bounds().Dx(), picture.Bounds().Dy()})
			require.Greater(t, len(data), 20_000, "there is something to see")
			file := filepath.Join("..", "docs", name)
			if os.Getenv("UPDATE_PICTURES") != "" {
				require.NoError(t, os.WriteFile(file, data, 0o644))
			}
			require.FileExists(t, file)
		})
	}
}
