package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// A sourcePackage is a folder of Go files.
type sourcePackage struct {
	files   []*sourceFile
	imports map[string]bool // by its files; by its tests if it has nothing else
}

// A sourceFile is a parsed Go file.
type sourceFile struct {
	name    string // slash-separated, from the module's root
	content []byte
	tokens  *token.FileSet
	syntax  *ast.File
}

func (f *sourceFile) isTest() bool { return strings.HasSuffix(f.name, "_test.go") }

// offset is where in the content something stands.
func (f *sourceFile) offset(pos token.Pos) int { return f.tokens.Position(pos).Offset }

// readPackages reads the packages of the module in root, by their folders:
// slash-separated, "." for the one in root itself.
func readPackages(root string) (map[string]*sourcePackage, error) {
	packages := map[string]*sourcePackage{}
	err := fs.WalkDir(os.DirFS(root), ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			return skipForeign(root, name)
		}
		if path.Ext(name) != ".go" {
			return nil
		}
		f, err := readSource(root, name)
		if err != nil {
			return err
		}
		dir := path.Dir(name)
		p := packages[dir]
		if p == nil {
			p = &sourcePackage{imports: map[string]bool{}}
			packages[dir] = p
		}
		return p.add(f)
	})
	return packages, err
}

// skipForeign skips what is none of the module's packages: other modules, and the
// folders that Go's tools skip.
func skipForeign(root, dir string) error {
	if dir == "." {
		return nil
	}
	base := path.Base(dir)
	if base == "testdata" || strings.HasPrefix(base, ".") || strings.HasPrefix(base, "_") {
		return fs.SkipDir
	}
	if _, err := os.Stat(filepath.Join(root, filepath.FromSlash(dir), "go.mod")); err == nil {
		return fs.SkipDir
	}
	return nil
}

func readSource(root, name string) (*sourceFile, error) {
	content, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(name)))
	if err != nil {
		return nil, err
	}
	f := &sourceFile{name: name, content: content, tokens: token.NewFileSet()}
	f.syntax, err = parser.ParseFile(f.tokens, name, content, parser.ParseComments|parser.SkipObjectResolution)
	return f, err
}

func (p *sourcePackage) hasOnlyTests() bool {
	return !slices.ContainsFunc(p.files, func(f *sourceFile) bool { return !f.isTest() })
}

func (p *sourcePackage) add(f *sourceFile) error {
	switch hadOnlyTests := p.hasOnlyTests(); {
	case f.isTest() && !hadOnlyTests:
		p.files = append(p.files, f)
		return nil
	case !f.isTest() && hadOnlyTests:
		clear(p.imports)
	}
	p.files = append(p.files, f)
	for _, spec := range f.syntax.Imports {
		imported, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return err
		}
		p.imports[imported] = true
	}
	return nil
}
