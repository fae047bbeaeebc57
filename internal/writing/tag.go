package writing

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/dockerarchive/dockerarchive/imageinfo"
	"github.com/dockerarchive/dockerarchive/internal/layout"
	"github.com/dockerarchive/dockerarchive/internal/output"
)

// Tag gives an image in an archive in out, which is from output.Open, another name. name
// is one that it has, or @N for the image at a position; to is a reference with a tag, in
// its full form. The old name goes if rename is set. It commits or aborts out. It returns
// warnings. The error is an *errdef.NoImageError for an image that is not there; a name of
// another image is refused.
func Tag(ctx context.Context, out *output.Output, path, name, to string, rename bool, layouts []layout.Layout) ([]string, error) {
	warnings, err := tag(ctx, out, name, to, rename, layouts)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("tagging %s in %s: %w", name, path, err), out.Abort())
	}
	return warnings, out.Commit(ctx)
}

func tag(ctx context.Context, out *output.Output, name, to string, rename bool, layouts []layout.Layout) ([]string, error) {
	e, err := ReadExisting(ctx, out, layouts)
	if err != nil {
		return nil, err
	}
	img, position, err := e.tagged(ctx, name)
	if err != nil {
		return nil, err
	}
	if rename && position >= 0 && len(img.Names) > 0 {
		return nil, fmt.Errorf("the image has names already: rename one of them: %s", strings.Join(img.Names, ", "))
	}
	if err := e.free(img, position, to); err != nil {
		return nil, err
	}
	warnings := e.table.Tag(img, to)
	old := slices.DeleteFunc(slices.Clone(img.Names), func(name string) bool { return name == to })
	if rename && len(old) > 0 {
		if err := e.table.Remove(ctx, old, e.keepUntagged); err != nil {
			return nil, err
		}
	}
	return warnings, e.rewriteTail(ctx)
}

// tagged returns the image that a name means, and its position if the name is one, or -1.
func (e *Existing) tagged(ctx context.Context, name string) (layout.Tagged, int, error) {
	position, byPosition, err := parsePosition(name)
	if err != nil {
		return layout.Tagged{}, -1, err
	}
	if !byPosition {
		names, err := e.named(name)
		return layout.Tagged{Names: names}, -1, err
	}
	img, _, err := e.catalog.Choose("", position, nil)
	if err != nil {
		return layout.Tagged{}, -1, err
	}
	info, err := e.catalog.Describe(ctx, img)
	if err != nil {
		return layout.Tagged{}, -1, err
	}
	return layout.Tagged{Names: inAllForms(img.Names), Digest: info.Digest, Configs: configsOf(info)}, position, nil
}

// configsOf returns the configs of a manifest, or of all manifests of an index.
func configsOf(m imageinfo.Manifest) (configs []digest.Digest) {
	if m.Config != "" {
		configs = append(configs, m.Config)
	}
	for _, child := range m.Manifests {
		configs = append(configs, configsOf(child)...)
	}
	return configs
}

// free fails if an image other than the tagged one has a name.
func (e *Existing) free(img layout.Tagged, position int, to string) error {
	for _, other := range e.catalog.Images() {
		for _, have := range other.Names {
			if !slices.Contains(e.catalog.Aliases(to), have) || other.Position == position {
				continue
			}
			if position < 0 && slices.ContainsFunc(other.Names, func(n string) bool { return slices.Contains(img.Names, n) }) {
				continue
			}
			return fmt.Errorf("%s is the name of another image, @%d", to, other.Position)
		}
	}
	return nil
}
