package main

import (
	"fmt"
	"strings"

	"github.com/containers/image/v5/docker/reference"
	"github.com/containers/image/v5/signature"
	"github.com/containers/image/v5/transports/alltransports"
	"github.com/containers/image/v5/types"
	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/spf13/cobra"

	"github.com/dockerarchive/dockerarchive/copying"
)

// storageTransport is what references to the storage of podman and CRI-O begin with.
const storageTransport = "containers-storage:"

// checkTo fails if what is to be loaded where does not fit together.
func (o *loadOptions) checkTo(platforms []imgspecv1.Platform) error {
	switch {
	case o.to == "docker":
		return nil
	case o.to != "podman" && !strings.HasPrefix(o.to, storageTransport):
		return usagef("--to %q is none of docker, podman and %s[STORE]", o.to, storageTransport)
	case o.host != "" || o.context != "" || o.certDir != "" || o.full:
		return usagef("--host, --context, --cert-dir and --full are for docker")
	case len(platforms) > 1:
		return usagef("a storage gets one platform of an image; choose one")
	}
	return nil
}

// toStorage loads images into the storage of podman and CRI-O.
func (o *loadOptions) toStorage(cmd *cobra.Command, policy *signature.PolicyContext, images []copying.SaveImage, docker *copying.LoadOptions) error {
	prefix := o.to
	if prefix == "podman" {
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
	options := &copying.LoadIntoOptions{SourceCtx: docker.SourceCtx, DestinationCtx: docker.DestinationCtx}
	if len(docker.Platforms) > 0 {
		options.Platform = &docker.Platforms[0]
	}
	stderr := cmd.ErrOrStderr()
	if !o.quiet {
		options.Report = reportWriter(stderr)
	}
	loaded, err := copying.LoadInto(cmd.Context(), policy, images, place, options)
	if loaded != nil {
		warnLoaded(stderr, loaded)
	}
	if err != nil || o.quiet {
		return err
	}
	return printLoaded(cmd.OutOrStdout(), loaded)
}
