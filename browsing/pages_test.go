package browsing

import (
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/internal/raced"
	"github.com/dockerarchive/dockerarchive/internal/showcase"
)

// imageNamed returns the path of the page of an image, from the list of images.
func (s *site) imageNamed(name string) string {
	s.t.Helper()
	body, _ := s.get(http.StatusOK, "/")
	m := regexp.MustCompile(`href="(/image/[^"]*)"><bdi>` + regexp.QuoteMeta(name)).FindStringSubmatch(body)
	require.NotNil(s.t, m, "%s is not listed in %s", name, body)
	return m[1]
}

func TestPagesOfAnImage(t *testing.T) {
	s := newSite(t, Options{}, map[string][]byte{"shop.tar": showcase.Shop(t)})
	list, _ := s.get(http.StatusOK, "/")
	assert.Contains(t, list, "3 images in 1 archive", "referrers are no images")
	found, _ := s.get(http.StatusOK, "/?q=ARM64+shop")
	assert.Contains(t, found, "1 image found")
	assert.Contains(t, found, "shop:1.5")
	none, _ := s.get(http.StatusOK, "/?q=nothing")
	assert.Contains(t, none, "No image has all of these words")

	index := s.imageNamed("registry.example.com/team/shop:1.5")
	body, _ := s.get(http.StatusOK, index)
	host := strings.TrimPrefix(s.http.URL, "http://")
	assert.Contains(t, body, "docker pull "+host+"/team/shop:1.5")
	assert.Contains(t, body, "registry.example.com/team/shop:latest", "all names are there")
	amd64 := regexp.MustCompile(`href="(/image/[^"]*)">linux/amd64`).FindStringSubmatch(body)[1]

	body, _ = s.get(http.StatusOK, amd64)
	for _, part := range []string{
		"docker pull --platform linux/amd64 " + host + "/team/shop:1.5",
		"sudo ctr images pull --plain-http --platform linux/amd64 " + host + "/team/shop:1.5",
		"podman pull --tls-verify=false --platform linux/amd64 " + host + "/team/shop:1.5",
		"RUN apt-get update", "2026-03-14 09:26", `[&#34;/usr/bin/shop&#34;,&#34;serve&#34;]`, "8080/tcp",
		`<a href="https://github.com/example/shop" rel="noopener noreferrer nofollow">`,
		"Signature (Sigstore)", showcase.Signer + " (https://token.actions.githubusercontent.com)", "SBOM (SPDX)", "SBOM (CycloneDX)",
	} {
		assert.Contains(t, body, part)
	}

	body, _ = s.get(http.StatusOK, amd64+"/files")
	for _, part := range []string{`<svg class="tiles wide"`, "<bdi>usr</bdi></a>", "lrwxrwxrwx", "drwxrwxrwt"} {
		assert.Contains(t, strings.ReplaceAll(body, "<bdi>usr</bdi>/</a>", "<bdi>usr</bdi></a>"), part)
	}
	assert.NotContains(t, body, ".wh.")
	body, _ = s.get(http.StatusOK, amd64+"/files/bin")
	assert.Contains(t, body, "The link leads to /usr/bin.")
	body, _ = s.get(http.StatusOK, amd64+"/files/bin/passwd")
	assert.Contains(t, body, "-rwsr-xr-x")
	assert.Contains(t, body, "The file is binary.")
	body, _ = s.get(http.StatusOK, amd64+"/files/etc/shop.conf")
	assert.Contains(t, body, "<code>version = 1.5</code>")
	body, _ = s.get(http.StatusOK, amd64+"/files/etc/shop.conf?layer=2")
	assert.Contains(t, body, "Only layer 2 of 5")
	s.get(http.StatusNotFound, amd64+"/files/etc/shop.conf?layer=1")
	s.get(http.StatusNotFound, amd64+"/files?layer=5")
	s.get(http.StatusNotFound, amd64+"/files/none")
	s.get(http.StatusNotFound, index+"/files")
	s.get(http.StatusNotFound, "/image/sha256:0")
	s.get(http.StatusNotFound, "/nothing")

	body, _ = s.get(http.StatusOK, amd64+"/layers")
	assert.Contains(t, body, `2.23 MB</td><td class="num">1.9 MB`, "the lists of packages are hidden")
	old := s.imageNamed("registry.example.com/team/shop:1.4")
	body, _ = s.get(http.StatusOK, "/compare?a="+strings.TrimPrefix(old, "/image/")+"&b="+strings.TrimPrefix(amd64, "/image/"))
	for _, part := range []string{"<b>0</b> added", "<b>2</b> changed", "/etc/shop.conf", "/usr/bin/shop", "layers: <b>4</b> in both"} {
		assert.Contains(t, body, part)
	}
	body, _ = s.get(http.StatusOK, "/compare?a="+strings.TrimPrefix(old, "/image/")+"&b="+strings.TrimPrefix(old, "/image/"))
	assert.Contains(t, body, "same config and the same files")
}

func TestPackages(t *testing.T) {
	s := newSite(t, Options{}, map[string][]byte{"shop.tar": showcase.Shop(t)})
	var without []string
	if raced.Enabled { // Unpacking them takes a minute.
		without = []string{"/files/", "/raw/"}
	}
	var all strings.Builder
	for path, body := range s.crawl(without...) {
		if strings.HasSuffix(path, "/packages") {
			all.WriteString(body)
		}
	}
	for _, part := range []string{"SPDX 2.3", "CycloneDX 1.6", "ca-certificates", "20260101", "MPL-2.0", "LicenseRef-public-domain", "golang.org/x/net", "BSD-3-Clause", "operating-system"} {
		assert.Contains(t, all.String(), part)
	}
}

// For any content of an archive, pages have no other scripts and no links but to
// the web.
func TestHostileArchive(t *testing.T) {
	s := newSite(t, Options{}, map[string][]byte{"hostile.tar": showcase.Hostile(t)})
	script := regexp.MustCompile(`<script[^>]*>`)
	pages := s.crawl()
	assert.Greater(t, len(pages), 40)
	for path, body := range pages {
		_, header := s.get(http.StatusOK, path)
		assert.Equal(t, "nosniff", header.Get("X-Content-Type-Options"), path)
		if strings.Contains(path, "/raw/") || strings.HasSuffix(path, ".json") {
			assert.Contains(t, header.Get("Content-Security-Policy"), "sandbox", path)
			assert.True(t, strings.HasPrefix(header.Get("Content-Disposition"), "attachment"), path)
			assert.Equal(t, "application/octet-stream", header.Get("Content-Type"), path)
			continue
		}
		assert.Equal(t, contentPolicy, header.Get("Content-Security-Policy"), path)
		for _, tag := range script.FindAllString(body, -1) {
			assert.Equal(t, fmt.Sprintf(`<script type="module" src="/-/page.js?v=%s">`, assetVersion()), tag, path)
		}
		assert.NotContains(t, body, "<img src=x", path)
		assert.NotContains(t, body, `href="javascript:`, path)
		assert.NotContains(t, body, `href="data:`, path)
		assert.NotContains(t, body, "\u202e", path)
		assert.NotContains(t, body, "\x1b", path)
	}
	home := s.imageNamed("example.com/hostile:1")
	body, _ := s.get(http.StatusOK, home+"/files")
	assert.Contains(t, body, `bidi\u202egpj.exe`)
	assert.Contains(t, body, `bytes\xff\xfe`)
	body, _ = s.get(http.StatusOK, home+"/raw/percent%252e%252e%252fname%3Fq%23f")
	assert.Equal(t, "odd name", body)
	s.get(http.StatusUnprocessableEntity, home+"/raw/loop")
	s.get(http.StatusNotFound, home+"/raw/fifo")
}

func TestMethodsAndAssets(t *testing.T) {
	s := newSite(t, Options{}, map[string][]byte{"shop.tar": showcase.Shop(t)})
	resp, err := s.http.Client().Post(s.http.URL+"/", "text/plain", strings.NewReader("x"))
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	assert.Equal(t, http.StatusMethodNotAllowed, resp.StatusCode)
	for name, mediaType := range assetTypes {
		_, header := s.get(http.StatusOK, "/-/"+name)
		assert.Equal(t, mediaType, header.Get("Content-Type"))
	}
	s.get(http.StatusNotFound, "/-/layout.html")
	body, header := s.get(http.StatusOK, "/v2/")
	assert.Equal(t, "{}", body)
	assert.Equal(t, "registry/2.0", header.Get("Docker-Distribution-Api-Version"))
	s.get(http.StatusNotFound, "/v2/none/manifests/1")
}

// With no way to pull, pages say how an archive is loaded.
func TestLocal(t *testing.T) {
	s := newSite(t, Options{Local: true}, map[string][]byte{"it's here.tar": showcase.Shop(t)})
	body, _ := s.get(http.StatusOK, s.imageNamed("registry.example.com/team/shop:1.4"))
	assert.Contains(t, body, `docker load -i &#39;`+s.dir+`/it&#39;\&#39;&#39;s here.tar&#39;`)
	assert.NotContains(t, body, "docker pull")
}
