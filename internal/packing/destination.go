package packing

import (
	"fmt"
	"strings"

	"github.com/dockerarchive/dockerarchive/internal/layertar"
)

// packOnly packs one file of a directory, under the prefix itself.
func (p *packer) packOnly(d directory, name string) error {
	prefix, err := layertar.Clean(p.options.Prefix)
	if err != nil {
		return fmt.Errorf("destination %q: %w", p.options.Prefix, err)
	}
	if prefix == "" || reserved(prefix) {
		return fmt.Errorf("destination %q: it is the name of no file", p.options.Prefix)
	}
	p.writer.newOwner = p.options.NewOwner
	if p.options.Exactly {
		p.at, err = p.writer.place(prefix)
	} else {
		p.at, err = p.writer.placeFile(prefix, name)
	}
	if above, _ := layertar.Split(p.at); err == nil && above != "" { // At the root, that alone reads no layer.
		err = p.writer.replaceable(p.at)
	}
	if err != nil {
		return fmt.Errorf("destination %q: %w", p.options.Prefix, err)
	}
	info, err := d.stat(name)
	switch {
	case err != nil:
		return err
	case info.IsDir():
		return fmt.Errorf("pack %s: it is a directory", d.full(name))
	case info.Mode().IsRegular():
		return p.packFile(d, name, "", info)
	}
	return p.packOther(d, name, "", info)
}

// packAbove packs the directory that the contents were to go to, if they did not need it.
func (p *packer) packAbove(d directory) error {
	info, _, err := d.self()
	if err != nil {
		return err
	}
	h, err := p.header("", info, nil)
	if err != nil {
		return fmt.Errorf("pack %s: %w", d.full(""), err)
	}
	return p.writer.writeParents(p.at, h.ModTime)
}

// checkPlace returns an error if a file of a directory is to replace a directory.
func (p *packer) checkPlace(path string) error {
	if !p.options.Follow || path == "" {
		return nil
	}
	return p.writer.replaceable(p.name(path))
}

// follow has a directory packed where a link leads that is in its place below.
func (p *packer) follow(path string) error {
	name := p.name(path)
	own, below, err := p.writer.find(name)
	if err != nil || own == nil && below == nil || own != nil && own.isDir() || below != nil && below.IsDir() {
		return err
	}
	at, err := p.writer.resolve(name)
	if err != nil {
		return err
	}
	if dir, err := p.writer.isDir(at); err != nil {
		return err
	} else if !dir && at != name {
		return fmt.Errorf("%q is a symbolic link to no directory in the layers below", name)
	} else if !dir {
		return fmt.Errorf("%q is not a directory in the layers below", name)
	}
	p.from, p.at = path, at
	return nil
}

// name returns the path in the image of a path in the directory.
func (p *packer) name(path string) string {
	below := strings.TrimPrefix(strings.TrimPrefix(path, p.from), "/")
	if p.at == "" || below == "" {
		return p.at + below
	}
	return layertar.Join(p.at, below)
}
