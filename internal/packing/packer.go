package packing

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"github.com/moby/patternmatcher"
	"github.com/moby/patternmatcher/ignorefile"

	"github.com/dockerarchive/dockerarchive/internal/layertar"
)

// packer packs one directory.
type packer struct {
	writer  *Writer
	options Options
	from    string                         // a directory below the one that is packed
	at      string                         // where its contents go
	match   *patternmatcher.PatternMatcher // nil: nothing is left out
	base    *comparison                    // nil: everything is packed
	scanned *layertar.Tree                 // unless nil, gets all files, and nothing is written

	links   map[fileID]*tar.Header // of files that have several names, once they are written
	pending []*tar.Header          // of directories that have an entry only if something in them has
}

// pack packs a directory, or its difference to a base, and closes it.
func (w *Writer) pack(d directory, options Options, base *comparison) error {
	return w.walk(d, &packer{writer: w, options: options, base: base, links: map[fileID]*tar.Header{}})
}

// walk has a directory packed, and closes it.
func (w *Writer) walk(d directory, p *packer) error {
	defer d.close()
	w.newOwner = p.options.NewOwner
	prefix, err := layertar.Clean(p.options.Prefix)
	if err == nil {
		p.at, err = w.resolve(prefix)
	}
	if err != nil {
		return fmt.Errorf("destination %q: %w", p.options.Prefix, err)
	}
	if len(p.options.Exclude) > 0 {
		// As lines of a .dockerignore: comments are skipped, a leading slash is taken away.
		patterns, err := ignorefile.ReadAll(strings.NewReader(strings.Join(p.options.Exclude, "\n")))
		if err == nil {
			p.match, err = patternmatcher.New(patterns)
		}
		if err != nil {
			return fmt.Errorf("patterns of what is left out: %w", err)
		}
	}
	if err := p.packRoot(d); err != nil {
		return err
	}
	if err := p.packContents(d, "", patternmatcher.MatchInfo{}); err != nil || !p.options.Follow {
		return err
	}
	return p.packAbove(d)
}

// packRoot packs the entry of the directory itself.
func (p *packer) packRoot(d directory) error {
	if !p.options.Root {
		return nil
	}
	info, xattrs, err := d.self()
	if err != nil {
		return err
	}
	h, err := p.header("", info, xattrs)
	if err != nil {
		return fmt.Errorf("pack %s: %w", d.full(""), err)
	}
	if p.base != nil && p.base.has(h) {
		p.pending = append(p.pending, h)
		return nil
	}
	return p.write(h, nil)
}

// packContents packs the files in a directory whose path below the one that is packed
// is dir.
func (p *packer) packContents(d directory, dir string, above patternmatcher.MatchInfo) error {
	names, err := d.list()
	if err != nil {
		return err
	}
	if p.base != nil {
		if err := p.packRemoved(names, dir, above); err != nil {
			return err
		}
	}
	for _, name := range names {
		if err := p.packChild(d, dir, name, above); err != nil {
			return err
		}
	}
	return nil
}

// packChild packs a file, with its content if it is a directory.
func (p *packer) packChild(d directory, dir, name string, above patternmatcher.MatchInfo) error {
	if err := p.writer.ctx.Err(); err != nil {
		return err
	}
	path := layertar.Join(dir, name)
	excluded, matched, err := p.excluded(path, above)
	if err != nil || excluded && !p.match.Exclusions() {
		return err
	}
	info, err := d.stat(name)
	if err != nil {
		return err
	}
	if excluded && !info.IsDir() {
		return nil
	}
	if reserved(name) {
		return fmt.Errorf("pack %s: %w", d.full(name), ErrReserved)
	}
	switch {
	case info.IsDir():
		err = p.packDir(d, name, path, info, excluded, matched)
	case info.Mode().IsRegular():
		err = p.packFile(d, name, path, info)
	default:
		err = p.packOther(d, name, path, info)
	}
	if errors.Is(err, errSocket) {
		if p.options.Skipped != nil && !p.writer.planning {
			p.options.Skipped(d.full(name))
		}
		return nil
	}
	return err
}

// excluded reports whether a path is left out, by itself or with a directory.
func (p *packer) excluded(path string, above patternmatcher.MatchInfo) (bool, patternmatcher.MatchInfo, error) {
	if p.match == nil {
		return false, above, nil
	}
	excluded, matched, err := p.match.MatchesUsingParentResults(path, above)
	if err != nil {
		return false, matched, fmt.Errorf("patterns of what is left out, for %q: %w", path, err)
	}
	return excluded, matched, nil
}

// packDir packs a directory.
func (p *packer) packDir(d directory, name, path string, info fs.FileInfo, excluded bool, matched patternmatcher.MatchInfo) error {
	sub, err := d.enter(name, info)
	if err != nil {
		return err
	}
	defer sub.close()
	_, xattrs, err := sub.self()
	if err != nil {
		return err
	}
	if p.options.Follow {
		defer func(from, at string) { p.from, p.at = from, at }(p.from, p.at)
		if err := p.follow(path); err != nil {
			return fmt.Errorf("pack %s: %w", d.full(name), err)
		}
	}
	h, err := p.header(path, info, xattrs)
	if err != nil {
		return fmt.Errorf("pack %s: %w", d.full(name), err)
	}
	waiting := len(p.pending)
	if excluded || p.base != nil && p.base.has(h) {
		p.pending = append(p.pending, h)
	} else if err := p.write(h, nil); err != nil {
		return err
	}
	err = p.packContents(sub, path, matched)
	p.pending = p.pending[:min(waiting, len(p.pending))] // No entry in it has needed it.
	return err
}

// packFile packs a regular file.
func (p *packer) packFile(d directory, name, path string, info fs.FileInfo) error {
	id := identify(info)
	first := p.links[id.fileID]
	if first != nil && id.links > 1 && p.base == nil {
		return p.packLink(path, first)
	}
	if err := p.checkPlace(path); err != nil {
		return fmt.Errorf("pack %s: %w", d.full(name), err)
	}
	if p.writer.planning && p.base == nil { // Its attributes and contents do not matter.
		h, err := p.header(path, info, nil)
		if err != nil {
			return fmt.Errorf("pack %s: %w", d.full(name), err)
		}
		return p.write(h, nil)
	}
	f, err := d.open(name)
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // It was only read.
	xattrs, err := d.fileXattrs(f)
	if err != nil {
		return err
	}
	h, err := p.header(path, info, xattrs)
	if err != nil {
		return fmt.Errorf("pack %s: %w", d.full(name), err)
	}
	if p.base != nil && p.base.has(h) {
		if same, err := p.base.hasContent(h, path, func() (fs.File, error) { return d.open(name) }, p.options.KeepsTimes()); same || err != nil {
			return err
		}
	}
	if first != nil && id.links > 1 {
		return p.packLink(path, first)
	}
	if p.scanned != nil {
		return p.write(h, nil)
	}
	if err := p.write(h, f); err != nil {
		return fmt.Errorf("pack %s: %w", d.full(name), err)
	}
	if !p.writer.keeps(h.Name) {
		return nil
	}
	if err := p.checkSame(f, info); err != nil {
		return fmt.Errorf("pack %s: %w", d.full(name), err)
	}
	if id.links > 1 {
		p.links[id.fileID] = h
	}
	return nil
}

// checkSame returns an error if a file has changed while it was read to the size that
// it had.
func (p *packer) checkSame(f fs.File, before fs.FileInfo) error {
	after, err := f.Stat()
	if err != nil {
		return err
	}
	if !isSame(before, after) {
		return ErrChanged
	}
	if n, err := f.Read(make([]byte, 1)); n > 0 {
		return fmt.Errorf("it is longer than it says: %w", ErrChanged)
	} else if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	return nil
}

// packLink packs another name of a file.
func (p *packer) packLink(path string, first *tar.Header) error {
	h := *first
	h.Name, h.Typeflag, h.Linkname = p.name(path), tar.TypeLink, first.Name
	h.Size, h.PAXRecords = 0, nil
	return p.write(&h, nil)
}

// packOther packs a file that is neither a directory nor a regular file.
func (p *packer) packOther(d directory, name, path string, info fs.FileInfo) error {
	id := identify(info)
	if first := p.links[id.fileID]; first != nil && id.links > 1 && p.base == nil {
		return p.packLink(path, first)
	}
	if err := p.checkPlace(path); err != nil {
		return fmt.Errorf("pack %s: %w", d.full(name), err)
	}
	xattrs, err := d.xattrs(name)
	if err != nil {
		return err
	}
	h, err := p.header(path, info, xattrs)
	if err != nil {
		return fmt.Errorf("pack %s: %w", d.full(name), err)
	}
	if h.Typeflag == tar.TypeSymlink {
		if h.Linkname, err = d.readLink(name); err != nil {
			return err
		}
	}
	if p.base != nil && p.base.has(h) {
		return nil
	}
	if err := p.write(h, nil); err != nil {
		return err
	}
	if id.links > 1 && p.scanned == nil && p.writer.keeps(h.Name) {
		p.links[id.fileID] = h
	}
	return nil
}

// header returns the header of a file with a path below the directory that is packed.
func (p *packer) header(path string, info fs.FileInfo, xattrs map[string]string) (*tar.Header, error) {
	h, err := newHeader(p.name(path), info, identify(info))
	if err != nil {
		return nil, err
	}
	if err := setXattrs(h, xattrs); err != nil {
		return nil, err
	}
	return h, p.options.Apply(h)
}

// write writes an entry, after those of directories that have waited for one.
func (p *packer) write(h *tar.Header, content io.Reader) error {
	if p.scanned != nil {
		p.scanned.Add(layertar.Entry{Header: h})
		return nil
	}
	if err := p.writePending(); err != nil {
		return err
	}
	return p.writer.write(h, content)
}

// remove removes the files that the base of a difference has under a path.
func (p *packer) remove(path string) error {
	if err := p.writePending(); err != nil {
		return err
	}
	return p.writer.hide(path)
}

// writePending writes the entries of directories that have waited for one.
func (p *packer) writePending() error {
	for _, dir := range p.pending {
		if err := p.writer.write(dir, nil); err != nil {
			return err
		}
	}
	p.pending = p.pending[:0]
	return nil
}
