package files

import (
	"context"
	"io"
)

// plan is what of a tree is written after all that has no content.
type plan struct {
	files []*File         // with content, as Sort sorts them
	first map[*File]first // of all but directories
	links []*Entry        // other paths of files
}

// first is the path under which a file is written as a file: with content, that of its own
// entry, if the tree has it.
type first struct {
	path string
	link bool
}

// plan calls a function for each file without content, and plans the others. A root
// without an entry is left out.
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

// Visitor gets an entry and all that is below it, in an order in which contents can be read at
// once.
type Visitor interface {
	// Empty is told of directories before what is in them, and of all else that has no
	// content.
	Empty(e *Entry) error
	// Regular gets a file with content, under the path of its own entry or, if the tree does
	// not have that, the first of its links.
	Regular(path string, f *File, content io.Reader) error
	// Link gets another path of a file, when the first is there.
	Link(first string, e *Entry) error
}

// Visit gives a visitor an entry and all that is below it: first directories and all else that
// has no content, in the order of Walk; then files with content, in the order of Sort; then
// hard links. Each layer is verified by then, or it is an error at the end.
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
