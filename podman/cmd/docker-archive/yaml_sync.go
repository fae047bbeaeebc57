package main

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/Masterminds/semver/v3"
	"github.com/opencontainers/go-digest"
	"go.podman.io/image/v5/docker"
	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/types"
	"go.yaml.in/yaml/v3"

	"github.com/dockerarchive/dockerarchive/podman/copying"
)

// tagRule says which tags of a repository are meant.
type tagRule struct {
	text  string // as it is written, empty for all tags
	takes func(tag string) bool
}

// access is how a registry is reached, where a file says it.
type access struct {
	auth      *types.DockerAuthConfig
	tlsVerify types.OptionalBool
	certDir   string

	made map[*types.SystemContext]*types.SystemContext
}

// context returns the context for a registry: sys with what the file says. It is the same
// one each time.
func (a *access) context(sys *types.SystemContext) *types.SystemContext {
	if a == nil {
		return sys
	}
	if own := a.made[sys]; own != nil {
		return own
	}
	own := *sys
	if a.auth != nil {
		own.DockerAuthConfig, own.DockerBearerRegistryToken = a.auth, ""
	}
	if a.certDir != "" {
		own.DockerCertPath = a.certDir
	}
	if a.tlsVerify != types.OptionalBoolUndefined {
		own.DockerInsecureSkipTLSVerify = types.NewOptionalBool(a.tlsVerify == types.OptionalBoolFalse)
	}
	a.made = map[*types.SystemContext]*types.SystemContext{sys: &own}
	return &own
}

// syncImages are the keys under which a registry of 'skopeo sync' has repositories.
var syncImages = []string{"images", "images-by-tag-regex", "images-by-semver"}

// isSync reports whether a document is input of 'skopeo sync --src yaml': registries, each
// with its images.
func isSync(root *yaml.Node) bool {
	some := false
	for _, key := range keys(root) {
		if !strings.ContainsAny(key.Value, ".:") && key.Value != "localhost" {
			return false
		}
		for _, images := range syncImages {
			some = some || valueOf(valueOf(root, key.Value), images) != nil
		}
	}
	return some
}

// sync takes the same images as 'skopeo sync': tags and digests, all tags of a repository
// with none, and tags that fit a regular expression or a range of versions.
func (s *yamlSearch) sync(root *yaml.Node) error {
	for _, key := range keys(root) {
		registry := valueOf(root, key.Value)
		reached, err := s.syncAccess(key.Value, registry)
		if err != nil {
			return err
		}
		for _, kind := range syncImages {
			repositories := valueOf(registry, kind)
			for _, name := range keys(repositories) {
				repository, err := reference.ParseNormalizedNamed(key.Value + "/" + name.Value)
				if err != nil || !reference.IsNameOnly(repository) {
					return usagef("%s: %q is not the name of a repository in %s", s.place(name), shortened(name.Value), shortened(key.Value))
				}
				if err := s.syncRepository(kind, name, repository, valueOf(repositories, name.Value), reached); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// syncAccess returns the access to a registry, nil if the file has none.
func (s *yamlSearch) syncAccess(name string, registry *yaml.Node) (*access, error) {
	var reached access
	said := false
	for _, key := range keys(registry) {
		value := valueOf(registry, key.Value)
		switch key.Value {
		case "credentials":
			for _, field := range keys(value) {
				if field.Value != "username" && field.Value != "password" {
					return nil, usagef("%s: credentials have username and password, and not %q", s.place(field), shortened(field.Value))
				}
			}
			reached.auth = &types.DockerAuthConfig{Username: text(valueOf(value, "username")), Password: text(valueOf(value, "password"))}
		case "tls-verify":
			verify, err := strconv.ParseBool(text(value))
			if err != nil {
				return nil, usagef("%s: tls-verify is neither true nor false", s.place(key))
			}
			reached.tlsVerify = types.NewOptionalBool(verify)
		case "cert-dir":
			reached.certDir = text(value)
		default:
			if !slices.Contains(syncImages, key.Value) {
				return nil, usagef("%s: registry %s has a field %q, which 'skopeo sync' has not", s.place(key), shortened(name), shortened(key.Value))
			}
			continue
		}
		said = true
	}
	if !said {
		return nil, nil
	}
	return &reached, nil
}

// syncRepository takes the images of a repository.
func (s *yamlSearch) syncRepository(kind string, name *yaml.Node, repository reference.Named, value *yaml.Node, reached *access) error {
	all := argument{text: docker.Transport.Name() + "://" + repository.String(), place: s.place(name), access: reached}
	rule := text(value)
	switch kind {
	case "images-by-tag-regex":
		pattern, err := regexp.Compile(rule)
		if err != nil || rule == "" {
			return usagef("%s: the expression for tags of %s: %w", all.place, name.Value, err)
		}
		all.tags = &tagRule{rule, pattern.MatchString}
	case "images-by-semver":
		versions, err := semver.NewConstraint(rule)
		if err != nil {
			return usagef("%s: the versions of %s: %w", all.place, name.Value, err)
		}
		all.tags = &tagRule{rule, func(tag string) bool {
			version, err := semver.NewVersion(tag)
			return err == nil && versions.Check(version)
		}}
	default:
		if value.Kind != yaml.SequenceNode && value.Tag != "!!null" {
			return usagef("%s: the tags of %s should be a list", all.place, name.Value)
		}
		if len(value.Content) == 0 {
			all.tags = &tagRule{"", func(string) bool { return true }}
		}
	}
	if all.tags != nil {
		s.images = append(s.images, all)
		return nil
	}
	for _, tag := range items(value) {
		image := repository.String() + ":" + text(tag)
		if _, err := digest.Parse(text(tag)); err == nil {
			image = repository.String() + "@" + text(tag)
		}
		if err := s.addArgument(tag, argument{text: image, access: reached}); err != nil {
			return err
		}
	}
	return nil
}

// tagged returns the images of a repository under the tags that a file means.
func (o *saveOptions) tagged(ctx context.Context, sys *types.SystemContext, arg argument, said func(error)) ([]copying.SaveImage, error) {
	repository, err := reference.ParseNormalizedNamed(strings.TrimPrefix(arg.text, docker.Transport.Name()+"://"))
	if err != nil {
		return nil, err
	}
	images, err := o.allOf(ctx, sys, docker.Transport, repository, said)
	if err != nil {
		return nil, err
	}
	images = slices.DeleteFunc(images, func(img copying.SaveImage) bool {
		tag, ok := img.Name.(reference.Tagged)
		return !ok || !arg.tags.takes(tag.Tag())
	})
	if len(images) == 0 {
		return nil, fmt.Errorf("no tag of %s is one of %q", repository, shortened(arg.tags.text))
	}
	return images, nil
}
