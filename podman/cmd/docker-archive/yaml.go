package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"go.podman.io/image/v5/docker/reference"
	"go.yaml.in/yaml/v3"
)

// yamlImages returns the images that the documents of a YAML stream name, in their
// order and each once. docs/lists.md says where they are looked for.
func yamlImages(in io.Reader, name string) (*listing, error) {
	s := &yamlSearch{name: name, seen: map[yamlVisit]bool{}, found: map[argument]bool{}}
	for d := yaml.NewDecoder(in); ; {
		var document yaml.Node
		switch err := d.Decode(&document); {
		case errors.Is(err, io.EOF) && len(s.images)+len(s.wrong) == 0:
			return nil, usagef("%s: no image is named there", name)
		case errors.Is(err, io.EOF):
			return &s.listing, nil
		case err != nil:
			return nil, fmt.Errorf("reading the images in %s: %w", name, err)
		}
		if err := s.document(&document); err != nil {
			return nil, err
		}
	}
}

// yamlSearch looks for images in documents.
type yamlSearch struct {
	listing
	name  string
	found map[argument]bool
	seen  map[yamlVisit]bool
}

// yamlVisit is a node that has been searched. Aliases can lead to a node often, also
// from within it.
type yamlVisit struct {
	node   *yaml.Node
	custom bool
}

func (s *yamlSearch) document(document *yaml.Node) error {
	for _, root := range document.Content {
		root = resolved(root)
		if err := s.dialect(root)(root); err != nil {
			return err
		}
	}
	return nil
}

// dialect returns the function that finds the images of a document: by the rules of its
// program, or as a document of Kubernetes.
func (s *yamlSearch) dialect(root *yaml.Node) func(*yaml.Node) error {
	version, kind := text(valueOf(root, "apiVersion")), text(valueOf(root, "kind"))
	group, _, _ := strings.Cut(version, "/")
	switch {
	case strings.HasPrefix(kind, "Zarf") && (version == "" || group == "zarf.dev"):
		return s.zarf
	case strings.HasSuffix(group, ".hauler.cattle.io"):
		return s.hauler
	case kind == "ImageSetConfiguration":
		return s.ocMirror
	case isKustomization(root, group, kind):
		return s.kustomize
	case version == "" && valueOf(root, "services") != nil:
		return s.compose
	case isSync(root):
		return s.sync
	}
	return func(root *yaml.Node) error { return s.search(root, false) }
}

// compose takes the images of the services of a compose file.
func (s *yamlSearch) compose(root *yaml.Node) error {
	for _, service := range values(valueOf(root, "services")) {
		if err := s.add(valueOf(service, "image"), text(valueOf(service, "platform"))); err != nil {
			return err
		}
	}
	return nil
}

// search looks everywhere in a document of Kubernetes. custom says that it is within
// an object of a kind that is not Kubernetes' own.
func (s *yamlSearch) search(node *yaml.Node, custom bool) error {
	node = resolved(node)
	if node.Kind == yaml.MappingNode {
		if version := text(valueOf(node, "apiVersion")); version != "" {
			custom = isCustom(version)
		}
	}
	if visit := (yamlVisit{node, custom}); s.seen[visit] {
		return nil
	} else {
		s.seen[visit] = true
	}
	if node.Kind != yaml.MappingNode {
		for _, item := range node.Content {
			if err := s.search(item, custom); err != nil {
				return err
			}
		}
		return nil
	}
	for i := 0; i+1 < len(node.Content); i += 2 {
		key, value := node.Content[i].Value, resolved(node.Content[i+1])
		if err := s.field(key, value, custom); err != nil {
			return err
		}
		if err := s.search(value, custom); err != nil {
			return err
		}
	}
	return nil
}

// field takes the images that a field itself names.
func (s *yamlSearch) field(key string, value *yaml.Node, custom bool) error {
	switch {
	case (key == "containers" || key == "initContainers" || key == "ephemeralContainers") && value.Kind == yaml.SequenceNode:
		for _, container := range value.Content {
			if err := s.add(valueOf(container, "image"), ""); err != nil {
				return err
			}
		}
	case key == "volumes" && value.Kind == yaml.SequenceNode:
		for _, volume := range value.Content {
			if err := s.add(valueOf(valueOf(volume, "image"), "reference"), ""); err != nil {
				return err
			}
		}
	case custom && key == "image" && value.Kind == yaml.MappingNode:
		return s.addText(value, assembled(value), "")
	case custom && (key == "image" || key == "imageName" || strings.HasSuffix(key, "Image")) && isNameOfImage(text(value)):
		return s.add(value, "")
	}
	return nil
}

// isCustom reports whether an apiVersion is of a group that is not Kubernetes' own:
// those have no dot, as apps has, or end in k8s.io.
func isCustom(apiVersion string) bool {
	group, _, ok := strings.Cut(apiVersion, "/")
	return ok && strings.Contains(group, ".") && group != "k8s.io" && !strings.HasSuffix(group, ".k8s.io")
}

// isNameOfImage reports whether a string of unknown meaning looks like the name of an image:
// one with a tag, a digest or a path.
func isNameOfImage(s string) bool {
	_, err := reference.ParseNormalizedNamed(s)
	return err == nil && strings.ContainsAny(s, ":@/")
}

// assembled returns the name of an image that is given in parts, as in Helm's values.
func assembled(parts *yaml.Node) string {
	name := text(valueOf(parts, "repository"))
	if name == "" {
		return ""
	}
	if host := text(valueOf(parts, "registry")); host != "" {
		name = host + "/" + name
	}
	if tag := text(valueOf(parts, "tag")); tag != "" {
		name += ":" + tag
	}
	if d := text(valueOf(parts, "digest")); d != "" {
		name += "@" + d
	}
	return name
}

func (s *yamlSearch) add(node *yaml.Node, platform string) error {
	if node == nil {
		return nil
	}
	return s.addText(node, text(node), platform)
}

func (s *yamlSearch) addText(node *yaml.Node, image, platform string) error {
	return s.addArgument(node, argument{text: image, platform: platform})
}

// addArgument adds an image that a node names, once.
func (s *yamlSearch) addArgument(node *yaml.Node, a argument) error {
	image, platform := a.text, a.platform
	if image == "" { // The program that runs it will know what to do.
		return nil
	}
	if s.found[a] {
		return nil
	}
	s.found[a] = true
	a.place = s.place(node)
	switch _, err := reference.ParseNormalizedNamed(image); {
	case err != nil && strings.Contains(image, "###"):
		return usagef("%s: image %q has a variable of zarf; give its value", a.place, shortened(image))
	case err != nil && strings.Contains(image, "$"):
		return usagef("%s: image %q has a variable; give what docker compose config prints", a.place, shortened(image))
	case err != nil:
		return usagef("%s: image %q: %w", a.place, shortened(image), err)
	}
	if platform != "" {
		if _, err := parsePlatform(platform); err != nil {
			return usagef("%s: platform %q is not of the form OS/ARCH[/VARIANT]", a.place, platform)
		}
	}
	s.images = append(s.images, a)
	return nil
}

// place returns where a node is.
func (s *yamlSearch) place(node *yaml.Node) string { return fmt.Sprintf("%s:%d", s.name, node.Line) }

// refuse adds an error that says why a node's images are not taken.
func (s *yamlSearch) refuse(node *yaml.Node, format string, args ...any) {
	s.wrong = append(s.wrong, usagef("%s: %w", s.place(node), fmt.Errorf(format, args...)))
}

// note adds a note that a node is not taken.
func (s *yamlSearch) note(node *yaml.Node, format string, args ...any) {
	s.notes = append(s.notes, s.place(node)+": "+fmt.Sprintf(format, args...))
}

// resolved returns the node that an alias stands for.
func resolved(node *yaml.Node) *yaml.Node {
	if node != nil && node.Kind == yaml.AliasNode {
		return node.Alias // Never an alias itself.
	}
	return node
}

// text returns the string that a node is, empty if it is something else.
func text(node *yaml.Node) string {
	if node == nil || node.Kind != yaml.ScalarNode || node.Tag == "!!null" {
		return ""
	}
	return strings.TrimSpace(node.Value)
}

// values returns the values of a mapping.
func values(node *yaml.Node) []*yaml.Node {
	node = resolved(node)
	if node.Kind != yaml.MappingNode {
		return nil
	}
	var all []*yaml.Node
	for i := 1; i < len(node.Content); i += 2 {
		all = append(all, resolved(node.Content[i]))
	}
	return all
}

// valueOf returns the value of a key of a mapping, also of one that is merged into it
// by <<, or nil.
func valueOf(node *yaml.Node, key string) *yaml.Node {
	return merged(node, key, map[*yaml.Node]bool{})
}

// merged is valueOf that looks at no mapping twice: they may be merged into one another ten
// times on each of ten levels.
func merged(node *yaml.Node, key string, seen map[*yaml.Node]bool) *yaml.Node {
	node = resolved(node)
	if node == nil || node.Kind != yaml.MappingNode || seen[node] {
		return nil
	}
	seen[node] = true
	var merge *yaml.Node
	for i := 0; i+1 < len(node.Content); i += 2 {
		switch k := node.Content[i]; {
		case k.Value == key:
			return resolved(node.Content[i+1])
		case k.Tag == "!!merge":
			merge = resolved(node.Content[i+1])
		}
	}
	if merge == nil {
		return nil
	}
	sources := []*yaml.Node{merge}
	if merge.Kind == yaml.SequenceNode {
		sources = merge.Content
	}
	for _, source := range sources {
		if value := merged(source, key, seen); value != nil {
			return value
		}
	}
	return nil
}
