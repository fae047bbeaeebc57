package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"go.podman.io/image/v5/types"
	"go.podman.io/storage"

	"github.com/dockerarchive/dockerarchive/compose"
	dockerarchive "github.com/dockerarchive/dockerarchive/podman"
	"github.com/dockerarchive/dockerarchive/podman/making"
	"github.com/dockerarchive/dockerarchive/podman/making/container"
)

// containerCases make an image of a container whose root file system is that of image 0,
// in a store of its own. Both sides read the same container. Theirs commits it as an image
// of the store and pushes that, as buildah's users do.
var containerCases = []benchCase{
	{
		name: "make-container", title: "container → make, OCI layout ÷ buildah commit and push", goal: 0.5, differ: true, varies: true,
		input: &oneContainer, missing: withoutBuildah,
		ours: makeOfContainer(dockerarchive.ImageTransport, compose.OCI), theirs: commitAndPush("oci", "oci-archive"), after: removeImages,
	},
	{
		name: "make-container-docker", title: "container → make, docker layout ÷ buildah commit and push", goal: 0.5, differ: true, varies: true,
		input: &oneContainer, missing: withoutBuildah,
		ours: makeOfContainer(dockerarchive.Transport, compose.Docker), theirs: commitAndPush("docker", "docker-archive"), after: removeImages,
	},
}

// oneContainer is a store with a container, kept with the dataset.
var oneContainer = input{"containers", makeContainer}

const (
	buildah       = "buildah"
	containerName = "bench"
	storageDriver = "overlay" // What buildah has by default.
)

// withoutBuildah says why containers cannot be committed here.
func withoutBuildah() error {
	if _, err := exec.LookPath(buildah); err != nil {
		return fmt.Errorf("%w; it is a package of Debian", err)
	}
	if os.Geteuid() != 0 {
		return errors.New("a store of containers needs root")
	}
	return nil
}

func makeContainer(ctx context.Context, e *env) error {
	if err := runBuildah(ctx, e.output, "from", "--name", containerName, "scratch"); err != nil {
		return err
	}
	add := append([]string{"add", "--quiet", containerName}, e.plainLayers()...)
	return runBuildah(ctx, e.output, append(add, "/")...)
}

func makeOfContainer(transport types.ImageTransport, format compose.Format) func(context.Context, *env) error {
	return func(ctx context.Context, e *env) (err error) {
		root, run := storeDirs(e.inputPath(oneContainer))
		store, err := storage.GetStore(storage.StoreOptions{GraphRoot: root, RunRoot: run, GraphDriverName: storageDriver})
		if err != nil {
			return err
		}
		defer func() {
			_, shutdownErr := store.Shutdown(false)
			err = errors.Join(err, shutdownErr)
		}()
		c, err := container.Open(store, containerName)
		if err != nil {
			return err
		}
		config, _, err := c.Config()
		if err != nil {
			return err
		}
		img := &compose.Image{
			TempDir: e.scratch,
			Format:  format,
			Layers:  []compose.Layer{{Content: c.Changes()}},
			Change: func(changed *compose.Config) error {
				changed.Adopt(config)
				return nil
			},
		}
		_, err = making.WriteArchive(ctx, e.output, img, &making.ArchiveOptions{Transport: transport})
		return err
	}
}

// commitAndPush commits the container and pushes the image.
func commitAndPush(format, transport string) func(context.Context, *env) error {
	return func(ctx context.Context, e *env) error {
		dir, name := e.inputPath(oneContainer), "localhost/bench:1"
		if err := runBuildah(ctx, dir, "commit", "--quiet", "--format", format, containerName, name); err != nil {
			return err
		}
		return runBuildah(ctx, dir, "push", "--quiet", name, transport+":"+e.output+":"+name)
	}
}

// removeImages takes away what a commit has left in the store.
func removeImages(ctx context.Context, e *env) error {
	return runBuildah(ctx, e.inputPath(oneContainer), "rmi", "--all", "--force")
}

// runBuildah runs buildah with the store in a directory, which need not exist yet.
func runBuildah(ctx context.Context, dir string, args ...string) error {
	root, run := storeDirs(dir)
	cmd := exec.CommandContext(ctx, buildah, append([]string{"--root", root, "--runroot", run, "--storage-driver", storageDriver}, args...)...)
	// Large temporary files are on the disk that the archive is on.
	cmd.Env = append(os.Environ(), "TMPDIR="+filepath.Dir(dir))
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("buildah %s: %w: %s", args[0], err, out)
	}
	return nil
}

func storeDirs(dir string) (root, run string) {
	return filepath.Join(dir, "root"), filepath.Join(dir, "run")
}
