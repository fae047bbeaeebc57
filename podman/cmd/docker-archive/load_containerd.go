package main

import (
	"cmp"
	"context"
	"errors"
	"os"
	"strings"

	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/spf13/cobra"
	"go.podman.io/image/v5/signature"

	"github.com/dockerarchive/dockerarchive/podman/copying"
	"github.com/dockerarchive/dockerarchive/podman/copying/containerd"
)

// Where images are loaded.
const (
	toDocker     = "docker"
	toPodman     = "podman"
	toContainerd = "containerd"
)

// checkTo fails if the destination, its flags and the platforms do not fit
// together.
func (o *loadOptions) checkTo(cmd *cobra.Command, platforms []imgspecv1.Platform) error {
	ofDocker := o.host != "" || o.context != "" || o.certDir != "" || o.full
	ofContainerd := o.containerd != containerd.Config{} || o.noUnpack
	if ofContainerd && !cmd.Flags().Changed("to") {
		o.to = toContainerd
	}
	switch {
	case o.to != toDocker && o.to != toPodman && o.to != toContainerd && !strings.HasPrefix(o.to, storageTransport):
		return usagef("--to %q is none of docker, podman, containerd and %s[STORE]", o.to, storageTransport)
	case ofDocker && o.to != toDocker:
		return usagef("--host, --context, --cert-dir and --full are for docker")
	case ofContainerd && o.to != toContainerd:
		return usagef("--address, --namespace, --snapshotter and --no-unpack are for containerd")
	case len(platforms) > 1 && o.to != toDocker && o.to != toContainerd:
		return usagef("a storage gets one platform of an image; choose one")
	}
	return nil
}

// containerdConfig adds the settings of the environment, the same as
// ctr's.
func containerdConfig(c containerd.Config) containerd.Config {
	return containerd.Config{
		Address:     cmp.Or(c.Address, os.Getenv("CONTAINERD_ADDRESS")),
		Namespace:   cmp.Or(c.Namespace, os.Getenv("CONTAINERD_NAMESPACE")),
		Snapshotter: cmp.Or(c.Snapshotter, os.Getenv("CONTAINERD_SNAPSHOTTER")),
	}
}

// toContainerd loads images into containerd.
func (o *loadOptions) toContainerd(ctx context.Context, policy *signature.PolicyContext, images []copying.SaveImage, options *copying.LoadOptions) (loaded *copying.Loaded, err error) {
	store, err := containerd.Open(ctx, containerdConfig(o.containerd))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	return copying.LoadContent(ctx, policy, images, store, &copying.LoadContentOptions{
		Reading: options.Reading, DestinationCtx: options.DestinationCtx, Platforms: options.Platforms, NoUnpack: o.noUnpack,
	})
}
