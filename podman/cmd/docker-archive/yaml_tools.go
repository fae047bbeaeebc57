package main

import (
	"regexp"
	"slices"
	"strings"

	"go.podman.io/image/v5/docker/reference"
	"go.yaml.in/yaml/v3"
)

// The documents of tools that carry images, each by its own rules. A field of an image that
// is not known here is refused: it may lead to another image than its author meant.

// zarf takes the images of the components of a package of Zarf, for the architecture that the
// component or the package is for.
func (s *yamlSearch) zarf(root *yaml.Node) error {
	packaged := text(valueOf(valueOf(root, "metadata"), "architecture"))
	components := slices.Concat(items(valueOf(root, "components")), items(valueOf(root, "variants")))
	if component := valueOf(root, "component"); component != nil {
		components = append(components, component)
	}
	for _, component := range components {
		for _, key := range []string{"import", "imageArchives", "imageTars"} {
			if value := valueOf(component, key); value != nil {
				s.refuse(value, "%s of component %q has images that are elsewhere: take it out, and give them as well", key, text(valueOf(component, "name")))
			}
		}
		platform := zarfPlatform(component, packaged)
		for _, image := range items(valueOf(component, "images")) {
			if image.Kind == yaml.MappingNode {
				if !s.known(image, "name", "name", "source") {
					continue
				}
				if source := valueOf(image, "source"); source != nil && text(source) != "registry" {
					s.refuse(source, "image %q comes from %q: give it as docker-daemon:NAME", text(valueOf(image, "name")), text(source))
					continue
				}
				image = valueOf(image, "name")
			}
			if err := s.add(image, platform); err != nil {
				return err
			}
		}
	}
	return nil
}

// zarfPlatform returns the platform of a component's images, or empty.
func zarfPlatform(component *yaml.Node, packaged string) string {
	only := text(valueOf(valueOf(valueOf(component, "only"), "cluster"), "architecture"))
	if only == "" {
		only = text(valueOf(valueOf(component, "target"), "architecture"))
	}
	if only == "" {
		only = packaged
	}
	if only == "" || only == "multi" || strings.Contains(only, "#") {
		return ""
	}
	return "linux/" + only
}

// hauler takes the images of a manifest of hauler.
func (s *yamlSearch) hauler(root *yaml.Node) error {
	kind := valueOf(root, "kind")
	spec := valueOf(root, "spec")
	switch text(kind) {
	case "Images":
		return s.haulerImages(root)
	case "Charts":
		for _, chart := range items(valueOf(spec, "charts")) {
			if added := valueOf(chart, "add-images"); text(added) == "true" {
				s.refuse(added, "the images of chart %q are not looked for: give what helm template prints", text(valueOf(chart, "name")))
			}
		}
		s.note(kind, "%s are no images, and are not saved", text(kind))
	case "Files":
		s.note(kind, "%s are no images, and are not saved", text(kind))
	case "ImageTxts":
		for _, list := range items(valueOf(spec, "imageTxts")) {
			s.refuse(list, "the list %q is not read: give it with --from-file", text(valueOf(list, "ref")))
		}
	default:
		s.refuse(root, "what %s of hauler names is not taken: give the images by their names", text(kind))
	}
	return nil
}

func (s *yamlSearch) haulerImages(root *yaml.Node) error {
	const prefix = "hauler.dev/"
	annotations := valueOf(valueOf(root, "metadata"), "annotations")
	for _, key := range keys(annotations) {
		field, ours := strings.CutPrefix(key.Value, prefix)
		if ours && !slices.Contains([]string{"platform", "registry", "exclude-extras"}, field) {
			s.refuse(key, "annotation %s is not followed: %s", key.Value, verifyInstead)
			return nil
		}
	}
	platform, registry := text(valueOf(annotations, prefix+"platform")), text(valueOf(annotations, prefix+"registry"))
	for _, image := range items(valueOf(valueOf(root, "spec"), "images")) {
		if !s.known(image, "name", "name", "platform", "rewrite", "exclude-extras", "local") {
			continue
		}
		a := argument{text: text(valueOf(image, "name")), platform: platform}
		if own := text(valueOf(image, "platform")); own != "" {
			a.platform = own
		}
		if a.platform == "all" {
			a.platform = ""
		}
		switch local := text(valueOf(image, "local")) == "true"; {
		case local:
			s.refuse(image, "image %q is local: give it as docker-daemon:%s", a.text, a.text)
			continue
		case registry != "" && !namesRegistry(a.text):
			a.text = strings.TrimSuffix(registry, "/") + "/" + a.text
		}
		if rewrite := strings.TrimPrefix(text(valueOf(image, "rewrite")), "/"); rewrite != "" {
			var ok bool
			if a.name, ok = withTagOf(a.text, rewrite); !ok {
				s.refuse(valueOf(image, "rewrite"), "rewrite of image %q is no name with a tag", a.text)
				continue
			}
		}
		if err := s.addArgument(image, a); err != nil {
			return err
		}
	}
	return nil
}

// verifyInstead says how to check signatures, which tools do while they fetch.
const verifyInstead = "to check signatures, take it out, save with --referrers, and use 'docker-archive verify --key'"

// withTagOf returns a name with, if it has none, the tag of the image that it is for.
func withTagOf(image, name string) (string, bool) {
	named, err := reference.ParseNormalizedNamed(name)
	if err != nil || !reference.IsNameOnly(named) {
		return name, err == nil
	}
	of, err := reference.ParseNormalizedNamed(image)
	if err != nil {
		return name, true // It is the image that is wrong.
	}
	tagged, ok := reference.TagNameOnly(of).(reference.Tagged)
	if !ok {
		return "", false
	}
	return name + ":" + tagged.Tag(), true
}

// namesRegistry reports whether a name begins with a registry.
func namesRegistry(name string) bool {
	host, _, ok := strings.Cut(name, "/")
	return ok && (strings.ContainsAny(host, ".:") || host == "localhost" || host != strings.ToLower(host))
}

// ocMirror takes the additional images of an image set of oc-mirror, without those that it
// blocks.
func (s *yamlSearch) ocMirror(root *yaml.Node) error {
	mirror := valueOf(root, "mirror")
	for _, key := range keys(mirror) {
		switch key.Value {
		case "additionalImages", "blockedImages":
		default:
			if value := resolved(valueOf(mirror, key.Value)); value != nil && len(value.Content) > 0 {
				s.refuse(key, "mirror.%s names images that only oc-mirror finds: take it out, and mirror it with oc-mirror", key.Value)
			}
		}
	}
	var blocked []*regexp.Regexp
	for _, image := range items(valueOf(mirror, "blockedImages")) {
		pattern, err := regexp.Compile(text(valueOf(image, "name")))
		if err != nil {
			return usagef("%s: blockedImages: %w", s.place(image), err)
		}
		blocked = append(blocked, pattern)
	}
	for _, image := range items(valueOf(mirror, "additionalImages")) {
		if !s.known(image, "name", "name", "targetRepo", "targetTag") {
			continue
		}
		a := argument{text: text(valueOf(image, "name"))}
		if slices.ContainsFunc(blocked, func(p *regexp.Regexp) bool { return p.MatchString(a.text) }) {
			s.note(image, "image %q is one of blockedImages, and is not saved", a.text)
			continue
		}
		if repo, tag := text(valueOf(image, "targetRepo")), text(valueOf(image, "targetTag")); repo != "" || tag != "" {
			var err error
			if a.name, err = targeted(a.text, repo, tag); err != nil {
				return usagef("%s: image %q: %w", s.place(image), shortened(a.text), err)
			}
		}
		if err := s.addArgument(image, a); err != nil {
			return err
		}
	}
	return nil
}

// targeted returns the name of an image with another path or tag, if they are given.
func targeted(image, path, tag string) (string, error) {
	named, err := reference.ParseNormalizedNamed(image)
	if err != nil {
		return "", err
	}
	target := reference.TrimNamed(named)
	if path != "" {
		if target, err = reference.WithName(reference.Domain(named) + "/" + path); err != nil {
			return "", err
		}
	}
	if tag == "" {
		switch named := named.(type) {
		case reference.Tagged:
			tag = named.Tag()
		case reference.Digested:
			return target.Name() + "@" + named.Digest().String(), nil
		default:
			return reference.TagNameOnly(target).String(), nil
		}
	}
	tagged, err := reference.WithTag(target, tag)
	if err != nil {
		return "", err
	}
	return tagged.String(), nil
}

// isKustomization reports whether a document is a kustomization.yaml, which may go without
// a kind.
func isKustomization(root *yaml.Node, group, kind string) bool {
	if group == "kustomize.config.k8s.io" {
		return true
	}
	if group != "" || kind != "" {
		return false
	}
	images := items(valueOf(root, "images"))
	return len(images) > 0 && !slices.ContainsFunc(images, func(image *yaml.Node) bool {
		return valueOf(image, "newName") == nil && valueOf(image, "newTag") == nil && valueOf(image, "digest") == nil
	})
}

// kustomize takes the images that a kustomization puts in the place of others.
func (s *yamlSearch) kustomize(root *yaml.Node) error {
	for _, image := range items(valueOf(root, "images")) {
		if !s.known(image, "name", "name", "newName", "newTag", "tagSuffix", "digest") {
			continue
		}
		name := text(valueOf(image, "newName"))
		if name == "" {
			name = text(valueOf(image, "name"))
		}
		tag, digest := valueOf(image, "newTag"), text(valueOf(image, "digest"))
		switch {
		case tag != nil && tag.Tag != "!!str" && tag.Tag != "!!null":
			s.refuse(tag, "newTag of image %q is a number to kustomize: put %s in quotation marks", name, tag.Value)
			continue
		case text(tag) == "" && digest == "":
			s.refuse(image, "image %q has neither newTag nor digest, and its tag is in the resources: give what kustomize build prints", name)
			continue
		}
		if t := text(tag); t != "" {
			name += ":" + t
		}
		if digest != "" {
			name += "@" + digest
		}
		if err := s.addText(image, name, ""); err != nil {
			return err
		}
	}
	for _, key := range keys(root) {
		if slices.Contains([]string{"resources", "bases", "components", "helmCharts", "generators"}, key.Value) {
			s.note(key, "images of %s that the kustomization does not change are not saved: kustomize build DIR | docker-archive save --from-yaml - …", key.Value)
			break
		}
	}
	return nil
}

// known reports whether all fields of an image are among fields. Else it refuses the image.
func (s *yamlSearch) known(image *yaml.Node, name string, fields ...string) bool {
	if resolved(image).Kind != yaml.MappingNode {
		s.refuse(image, "an image should be an object with a field %q", name)
		return false
	}
	for _, key := range keys(image) {
		if key.Tag == "!!merge" || slices.Contains(fields, key.Value) {
			continue
		}
		instead := "take it out if the image is the same without it"
		if key.Value == "key" || strings.HasPrefix(key.Value, "certificate-") || key.Value == "use-tlog-verify" {
			instead = verifyInstead
		}
		s.refuse(key, "field %q of image %q is not followed: %s", shortened(key.Value), shortened(text(valueOf(image, name))), instead)
		return false
	}
	return true
}

// items returns the items of a list, or nothing for another node.
func items(node *yaml.Node) []*yaml.Node {
	node = resolved(node)
	if node == nil || node.Kind != yaml.SequenceNode {
		return nil
	}
	all := make([]*yaml.Node, len(node.Content))
	for i, item := range node.Content {
		all[i] = resolved(item)
	}
	return all
}

// keys returns the keys of a mapping.
func keys(node *yaml.Node) []*yaml.Node {
	node = resolved(node)
	if node == nil || node.Kind != yaml.MappingNode {
		return nil
	}
	var all []*yaml.Node
	for i := 0; i < len(node.Content); i += 2 {
		all = append(all, node.Content[i])
	}
	return all
}
