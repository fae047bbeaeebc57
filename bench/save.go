package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"

	"go.podman.io/image/v5/docker/archive"
	"go.podman.io/image/v5/signature"
	"go.podman.io/image/v5/types"

	"github.com/dockerarchive/dockerarchive/podman/copying"
)

// clientsDir is where "make interop" builds the clients that some cases are
// compared with, from the directory of this program.
const clientsDir = "../interop/.clients"

// saveCases write the OCI layout, which others do not, so the sides write
// different things.
var saveCases = []benchCase{
	{
		name: "save", title: "registry → save, OCI layout", goal: 0.15, images: 1, differ: true,
		ours: saveImages(1, registrySource, false), theirs: saveTheirs(1, registrySource),
	},
	{
		name: "save-crane", title: "registry → save ÷ crane pull", goal: 0.75, images: 1, differ: true, client: "crane",
		ours: saveImages(1, registrySource, false), theirs: cranePull,
	},
	{
		name: "save-regctl", title: "registry → save ÷ regctl image export", goal: 0.75, images: 1, differ: true, client: "regctl",
		ours: saveImages(1, registrySource, false), theirs: regctlExport,
	},
	{
		name: "save-oci", title: "oci: → save ÷ cp and sha256", goal: 1.5, differ: true,
		ours: saveImages(1, ociSource, false), theirs: copyAndHash,
	},
	{
		name: "save-sync", title: "oci: → save ÷ save --no-sync",
		ours: saveImages(1, ociSource, false), theirs: saveImages(1, ociSource, true),
	},
	{
		name: "save-shared", title: "registry, 2 images → save ÷ 2 copies", images: 2, differ: true,
		ours: saveImages(2, registrySource, false), theirs: saveSeparately(2, registrySource),
	},
}

// retryTimes is the command's.
const retryTimes = 3

// saveImages writes images as the save command does, with or without --no-sync.
func saveImages(images int, from source, noSync bool) func(context.Context, *env) error {
	return func(ctx context.Context, e *env) error {
		sources, err := e.sources(images, from)
		if err != nil {
			return err
		}
		list := make([]copying.SaveImage, len(sources))
		for i, src := range sources {
			name, err := imageName(i)
			if err != nil {
				return err
			}
			list[i] = copying.SaveImage{Source: src, Name: name}
		}
		policy, err := acceptAnything()
		if err != nil {
			return err
		}
		_, err = copying.Save(ctx, policy, e.output, list, &copying.SaveOptions{SourceCtx: e.system(), DestinationCtx: e.system(), NoSync: noSync, RetryTimes: retryTimes})
		return errors.Join(err, policy.Destroy())
	}
}

func acceptAnything() (*signature.PolicyContext, error) {
	return signature.NewPolicyContext(&signature.Policy{
		Default: signature.PolicyRequirements{signature.NewPRInsecureAcceptAnything()},
	})
}

// saveSeparately writes an archive of its own for each image with
// containers/image's docker/archive.
func saveSeparately(images int, from source) func(context.Context, *env) error {
	return func(ctx context.Context, e *env) error {
		sources, err := e.sources(images, from)
		if err != nil {
			return err
		}
		if err := os.Mkdir(e.output, 0o755); err != nil {
			return err
		}
		for i, src := range sources {
			w, err := archive.NewWriter(e.system(), filepath.Join(e.output, fmt.Sprintf("%d.tar", i)))
			if err != nil {
				return err
			}
			if err := errors.Join(e.copyAll(ctx, w, []types.ImageReference{src}), w.Close()); err != nil {
				return err
			}
		}
		return nil
	}
}

func cranePull(ctx context.Context, e *env) error {
	return runClient(ctx, "crane", "pull", "--insecure", e.imageName(), e.output)
}

func regctlExport(ctx context.Context, e *env) error {
	if err := e.configureRegctl(); err != nil {
		return err
	}
	return runClient(ctx, "regctl", "image", "export", e.imageName(), e.output)
}

// configureRegctl tells regctl that the registry is without TLS.
func (e *env) configureRegctl() error {
	config := filepath.Join(e.scratch, "regctl.json")
	if err := os.WriteFile(config, fmt.Appendf(nil, `{"hosts":{%q:{"tls":"disabled"}}}`, e.registry), 0o600); err != nil {
		return err
	}
	return os.Setenv("REGCTL_CONFIG", config)
}

// imageName returns the name by which clients know image 0.
func (e *env) imageName() string {
	return fmt.Sprintf("%s/%s:%s", e.registry, repository, ociName(0))
}

func runClient(ctx context.Context, name string, args ...string) error {
	out, err := exec.CommandContext(ctx, filepath.Join(clientsDir, name), args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", name, err, out)
	}
	return nil
}

// copyAndHash copies the layers of image 0 with cp, and hashes them.
func copyAndHash(ctx context.Context, e *env) error {
	if err := os.Mkdir(e.output, 0o755); err != nil {
		return err
	}
	var args []string
	for _, i := range e.data.Images[0].Layers {
		args = append(args, e.packedPath(e.data.Layers[i]))
	}
	if out, err := exec.CommandContext(ctx, "cp", append(args, e.output)...).CombinedOutput(); err != nil {
		return fmt.Errorf("cp: %w: %s", err, out)
	}
	return eachLayer(ctx, e, e.packedPath, func(r io.Reader) error { return through(sha256.New(), r) })
}
