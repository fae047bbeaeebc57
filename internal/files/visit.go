package files

import (
	"context"
	"io"
)

// plan lists files with content and hard links of a tree, in the order of Visit.
type plan struct {
	files []*File         // with content, as Sort sorts them
	first map[*File]first // for everything but directories
	links []*Entry        // other paths of files
}

// first is the path under which a file is written as a file, not as a link. For a file with content
// it is the path of its own entry, if the tree has that.
type first struct {
	path string
	link bool
}

// plan calls empty for each entry without content, and plans the others. A root without an entry
// is left out.
func (t *Tree) plan(ctx context.Context, from *Entry, empty func(*Entry) error) (*plan, error) {
	p := &plan{first: map[*File]first{}}
	for e, err := range t.Walk(ctx, from) {
		if err != nil {
			return nil, err
		}
		if e.IsDir() {
			if e.Path == "" && e.File == implicit {
				continue
			}
			if err := empty(e); err != nil {
				return nil, err
			}
			continue
		}
		content := e.IsRegular() && e.size > 0
		switch old, ok := p.first[e.File]; {
		case !ok:
			p.first[e.File] = first{e.Path, e.link}
			if content {
				p.files = append(p.files, e.File)
			} else if err := empty(e); err != nil {
				return nil, err
			}
		case content && old.link && !e.link:
			p.first[e.File] = first{e.Path, false}
			p.links = append(p.links, &Entry{Path: old.path, File: e.File})
		default:
			p.links = append(p.links, e)
		}
	}
	Sort(p.files)
	return p, nil
}

// Visitor gets an entry and everything below it, in an order that reads the content of each layer
// in one pass.
type Visitor interface {
	// Empty gets a directory, before its content, or another entry without content.
	Empty(e *Entry) error
	// Regular gets a file with content, under the path of its own entry or, if the tree does
	// not have that path, under its first link.
	Regular(path string, f *File, content io.Reader) error
	// Link gets another path of a file, after the first.
	Link(first string, e *Entry) error
}

// Visit gives a visitor an entry and everything below it: first directories and everything else
// without content, in the order of Walk; then files with content, in the order of Sort; then hard
// links. Each layer is verified before Visit returns without an error.
func (t *Tree) Visit(ctx context.Context, from *Entry, v Visitor) error {
	plan, err := t.plan(ctx, from, v.Empty)
	if err != nil {
		return err
	}
	if err := t.visitContents(ctx, plan, plan.files, v); err != nil {
		return err
	}
	return plan.visitLinks(v)
}

// visitContents gives a visitor some of the planned files.
func (t *Tree) visitContents(ctx context.Context, p *plan, files []*File, v Visitor) error {
	return t.Contents(ctx, files, true, func(f *File, content io.Reader) error {
		return v.Regular(p.first[f].path, f, content)
	})
}

func (p *plan) visitLinks(v Visitor) error {
	for _, link := range p.links {
		if err := v.Link(p.first[link.File].path, link); err != nil {
			return err
		}
	}
	return nil
}
