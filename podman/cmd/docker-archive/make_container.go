package main

import (
	"context"
	"fmt"
	"os"

	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/storage"
	"go.podman.io/storage/pkg/unshare"

	"github.com/dockerarchive/dockerarchive/compose"
	"github.com/dockerarchive/dockerarchive/podman/making/container"
)

// useContainer makes the image one of a container: of its image, its changes, and its
// config from buildah.
func (o *makeOptions) useContainer(ctx context.Context, img *compose.Image, bases *openBases) error {
	store, err := openStore()
	if err != nil {
		return fmt.Errorf("--container: opening the store: %w", err)
	}
	bases.store = store
	c, err := container.Open(store, o.container)
	if err != nil {
		return fmt.Errorf("--container: %w", err)
	}
	ref, err := c.Base()
	if err != nil {
		return fmt.Errorf("--container: %w", err)
	}
	if ref != nil {
		if img.Base, err = bases.openReference(ctx, ref); err != nil {
			return err
		}
		img.BaseName = baseName(ref)
	}
	changes := compose.Layer{Content: c.Changes()}
	state, err := c.State()
	if err != nil {
		return fmt.Errorf("--container: %w", err)
	}
	if state != nil {
		adopt(img, state)
		changes.History.CreatedBy, changes.History.Comment = state.CreatedBy, state.Comment
	}
	img.Layers = append([]compose.Layer{changes}, img.Layers...)
	return nil
}

// adopt gives an image its config from buildah, changed by the flags.
func adopt(img *compose.Image, state *container.State) {
	change := img.Change
	img.Change = func(changed *compose.Config) error {
		changed.Adopt(state.Config)
		return change(changed)
	}
	if img.Format == compose.Docker {
		return // It has no annotations.
	}
	for name, value := range state.Annotations {
		// The image itself names its base.
		if _, given := img.Annotations[name]; !given && name != imgspecv1.AnnotationBaseImageName && name != imgspecv1.AnnotationBaseImageDigest {
			img.Annotations[name] = value
		}
	}
}

// openStore opens the store that buildah, podman and CRI-O have, which a user without
// privileges has in a user namespace.
func openStore() (storage.Store, error) {
	if os.Geteuid() != 0 && unshare.IsRootless() {
		return nil, fmt.Errorf("a user without privileges has it in a user namespace: run this command with buildah unshare")
	}
	options, err := storage.DefaultStoreOptions()
	if err != nil {
		return nil, err
	}
	return storage.GetStore(options)
}
