//go:build interop

package interop

import (
	"context"
	"fmt"
	"math"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/browser"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/browsing"
	"github.com/dockerarchive/dockerarchive/internal/showcase"
	"github.com/dockerarchive/dockerarchive/serving"
)

// showPages serves the pages of an archive, by https if the options say so, and returns the
// server's address.
func showPages(t *testing.T, o browsing.Options, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "images.tar")
	require.NoError(t, os.WriteFile(path, data, 0o600))
	server, err := serving.New(t.Context(), []string{path}, serving.Options{})
	require.NoError(t, err)
	pages := browsing.New(server, o)
	server.Handle(pages)
	web := httptest.NewUnstartedServer(server)
	if o.TLS {
		web.StartTLS()
	} else {
		web.Start()
	}
	t.Cleanup(func() {
		web.Close()
		pages.Close()
		assert.NoError(t, server.Close())
	})
	return web.URL
}

// look is how a user looks at pages.
type look struct {
	width  int64
	scheme string
}

var looks = []look{{1600, "light"}, {1600, "dark"}, {400, "light"}, {400, "dark"}}

func (b *tab) as(l look) {
	b.t.Helper()
	call(b, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{Width: l.width, Height: pictureHeight, DeviceScaleFactor: 1})
	call(b, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: l.scheme}}})
}

// TestPagesInBrowser opens every page of an ordinary and of a hostile archive in a browser: they
// have no errors, run no content of an archive, and are accessible.
func TestPagesInBrowser(t *testing.T) {
	chromium := startChromium(t)
	axe, err := os.ReadFile(filepath.Join(clientsDir(t), "axe.min.js"))
	require.NoError(t, err, "interop/clients brings it")
	ordinary, hostile := showPages(t, browsing.Options{}, showcase.Shop(t)), showPages(t, browsing.Options{}, showcase.Hostile(t))
	kinds := map[string][]string{}
	for _, origin := range []string{ordinary, hostile} {
		b := newTab(t, chromium, origin)
		most := math.MaxInt
		if origin == ordinary { // Its files are one like the other.
			most = 40
		}
		kinds[origin] = b.crawl(most)
		require.Greater(t, len(kinds[origin]), 10)
	}
	for name, origin := range map[string]string{"ordinary": ordinary, "hostile": hostile} {
		t.Run("axe "+name, func(t *testing.T) {
			b := newTab(t, chromium, origin)
			for _, path := range kinds[origin] {
				b.open(path)
				b.audit(path, string(axe))
			}
		})
	}
	t.Run("faults are noticed", func(t *testing.T) { testFaultsAreNoticed(t, chromium) })
	t.Run("error", func(t *testing.T) {
		b := newTab(t, chromium, ordinary)
		require.EqualValues(t, 404, b.open("/image/none"))
		require.Contains(t, evaluate[string](b, "document.body.innerText"), "no archive here has this image")
		faults := b.taken()
		require.Len(t, faults, 1, "%q", faults)
		require.Contains(t, faults[0], "404 (Not Found)")
		b.audit("/image/none", string(axe))
	})
	t.Run("without JavaScript", func(t *testing.T) {
		b := newTab(t, chromium, ordinary)
		testWithoutScripts(b, kinds[ordinary])
	})
	t.Run("keyboard", func(t *testing.T) {
		b := newTab(t, chromium, ordinary)
		testKeyboard(b, kinds[ordinary])
	})
	t.Run("copying", func(t *testing.T) {
		b := newTab(t, chromium, ordinary)
		testCopying(b)
	})
}

// crawl follows the links of pages, at most so many of each route, and returns one page of each
// kind.
func (b *tab) crawl(most int) (kinds []string) {
	b.t.Helper()
	_, err := chromedp.CallBrowser(b.ctx, browser.SetDownloadBehavior, browser.SetDownloadBehaviorParams{Behavior: browser.SetDownloadBehaviorBehaviorDeny})
	require.NoError(b.t, err)
	seen, opened, routes := map[string]bool{}, map[string]bool{}, map[string]int{}
	todo := []string{"/"}
	for ; len(todo) > 0; todo = todo[1:] {
		path := todo[0]
		if opened[path] || strings.HasPrefix(path, "/-/") { // Assets were loaded with the page.
			continue
		}
		if routes[route(path)]++; routes[route(path)] > most {
			continue
		}
		opened[path] = true
		if strings.Contains(path, "/raw/") || strings.HasSuffix(path, ".json") {
			b.requireSaved(path)
			continue
		}
		require.EqualValues(b.t, 200, b.open(path), path)
		require.NotEqual(b.t, showcase.Title, evaluate[string](b, "document.title"), path)
		require.Empty(b.t, b.taken(), path)
		todo = append(todo, b.links()...)
		if kind := b.kind(path); !seen[kind] {
			seen[kind] = true
			kinds = append(kinds, path)
		}
	}
	b.t.Logf("%d pages of %d kinds", len(opened), len(kinds))
	return kinds
}

// requireSaved opens the address of a file, which the browser would save and does not show.
func (b *tab) requireSaved(path string) {
	b.t.Helper()
	b.do(chromedp.Navigate("about:blank"))
	b.taken()
	require.ErrorContains(b.t, chromedp.Do(b.ctx, chromedp.Navigate(b.origin+path)), "net::ERR_ABORTED", path)
	require.Equal(b.t, "about:blank", evaluate[string](b, "location.href"), path)
	require.Empty(b.t, b.taken(), path)
}

var digests = regexp.MustCompile(`sha256:[0-9a-f]{64}`)

// route is a path without its digests and files.
func route(path string) string {
	path = digests.ReplaceAllString(path, "DIGEST")
	for _, part := range []string{"/files", "/raw"} {
		if before, _, ok := strings.Cut(path, part); ok {
			return before + part
		}
	}
	return path
}

// kind is the page's route, and which parts it has.
func (b *tab) kind(path string) string {
	return fmt.Sprint(route(path), evaluate[[]string](b, `["h2", "table", "pre.source", "svg.tiles", "dl", ".note", ".empty", ".badge", ".pager", ".commands"].filter(s => document.querySelector(s))`))
}

// audit checks the page in all ways, with axe and for parts wider than the window.
func (b *tab) audit(path, axe string) {
	b.t.Helper()
	b.do(chromedp.Evaluate[chromedp.Void](axe))
	for _, l := range looks {
		b.as(l)
		require.LessOrEqual(b.t, evaluate[int64](b, "document.documentElement.scrollWidth"), l.width, "%s is too wide", path)
		found := evaluate[[]string](b, `axe.run(document, {resultTypes: ["violations"], preload: false}).then(r => r.violations
			.filter(v => v.impact == "serious" || v.impact == "critical")
			.map(v => v.id + ": " + v.nodes.slice(0, 3).map(n => n.html + ": " + n.failureSummary).join("; ")))`)
		assert.Empty(b.t, found, "%s, %v", path, l)
	}
	require.Empty(b.t, b.taken(), path)
}

// testFaultsAreNoticed opens a page that does all that pages must not.
func testFaultsAreNoticed(t *testing.T, chromium context.Context) {
	const bad = `<!doctype html><html lang="en"><title>bad</title><img src="http://127.0.0.1:1/elsewhere.png">` +
		`<p style="color: red">styled</p><script src="/script.js"></script>` + showcase.Script
	origin := showBad(t, bad)
	b := newTab(t, chromium, origin)
	b.open("/")
	faults := strings.Join(b.taken(), "\n")
	for _, part := range []string{"request to http://127.0.0.1:1/elsewhere.png", "Content Security Policy", "console.error", "exception: "} {
		assert.Contains(t, faults, part)
	}
	b.open("/?unguarded")
	assert.Equal(t, showcase.Title, evaluate[string](b, "document.title"), "a script that runs is seen")
}

// testWithoutScripts shows pages and uses them with scripts switched off.
func testWithoutScripts(b *tab, paths []string) {
	const text = `(() => {
		const main = document.querySelector("main").cloneNode(true);
		main.querySelectorAll("button.copy, [role=status]").forEach(e => e.remove());
		return main.textContent.trim();
	})()`
	with := map[string]string{}
	for _, path := range paths {
		b.open(path)
		with[path] = evaluate[string](b, text)
	}
	call(b, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
	for _, path := range paths {
		b.open(path)
		require.Equal(b.t, with[path], evaluate[string](b, text), path)
		require.Empty(b.t, b.taken(), path)
	}
	b.open("/")
	require.Zero(b.t, evaluate[int](b, `document.querySelectorAll("[role=status]").length`), "scripts are off")
	b.do(chromedp.SendKeys("#q", "arm64"))
	b.shown(chromedp.Click(".search button"))
	require.Equal(b.t, "/?q=arm64", b.path())
	require.Contains(b.t, evaluate[string](b, "document.body.innerText"), "1 image found")
	b.open("/compare")
	b.do(chromedp.SendKeys(`select[name="b"]`, "registry.example.com/team/shop:1.4"))
	b.shown(chromedp.Click("form.choose button"))
	require.Contains(b.t, evaluate[string](b, "document.body.innerText"), "Compare two images")
	require.Empty(b.t, b.taken())
}

// testKeyboard goes through pages with the tabulator: it reaches everything that can be used, in
// the order of the page, and each shows its focus.
func testKeyboard(b *tab, paths []string) {
	type stop struct {
		At      int    `json:"at"`
		What    string `json:"what"`
		Visible bool   `json:"visible"`
		InView  bool   `json:"inView"`
	}
	const here = `(() => {
		const e = document.activeElement, style = getComputedStyle(e), box = e.getBoundingClientRect();
		return {
			at: stops.indexOf(e), what: e.outerHTML.slice(0, 100),
			visible: e.matches(":focus-visible") && style.outlineStyle != "none" && parseFloat(style.outlineWidth) >= 2,
			inView: box.bottom > 0 && box.top < innerHeight && box.right > 0 && box.left < innerWidth,
		};
	})()`
	for _, l := range []look{{1600, "light"}, {400, "dark"}} {
		b.as(l)
		for _, path := range paths {
			b.open(path)
			n := evaluate[int](b, `(window.stops = [...document.querySelectorAll("a[href], button, input, select, [tabindex='0']")].filter(e => e.checkVisibility())).length`)
			for at := range n {
				b.do(chromedp.KeyEvent(kb.Tab))
				require.Equal(b.t, stop{at, evaluate[string](b, fmt.Sprintf("stops[%d].outerHTML.slice(0, 100)", at)), true, true}, evaluate[stop](b, here), "%s, %v", path, l)
			}
		}
	}
	b.open("/")
	b.do(chromedp.KeyEvent(kb.Tab), chromedp.KeyEvent(kb.Enter), chromedp.KeyEvent(kb.Tab))
	require.True(b.t, evaluate[bool](b, `document.querySelector("main").contains(document.activeElement)`), "the first link skips to the content")
	for !evaluate[bool](b, `document.activeElement.matches("td.name a")`) {
		b.do(chromedp.KeyEvent(kb.Tab))
	}
	b.shown(chromedp.KeyEvent(kb.Enter))
	require.True(b.t, strings.HasPrefix(b.path(), "/image/"), b.path())
}

// testCopying copies a command by its button, from the keyboard.
func testCopying(b *tab) {
	for _, name := range []string{"clipboard-read", "clipboard-write"} {
		_, err := chromedp.CallBrowser(b.ctx, browser.SetPermission, browser.SetPermissionParams{
			Permission: &browser.PermissionDescriptor{Name: name}, Setting: browser.PermissionSettingGranted, Origin: b.origin,
		})
		require.NoError(b.t, err)
	}
	b.open("/")
	b.open(b.links()[slices.IndexFunc(b.links(), func(path string) bool { return strings.HasPrefix(path, "/image/") })])
	b.do(chromedp.Focus("button.copy"), chromedp.KeyEvent(kb.Enter),
		chromedp.Poll[chromedp.Void](`document.querySelector("button.copy").textContent == "Copied" && document.querySelector("[role=status]").textContent == "Copied"`))
	copied := evaluate[string](b, "navigator.clipboard.readText()")
	require.Equal(b.t, evaluate[string](b, `document.querySelector("[data-copy] code").textContent`), copied)
	require.True(b.t, strings.HasPrefix(copied, "docker pull "+strings.TrimPrefix(b.origin, "http://")), copied)
	require.Empty(b.t, b.taken())
}
