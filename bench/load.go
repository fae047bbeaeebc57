package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"

	"go.podman.io/image/v5/types"

	dockerarchive "github.com/dockerarchive/dockerarchive/podman"
	"github.com/dockerarchive/dockerarchive/podman/copying"
)

// loadCases load the second version of an image, of which all layers but the last are
// there, into a Docker daemon.
var loadCases = []benchCase{
	{
		name: "load-docker", title: "archive → load, 5 of 6 layers there ÷ docker load", input: &secondImage, moved: &secondImage, there: &packedImage, differ: true,
		missing: withoutDockerd, start: startDocker(true), ours: loadSecond, theirs: dockerLoad, after: removeSecond,
	},
	{
		name: "load-docker-graph", title: "the same, docker with a graphdriver", input: &secondImage, moved: &secondImage, there: &packedImage, differ: true,
		missing: withoutDockerd, start: startDocker(false), ours: loadSecond, theirs: dockerLoad, after: removeSecond,
	},
}

// secondImage is the next version of packedImage.
var secondImage = input{"second.tar", saveSecond}

// loadedName is what both versions are called.
const loadedName = "example.com/app:v0"

func saveSecond(ctx context.Context, e *env) error {
	return saveImages(1, func(e *env, _ int) (types.ImageReference, error) { return ociSource(e, 1) }, false)(ctx, e)
}

// withoutDockerd says why there is no Docker daemon.
func withoutDockerd() error {
	if os.Geteuid() != 0 {
		return errors.New("a docker daemon needs root")
	}
	for _, name := range []string{"dockerd", "containerd", "containerd-shim-runc-v2", "runc"} {
		if _, err := os.Stat(filepath.Join(clientsDir, name)); err != nil {
			return fmt.Errorf("no %s: \"make interop\" builds it", name)
		}
	}
	if _, err := exec.LookPath("docker"); err != nil {
		return errors.New("no docker command")
	}
	return nil
}

// startDocker starts a daemon that has the first image, and has all clients find it.
func startDocker(containerdStore bool) func(context.Context, *env) (func() error, error) {
	return func(ctx context.Context, e *env) (stop func() error, err error) {
		var ends []func() error
		stop = func() (err error) {
			for _, end := range slices.Backward(ends) {
				err = errors.Join(err, end())
			}
			return err
		}
		defer func() {
			if err != nil {
				err = errors.Join(err, stop())
			}
		}()
		dir, err := os.MkdirTemp("", "bench-docker-") // The path of a socket must be short.
		if err != nil {
			return nil, err
		}
		ends = append(ends, func() error { return os.RemoveAll(dir) })
		d := dockerDaemon{sockets: dir, data: filepath.Join(e.scratch, "docker"), containerdStore: containerdStore}
		if d.data, err = filepath.Abs(d.data); err != nil {
			return nil, err
		}
		ends = append(ends, func() error { return os.RemoveAll(d.data) })
		for _, start := range []func(context.Context) (func() error, error){d.startContainerd, d.startDockerd, d.startProxy(e.sent)} {
			end, err := start(ctx)
			if err != nil {
				return nil, err
			}
			ends = append(ends, end)
		}
		if err := os.Setenv("DOCKER_HOST", "unix://"+d.socket("proxy")); err != nil {
			return nil, err
		}
		if err := runDocker(ctx, "load", "--quiet", "--input", e.inputPath(packedImage)); err != nil {
			return nil, err
		}
		// It stays when the second version gets its name.
		return stop, runDocker(ctx, "tag", loadedName, "first:1")
	}
}

func loadSecond(ctx context.Context, e *env) (err error) {
	ref, err := dockerarchive.ImageTransport.ParseReference(e.inputPath(secondImage))
	if err != nil {
		return err
	}
	images, release, err := copying.AllImages(ctx, e.system(), ref)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, release()) }()
	policy, err := acceptAnything()
	if err != nil {
		return err
	}
	_, err = copying.Load(ctx, policy, images, &copying.LoadOptions{SourceCtx: e.system(), DestinationCtx: e.system()})
	return errors.Join(err, policy.Destroy())
}

func dockerLoad(ctx context.Context, e *env) error {
	return runDocker(ctx, "load", "--quiet", "--input", e.inputPath(secondImage))
}

func removeSecond(ctx context.Context, _ *env) error {
	return runDocker(ctx, "image", "rm", loadedName)
}

func runDocker(ctx context.Context, args ...string) error {
	if out, err := exec.CommandContext(ctx, "docker", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("docker %s: %w: %s", args[0], err, out)
	}
	return nil
}
