package main

import (
	"fmt"

	"github.com/opencontainers/go-digest"
	"github.com/spf13/cobra"
	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/signature"
	"go.podman.io/image/v5/transports/alltransports"
	"go.podman.io/image/v5/types"

	"github.com/dockerarchive/dockerarchive/podman/copying"
)

// storageTransport is the prefix of references to the storage of podman and CRI-O.
const storageTransport = "containers-storage:"

// toStorage loads images into the storage of podman and CRI-O.
func (o *loadOptions) toStorage(cmd *cobra.Command, policy *signature.PolicyContext, images []copying.SaveImage, docker *copying.LoadOptions) error {
	prefix := o.to
	if prefix == toPodman {
		prefix = storageTransport
	}
	place := func(name reference.NamedTagged, config digest.Digest) (types.ImageReference, error) {
		what := "@" + config.Encoded()
		if name != nil {
			what = name.String()
		}
		ref, err := alltransports.ParseImageName(prefix + what)
		if err != nil {
			return nil, fmt.Errorf("%s%s: %w", prefix, what, err)
		}
		return ref, nil
	}
	options := &copying.LoadIntoOptions{Reading: docker.Reading, DestinationCtx: docker.DestinationCtx}
	if len(docker.Platforms) > 0 {
		options.Platform = &docker.Platforms[0]
	}
	stderr, done := cmd.ErrOrStderr(), func() {}
	if !o.quiet {
		options.Progress, done = newCopying(stderr)
	}
	loaded, err := copying.LoadInto(cmd.Context(), policy, images, place, options)
	done()
	if loaded != nil {
		warnLoaded(discardIf(o.quiet, stderr), loaded)
	}
	if err != nil || o.quiet {
		return err
	}
	return printLoaded(cmd.OutOrStdout(), loaded)
}
