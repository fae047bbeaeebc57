package main

import (
	"os"
	"strings"

	"go.podman.io/image/v5/docker"
	"go.podman.io/image/v5/docker/reference"

	"github.com/dockerarchive/dockerarchive/podman/copying"
)

// namedArgument splits SOURCE=NAME. Names of images have no equals sign, but paths
// may: what is there as a whole, or does not end in a name, is SOURCE.
func namedArgument(arg string) argument {
	i := strings.LastIndexByte(arg, '=')
	if i <= 0 || isPathTo(arg, i) {
		return argument{text: arg}
	}
	if _, err := reference.ParseNormalizedNamed(arg[i+1:]); err != nil {
		return argument{text: arg}
	}
	return argument{text: arg[:i], name: arg[i+1:]}
}

// listedArgument splits a line of a list: SOURCE, SOURCE NAME or SOURCE=NAME.
func listedArgument(line string) argument {
	i := strings.LastIndexAny(line, " \t")
	if i < 0 || isPathTo(line, i) {
		return namedArgument(line)
	}
	return argument{text: strings.TrimSpace(line[:i]), name: line[i+1:]}
}

// isPathTo reports whether the character at i of an argument belongs to an existing
// path.
func isPathTo(arg string, i int) bool {
	transport, rest, ok := cutTransport(arg)
	switch {
	case !ok && !strings.HasPrefix(arg, docker.Transport.Name()+":"):
		rest = arg
	case !ok || transport.Name() == dockerDaemon:
		return false
	}
	i -= len(arg) - len(rest)
	for end := len(rest); end > i && i >= 0; end = strings.LastIndexByte(rest[:end], ':') {
		if _, err := os.Lstat(rest[:end]); err == nil {
			return true
		}
	}
	return false
}

// apply gives images the name and the platform of an argument.
func (a argument) apply(o *saveOptions, images []copying.SaveImage) ([]copying.SaveImage, error) {
	if a.name != "" {
		named, err := reference.ParseNormalizedNamed(a.name)
		if err != nil {
			return nil, usagef("name %q of %s: %w", shortened(a.name), shortened(a.text), err)
		}
		if images, err = rename(images, []reference.Named{named}, a.text); err != nil {
			return nil, err
		}
	}
	if a.platform != "" && len(o.platforms) == 0 {
		p, err := parsePlatform(a.platform)
		if err != nil {
			return nil, err
		}
		for i := range images {
			images[i].Platform = &p
		}
	}
	return images, nil
}
