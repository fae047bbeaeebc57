// Package container makes images from containers of containers/storage, as buildah, podman
// and CRI-O have them: from the image of a container, and the changes in it. It is a
// package of its own so that programs that do not need containers/storage do not link it.
// A store needs root or a user namespace, as it does for the tools that have made it.
package container

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"go.podman.io/image/v5/docker/reference"
	istorage "go.podman.io/image/v5/storage"
	"go.podman.io/image/v5/types"
	"go.podman.io/storage"
	"go.podman.io/storage/pkg/archive"

	"github.com/dockerarchive/dockerarchive/compose"
)

// stateFile is the file in which buildah keeps the state of a container.
const stateFile = "buildah.json"

// A Container is a container in a store. It may be used concurrently as its store may. It
// need not be closed. Close the store when every image from it has been made.
type Container struct {
	store     storage.Store
	container *storage.Container
}

// Open finds a container by its ID, the start of its ID, or a name. It is not mounted, and
// may be running. The error wraps storage.ErrContainerUnknown if there is none.
func Open(store storage.Store, id string) (*Container, error) {
	found, err := store.Container(id)
	if err != nil {
		return nil, fmt.Errorf("container %q: %w", id, err)
	}
	return &Container{store, found}, nil
}

// ID returns the container's ID.
func (c *Container) ID() string { return c.container.ID }

// Base returns a reference to the image that the container was made of, under a name if it
// has one, or nil if it was made of nothing.
func (c *Container) Base() (types.ImageReference, error) {
	if c.container.ImageID == "" {
		return nil, nil
	}
	img, err := c.store.Image(c.container.ImageID)
	if err != nil {
		return nil, fmt.Errorf("image of container %s: %w", c.container.ID, err)
	}
	var named reference.Named
	for _, name := range img.Names {
		if parsed, err := reference.ParseNormalizedNamed(name); err == nil {
			named = parsed
			break
		}
	}
	ref, err := istorage.Transport.NewStoreReference(c.store, named, img.ID)
	if err != nil {
		return nil, fmt.Errorf("image of container %s: %w", c.container.ID, err)
	}
	return ref, nil
}

// Changes returns the changes of the container's file system to that of its image: its
// read-write layer, with owners as the container sees them.
func (c *Container) Changes() compose.Content { return changes{c} }

type changes struct{ *Container }

// Name implements compose.Content.
func (c changes) Name() string { return "container " + c.container.ID }

// Open implements compose.Content.
func (c changes) Open(ctx context.Context) (io.ReadCloser, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	uncompressed := archive.Uncompressed
	diff, err := c.store.Diff("", c.container.LayerID, &storage.DiffOptions{Compression: &uncompressed})
	if err != nil {
		return nil, fmt.Errorf("reading what container %s has changed: %w", c.container.ID, err)
	}
	return diff, nil
}

// State is buildah's description of the image that a container would become, as its
// config command changes it.
type State struct {
	Config      *compose.Config
	Annotations map[string]string // of an OCI manifest
	CreatedBy   string            // of the history: how the changes were made
	Comment     string            // of the history, too
}

// State returns buildah's state of the container, nil for containers of other tools.
func (c *Container) State() (*State, error) {
	data, err := c.store.FromContainerDirectory(c.container.ID, stateFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var stored struct {
		Docker      json.RawMessage   `json:"docker"` // It has all that ociv1 has, and more.
		Annotations map[string]string `json:"annotations"`
		CreatedBy   string            `json:"created-by"`
		Comment     string            `json:"history-comment"`
	}
	if err == nil {
		err = json.Unmarshal(data, &stored)
	}
	s := &State{Annotations: stored.Annotations, CreatedBy: stored.CreatedBy, Comment: stored.Comment}
	if err == nil {
		s.Config, err = compose.ParseConfig(stored.Docker)
	}
	if err != nil {
		return nil, fmt.Errorf("reading what buildah says of container %s: %w", c.container.ID, err)
	}
	return s, nil
}
