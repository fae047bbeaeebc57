//go:build interop

package interop

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/audits"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/remote"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// pageTimeout ends a tab that hangs. A page takes some 50 ms.
const pageTimeout = 2 * time.Minute

// startChromium starts Debian's browser without a window. It finds no host but this one and those
// that rules map, as in "MAP name 127.0.0.1:80".
func startChromium(t *testing.T, rules ...string) context.Context {
	t.Helper()
	dir := daemonDir(t)
	profile := filepath.Join(dir, "profile")
	rules = append(rules, "MAP * ~NOTFOUND", "EXCLUDE 127.0.0.1")
	p := debian(t, "chromium").with("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--disable-background-networking",
		"--disable-component-update", "--disable-sync", "--disable-extensions", "--hide-scrollbars", "--force-color-profile=srgb", "--no-proxy-server", "--ignore-certificate-errors",
		"--remote-debugging-port=0", "--user-data-dir="+profile, "--host-resolver-rules="+strings.Join(rules, ","), "about:blank").
		withEnv("HOME="+dir, "LANG=C.UTF-8")
	var address string
	var d *daemon
	t.Cleanup(func() { // Its child processes may outlive it, and write to the profile until they end.
		_ = unix.Kill(-d.process.Pid, unix.SIGKILL)
		for range 100 {
			if os.RemoveAll(profile) == nil {
				break
			}
			time.Sleep(50 * time.Millisecond)
		}
	})
	d = startDaemon(t, dir, p, func() error {
		data, err := os.ReadFile(filepath.Join(profile, "DevToolsActivePort"))
		port, path, ok := strings.Cut(strings.TrimSpace(string(data)), "\n")
		if err == nil && !ok {
			err = fmt.Errorf("%q is no port and path", data)
		}
		address = "ws://127.0.0.1:" + port + path
		return err
	})
	ctx, cancel := remote.NewAllocator(t.Context(), address, remote.NoModifyURL)
	t.Cleanup(cancel)
	browser, cancel := chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	require.NoError(t, chromedp.Do(browser))
	return browser
}

// tab is a page of the browser that shows what a server has, and notes errors.
type tab struct {
	t      *testing.T
	ctx    context.Context
	origin string // of the server

	mutex   sync.Mutex
	faults  []string
	loading []string // requests since the last page
}

// newTab opens a tab for a server at http://host:port.
func newTab(t *testing.T, browser context.Context, origin string, options ...chromedp.ContextOption) *tab {
	t.Helper()
	ctx, cancel := chromedp.NewContext(browser, options...)
	t.Cleanup(cancel)
	b := &tab{t: t, origin: origin}
	require.NoError(t, chromedp.Listen(ctx, b.notice))
	b.ctx, cancel = context.WithTimeout(ctx, pageTimeout)
	t.Cleanup(cancel)
	call(b, audits.Enable, cdp.Empty{})
	return b
}

// notice notes messages of the browser about the page, and requests that go elsewhere.
func (b *tab) notice(event any) {
	switch e := event.(type) {
	case *log.EventEntryAdded:
		b.fault("%s: %s: %s (%s)", e.Entry.Level, e.Entry.Source, e.Entry.Text, e.Entry.URL)
	case *runtime.EventConsoleAPICalled:
		b.fault("console.%s", e.Type)
	case *runtime.EventExceptionThrown:
		b.fault("exception: %s", e.ExceptionDetails.Text)
	case *audits.EventIssueAdded:
		if e.Issue.Code != audits.InspectorIssueCodeBounceTrackingIssue { // It is about the test, which goes from page to page.
			b.fault("issue: %s", e.Issue.Code)
		}
	case *page.EventJavascriptDialogOpening:
		b.fault("dialog: %s", e.Message)
	case *network.EventRequestWillBeSent:
		b.mutex.Lock()
		b.loading = append(b.loading, e.Request.URL)
		b.mutex.Unlock()
		if !strings.HasPrefix(e.Request.URL, b.origin+"/") {
			b.fault("request to %s", e.Request.URL)
		}
	}
}

func (b *tab) fault(format string, args ...any) {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	b.faults = append(b.faults, fmt.Sprintf(format, args...))
}

// taken returns the notes since its last call.
func (b *tab) taken() []string {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	faults := b.faults
	b.faults = nil
	return faults
}

// do has the browser do something.
func (b *tab) do(actions ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	require.NoError(b.t, chromedp.Do(b.ctx, actions...))
}

// call calls a method of the browser for the tab.
func call[P, R any](b *tab, method cdp.Command[P, R], params P) {
	b.t.Helper()
	_, err := chromedp.Call(b.ctx, method, params)
	require.NoError(b.t, err, method.Method)
}

// open shows the page at a path and returns the status of the answer.
func (b *tab) open(path string) int64 {
	b.t.Helper()
	answer, err := chromedp.Run(b.ctx, chromedp.NavigateResponse(b.origin+path))
	require.NoError(b.t, err, path)
	return answer.Status
}

// shown has the browser open another page by an action, and waits for it.
func (b *tab) shown(actions ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	_, err := chromedp.RunResponse(b.ctx, actions...)
	require.NoError(b.t, err)
}

// evaluate returns the value of an expression in the page.
func evaluate[T any](b *tab, expression string) T {
	b.t.Helper()
	value, err := chromedp.Run(b.ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	require.NoError(b.t, err, "%.200s", expression)
	return value
}

// path returns which page is shown.
func (b *tab) path() string {
	b.t.Helper()
	return strings.TrimPrefix(evaluate[string](b, "location.href"), b.origin)
}

// links returns the paths on the server that the page refers to.
func (b *tab) links() []string {
	b.t.Helper()
	all := evaluate[[]string](b, `[...document.querySelectorAll("[href], [src], [action]")].map(e => {
		const url = new URL(e.getAttribute("href") ?? e.getAttribute("src") ?? e.getAttribute("action"), document.baseURI);
		url.hash = "";
		return url.href;
	})`)
	var paths []string
	for _, url := range all {
		if path, ok := strings.CutPrefix(url, b.origin); ok {
			paths = append(paths, path)
		}
	}
	return paths
}

// picture returns a screenshot of the tab, as a PNG.
func (b *tab) picture() []byte {
	b.t.Helper()
	data, err := chromedp.Run(b.ctx, chromedp.CaptureScreenshot())
	require.NoError(b.t, err)
	require.True(b.t, bytes.HasPrefix(data, []byte("\x89PNG")))
	return data
}
