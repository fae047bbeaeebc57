package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/google/licensecheck"
)

// A linkedModule is a module with packages of the command. Go's own library is one too.
type linkedModule struct {
	path, version, sum string
	files              []licenceFile
	licences           []string // SPDX identifiers, sorted
	needs              []string // paths of modules whose packages it imports, sorted
}

// A licenceFile is a licence or a notice beside a package that is linked, or above it.
type licenceFile struct {
	name string // from the root of the module
	text string
}

const (
	ours       = "github.com/dockerarchive/dockerarchive"
	goStandard = "std" // how Go and scanners call the module of its library
)

// listed is the output of go list for a package.
type listed struct {
	ImportPath, Dir string
	Standard        bool
	Imports         []string
	Module          *struct{ Path, Version, Dir, Sum string }
}

func (l listed) module() string {
	if l.Standard {
		return goStandard
	}
	return l.Module.Path
}

// linked returns the modules that the command for a platform is made of, but for our own two.
func (d *dist) linked(ctx context.Context, p platform) ([]linkedModule, error) {
	out, err := output(ctx, d.module(), p.environment(), "go", "list", "-deps", "-tags", tags, "-json=ImportPath,Dir,Standard,Imports,Module", "./cmd/"+command)
	if err != nil {
		return nil, err
	}
	packages := map[string]listed{}
	for decoder := json.NewDecoder(strings.NewReader(out)); ; {
		var l listed
		if err := decoder.Decode(&l); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, fmt.Errorf("reading what go list says: %w", err)
		}
		if !l.Standard && l.Module == nil {
			return nil, fmt.Errorf("package %s is of no module", l.ImportPath)
		}
		packages[l.ImportPath] = l
	}
	modules := map[string]*linkedModule{}
	for _, name := range slices.Sorted(maps.Keys(packages)) {
		l := packages[name]
		m := modules[l.module()]
		if m == nil {
			if m, err = d.newModule(ctx, l); err != nil {
				return nil, err
			}
			modules[l.module()] = m
		}
		if err := m.add(l, packages); err != nil {
			return nil, err
		}
	}
	var linked []linkedModule
	for _, path := range slices.Sorted(maps.Keys(modules)) {
		m := modules[path]
		if err := m.identify(); err != nil {
			return nil, err
		}
		linked = append(linked, *m)
	}
	return linked, nil
}

func (d *dist) newModule(ctx context.Context, l listed) (*linkedModule, error) {
	switch {
	case l.Standard:
		out, err := output(ctx, d.module(), nil, "go", "env", "GOVERSION", "GOROOT")
		if err != nil {
			return nil, err
		}
		version, root, _ := strings.Cut(out, "\n")
		m := &linkedModule{path: goStandard, version: strings.TrimPrefix(version, "go")}
		return m, m.read(root, root)
	case isOurs(l.Module.Path):
		return &linkedModule{path: l.Module.Path, version: d.tag}, nil
	}
	return &linkedModule{path: l.Module.Path, version: l.Module.Version, sum: l.Module.Sum}, nil
}

func isOurs(path string) bool { return path == ours || strings.HasPrefix(path, ours+"/") }

// add adds a package to its module.
func (m *linkedModule) add(l listed, packages map[string]listed) error {
	for _, imported := range l.Imports {
		if to, ok := packages[imported]; ok && to.module() != m.path && !slices.Contains(m.needs, to.module()) {
			m.needs = append(m.needs, to.module())
		}
	}
	slices.Sort(m.needs)
	if l.Standard || isOurs(m.path) {
		return nil // Go's own is read from the root of Go, and ours is LICENSE.
	}
	for dir := l.Dir; ; dir = filepath.Dir(dir) {
		if err := m.read(l.Module.Dir, dir); err != nil {
			return err
		}
		if dir == l.Module.Dir || len(dir) <= len(l.Module.Dir) {
			return nil
		}
	}
}

// licenceName are names of files that must go along with the code beside them.
var licenceName = regexp.MustCompile(`(?i)^(un)?(licen[cs]e|copying|copyright|notice|patents)s?([-._].*)?$`)

// read adds the licences of a folder, each once.
func (m *linkedModule) read(root, dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if !entry.Type().IsRegular() || !licenceName.MatchString(entry.Name()) || strings.HasSuffix(entry.Name(), ".go") {
			continue
		}
		path := filepath.Join(dir, entry.Name())
		relative, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		name := filepath.ToSlash(relative)
		if slices.ContainsFunc(m.files, func(f licenceFile) bool { return f.name == name }) {
			continue
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		m.files = append(m.files, licenceFile{name, strings.ReplaceAll(string(text), "\r\n", "\n")})
	}
	slices.SortFunc(m.files, func(a, b licenceFile) int { return strings.Compare(a.name, b.name) })
	return nil
}

// accepted are the licences under which a part may be linked, if its text comes along. Code under
// MPL-2.0 must also be available as source, which NOTICES says; CC-BY-SA-4.0 is for documentation.
var accepted = []string{
	"0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "CC-BY-SA-4.0", "CC0-1.0", "ISC", "MIT", "MPL-2.0", "Unlicense", "Zlib",
}

// identify finds out which licences a module has. Without one, or with one that is not accepted,
// the module does not ship.
func (m *linkedModule) identify() error {
	if isOurs(m.path) {
		m.licences = []string{license}
		return nil
	}
	for _, f := range m.files {
		for _, match := range licensecheck.Scan([]byte(f.text)).Match {
			switch {
			case match.IsURL, match.ID == "GooglePatentClause", match.ID == "GooglePatentsFile": // A grant on top of the licence.
			case !slices.Contains(accepted, match.ID):
				return fmt.Errorf("%s %s has the licence %s in %s, which is not among %v", m.path, m.version, match.ID, f.name, accepted)
			case !slices.Contains(m.licences, match.ID):
				m.licences = append(m.licences, match.ID)
			}
		}
	}
	slices.Sort(m.licences)
	if len(m.licences) == 0 {
		return fmt.Errorf("%s %s has no licence that is known, in %d files", m.path, m.version, len(m.files))
	}
	return nil
}

// noticesOf returns the licences and notices of all that is linked. A text of several modules is
// included once.
func noticesOf(linked []linkedModule) []byte {
	of := map[string][]string{} // text: the modules that have it
	var order []string
	for _, m := range linked {
		for _, f := range m.files {
			if of[f.text] == nil {
				order = append(order, f.text)
			}
			of[f.text] = append(of[f.text], fmt.Sprintf("%s %s (%s)", m.path, m.version, f.name))
		}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s links code of other projects. Their licences and notices follow.\n"+
		"The source of each module is at https://pkg.go.dev/MODULE@VERSION.\n", command)
	for _, text := range order {
		fmt.Fprintf(&b, "\n%s\n%s\n%[1]s\n\n%[3]s\n", strings.Repeat("=", 78), strings.Join(of[text], "\n"), strings.TrimSpace(text))
	}
	return []byte(b.String())
}
