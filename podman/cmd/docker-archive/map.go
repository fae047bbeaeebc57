package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"go.podman.io/image/v5/docker"
	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/transports"
	"go.podman.io/image/v5/transports/alltransports"
	"go.podman.io/image/v5/types"

	"github.com/dockerarchive/dockerarchive/internal/printable"
	dockerarchive "github.com/dockerarchive/dockerarchive/podman"
	"github.com/dockerarchive/dockerarchive/podman/copying"
	"github.com/dockerarchive/dockerarchive/podman/internal/registries"
)

// mapUsage is the help of --map.
const mapUsage = "replace a prefix of names, a host or path, by `FROM=TO`; repeatable"

// nameMap maps names of images to new names.
type nameMap []*mapping

// mapping is one FROM=TO.
type mapping struct {
	from, to string
	used     bool
}

// parseMap parses the values of --map. The new names are below a registry, which may be
// followed by a prefix. If it is empty, they have hosts of their own.
func parseMap(values []string, below string) (nameMap, error) {
	var m nameMap
	for _, value := range values {
		from, to, ok := strings.Cut(value, "=")
		from, to = strings.TrimSuffix(from, "/"), strings.TrimSuffix(to, "/")
		if !ok || from == "" || to == "" {
			return nil, usagef("--map %q is not of the form FROM=TO", value)
		}
		if below != "" {
			to = below + "/" + strings.TrimPrefix(to, "/")
		}
		for _, part := range []string{from, to} {
			if !hasHost(part) {
				return nil, usagef("--map %q: %q does not start with the host of a registry, as docker.io is one", value, part)
			}
			if err := checkStart(part); err != nil {
				return nil, usagef("--map %q: %q: %w", value, part, err)
			}
		}
		if slices.ContainsFunc(m, func(other *mapping) bool { return other.from == from }) {
			return nil, usagef("--map has %q twice", from)
		}
		m = append(m, &mapping{from: from, to: to})
	}
	// The longest, which says most, first.
	slices.SortStableFunc(m, func(a, b *mapping) int { return len(b.from) - len(a.from) })
	return m, nil
}

// checkStart fails if no name starts with a part, which may be a name with a tag itself.
func checkStart(part string) error {
	_, err := registries.ParseNormalizedNamed(part + "/name:tag")
	if named, wholeErr := registries.ParseNormalizedNamed(part); wholeErr == nil && !reference.IsNameOnly(named) {
		return nil
	}
	return err
}

// hasHost reports whether a name starts with a host as all clients tell it.
func hasHost(name string) bool {
	host, _, _ := strings.Cut(name, "/")
	return host == "localhost" || strings.ContainsAny(host, ".:")
}

// name returns the new name of an image.
func (m nameMap) name(name reference.Named) (reference.Named, error) {
	if name == nil {
		return nil, nil
	}
	for _, mapping := range m {
		if !mapping.fits(name.String()) {
			continue
		}
		mapping.used = true
		mapped, err := registries.ParseNormalizedNamed(mapping.to + strings.TrimPrefix(name.String(), mapping.from))
		if err != nil {
			return nil, usagef("--map %s=%s: the name of %s: %w", mapping.from, mapping.to, name, err)
		}
		return mapped, nil
	}
	return name, nil
}

// fits reports whether a name starts with the mapped prefix, and that ends at a part of
// the name.
func (m *mapping) fits(name string) bool {
	rest, ok := strings.CutPrefix(name, m.from)
	after := "/:@"
	if !strings.Contains(m.from, "/") { // A host, which is another with another port.
		after = "/"
	}
	return ok && (rest == "" || strings.ContainsAny(rest[:1], after))
}

// images gives images their names.
func (m nameMap) images(images []copying.SaveImage) error {
	for i := range images {
		img := &images[i]
		var err error
		if img.Name, err = m.name(img.Name); err != nil {
			return err
		}
		img.Names = slices.Clone(img.Names)
		for j, name := range img.Names {
			if img.Names[j], err = m.name(name); err != nil {
				return err
			}
		}
	}
	return nil
}

// warn names mappings that matched nothing: a typing error leaves names as they were.
func (m nameMap) warn(stderr io.Writer) {
	for _, mapping := range m {
		if !mapping.used {
			fmt.Fprintf(stderr, "docker-archive: warning: --map: no name starts with %s\n", printable.String(mapping.from))
		}
	}
}

// mapped adds to a destination without a name that of the source, as --map has it: to
// an archive's path, or to docker://.
func (o *copyOptions) mapped(stderr io.Writer, src types.ImageReference, destination string) (string, error) {
	m, err := parseMap(o.maps, "")
	if err != nil || len(m) == 0 {
		return destination, err
	}
	source := src.DockerReference()
	if source == nil {
		return "", usagef("--map: %s has no name", transports.ImageName(src))
	}
	name, err := m.name(source)
	if err != nil {
		return "", err
	}
	m.warn(stderr)
	if destination == docker.Transport.Name()+"://" {
		return destination + name.String(), nil
	}
	dest, err := alltransports.ParseImageName(destination)
	if err != nil {
		return "", usagef("destination: %w", err)
	}
	archives := []string{dockerarchive.Transport.Name(), dockerarchive.ImageTransport.Name()}
	if dest.DockerReference() != nil || !slices.Contains(archives, dest.Transport().Name()) {
		return "", usagef("--map is for a DESTINATION without a name: an archive's path, or docker:// alone")
	}
	return destination + ":" + name.String(), nil
}
