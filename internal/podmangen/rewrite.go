package main

import (
	"bytes"
	"go/ast"
	"go/format"
	"go/token"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// A rewriter knows which packages are generated, and rewrites their files.
type rewriter struct {
	packages map[string]bool // import paths of the generated packages
}

// newRewriter finds the packages to generate: those that import a renamed module, and
// those that import one of these.
func newRewriter(packages map[string]*sourcePackage) *rewriter {
	r := &rewriter{packages: map[string]bool{}}
	for grown := true; grown; {
		grown = false
		for dir, p := range packages {
			if !r.generates(dir) && r.rewritesAny(p.imports) {
				r.packages[path.Join(module, dir)] = true
				grown = true
			}
		}
	}
	return r
}

func (r *rewriter) generates(dir string) bool { return r.packages[path.Join(module, dir)] }

func (r *rewriter) rewritesAny(imports map[string]bool) bool {
	for imported := range imports {
		if r.path(imported) != imported {
			return true
		}
	}
	return false
}

// path is what to import instead.
func (r *rewriter) path(imported string) string {
	if r.packages[imported] {
		return path.Join(module, generated) + strings.TrimPrefix(imported, module)
	}
	for from, to := range renamed {
		if rest, ok := strings.CutPrefix(imported, from); ok && (rest == "" || rest[0] == '/') {
			return to + rest
		}
	}
	return imported
}

// An edit replaces a range of a file.
type edit struct {
	start, end int
	text       string
}

// rewrite returns the generated form of a file.
func (r *rewriter) rewrite(f *sourceFile) ([]byte, error) {
	edits, err := r.importEdits(f)
	if err != nil {
		return nil, err
	}
	edits = append(edits, r.commentEdits(f)...)
	if f.isTest() {
		edits = append(edits, testdataEdits(f)...)
	}
	slices.SortFunc(edits, func(a, b edit) int { return a.start - b.start })

	var b bytes.Buffer
	b.WriteString(header(f.name) + "\n")
	done := 0
	for _, e := range edits {
		b.Write(f.content[done:e.start])
		b.WriteString(e.text)
		done = e.end
	}
	b.Write(f.content[done:])
	return format.Source(b.Bytes()) // which also sorts the imports
}

// importEdits rewrite the imports. One whose path no longer ends in the package's name
// is given that name.
func (r *rewriter) importEdits(f *sourceFile) ([]edit, error) {
	var edits []edit
	for _, spec := range f.syntax.Imports {
		from, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return nil, err
		}
		to := r.path(from)
		if to == from {
			continue
		}
		text := strconv.Quote(to)
		if spec.Name == nil && path.Base(to) != path.Base(from) {
			text = path.Base(from) + " " + text
		}
		edits = append(edits, edit{f.offset(spec.Path.Pos()), f.offset(spec.Path.End()), text})
	}
	return edits, nil
}

// importPath matches what may be an import path in a comment; the address of a page,
// which follows a slash, is none.
var importPath = regexp.MustCompile(`(^|[^/\w.-])([a-z]+(?:\.[a-z]+)+(?:/[\w-]+)+)`)

// commentEdits rewrite the import paths that comments mention.
func (r *rewriter) commentEdits(f *sourceFile) []edit {
	var edits []edit
	for _, group := range f.syntax.Comments {
		for _, comment := range group.List {
			text := importPath.ReplaceAllStringFunc(comment.Text, func(match string) string {
				m := importPath.FindStringSubmatch(match)
				return m[1] + r.path(m[2])
			})
			if text != comment.Text {
				edits = append(edits, edit{f.offset(comment.Pos()), f.offset(comment.End()), text})
			}
		}
	}
	return edits
}

// testdata matches the start of a path to testdata, which may follow a transport's name.
var testdata = regexp.MustCompile("^([\"`](?:[a-z-]+:)?)((?:\\.\\./)*testdata\\b)")

// testdataEdits have tests look for testdata one folder further up: it is not copied.
func testdataEdits(f *sourceFile) []edit {
	var edits []edit
	ast.Inspect(f.syntax, func(n ast.Node) bool {
		literal, ok := n.(*ast.BasicLit)
		if !ok || literal.Kind != token.STRING {
			return true
		}
		if text := testdata.ReplaceAllString(literal.Value, "$1../$2"); text != literal.Value {
			edits = append(edits, edit{f.offset(literal.Pos()), f.offset(literal.End()), text})
		}
		return true
	})
	return edits
}
