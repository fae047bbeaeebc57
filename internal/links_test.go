package internal

import (
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var (
	linkPattern    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	headingPattern = regexp.MustCompile(`^#{1,6} +(.*?) *#*$`)
	codePattern    = regexp.MustCompile("`[^`]*`")
)

// page is a Markdown file: where its links lead, and the anchors that links may lead to.
type page struct {
	links   []string
	anchors map[string]bool
}

// readPage parses the parts of Markdown that TestLinks needs.
func readPage(t *testing.T, path string) page {
	t.Helper()
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	p := page{anchors: map[string]bool{}}
	fenced := false
	for line := range strings.Lines(string(data)) {
		line = strings.TrimRight(line, "\r\n")
		if strings.HasPrefix(line, "```") {
			fenced = !fenced
		}
		if fenced || strings.HasPrefix(line, "    ") {
			continue
		}
		if m := headingPattern.FindStringSubmatch(line); m != nil {
			anchor := anchorOf(m[1])
			for n := 1; p.anchors[anchor]; n++ {
				anchor = fmt.Sprintf("%s-%d", anchorOf(m[1]), n)
			}
			p.anchors[anchor] = true
		}
		for _, m := range linkPattern.FindAllStringSubmatch(codePattern.ReplaceAllString(line, "code"), -1) {
			p.links = append(p.links, m[1])
		}
	}
	return p
}

// anchorOf returns the anchor that GitHub gives a heading.
func anchorOf(heading string) string {
	heading = regexp.MustCompile(`\[([^\]]*)\]\([^)]*\)`).ReplaceAllString(heading, "$1")
	return strings.Map(func(r rune) rune {
		switch {
		case r == ' ':
			return '-'
		case r == '-' || r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r):
			return unicode.ToLower(r)
		}
		return -1
	}, heading)
}

// Every link between pages of the repository leads to a file, and to a heading, that
// exists.
func TestLinks(t *testing.T) {
	pages := map[string]page{}
	require.NoError(t, filepath.WalkDir("..", func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if e.IsDir() && (path != ".." && strings.HasPrefix(e.Name(), ".") || e.Name() == "testdata" || e.Name() == "dist" || e.Name() == "bin") {
			return filepath.SkipDir
		}
		if filepath.Ext(path) == ".md" {
			pages[path] = readPage(t, path)
		}
		return nil
	}))
	require.Greater(t, len(pages), 15)
	count := 0
	for path, p := range pages {
		for _, link := range p.links {
			to, err := url.Parse(link)
			if !assert.NoError(t, err, path) || to.IsAbs() {
				continue
			}
			count++
			target := path
			if to.Path != "" {
				target = filepath.Join(filepath.Dir(path), filepath.FromSlash(to.Path))
			}
			_, err = os.Stat(target)
			if assert.NoError(t, err, "%s links to %s", path, link) && to.Fragment != "" {
				assert.True(t, pages[target].anchors[to.Fragment], "%s links to %s: there is no such heading", path, link)
			}
		}
	}
	assert.Greater(t, count, 50)
}
