package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"

	dockerarchive "github.com/dockerarchive/dockerarchive/podman"
	"github.com/dockerarchive/dockerarchive/podman/copying"
)

// slowCases are those that the network decides. Where it breaks, the skopeo of Debian 12
// gives up, which has no way of going on.
var slowCases = []benchCase{
	{
		name: "save-slow", title: "registry at 20 MB/s a connection → save ÷ crane pull", goal: 0.25, images: 1, differ: true, client: "crane", network: slow,
		ours: saveImages(1, registrySource, false), theirs: cranePull,
	},
	{
		name: "save-slow-regctl", title: "registry at 20 MB/s a connection → save ÷ regctl image export", goal: 0.25, images: 1, differ: true, client: "regctl", network: slow,
		ours: saveImages(1, registrySource, false), theirs: regctlExport,
	},
	{
		name: "copy-slow", title: "registry at 20 MB/s a connection → copy ÷ skopeo copy to oci-archive:", goal: 0.25, images: 1, differ: true, varies: true, client: "skopeo", network: slow,
		ours: copyImageArchive, theirs: pullSkopeo("oci-archive:"),
	},
	{
		name: "copy-slow-docker", title: "registry at 20 MB/s a connection → copy ÷ skopeo copy to docker-archive:", goal: 0.25, images: 1, differ: true, client: "skopeo", network: slow,
		ours: saveOurs(registrySource), theirs: pullSkopeo("docker-archive:"),
	},
	{
		name: "save-narrow", title: "registry at 50 MB/s in sum → save ÷ reading its blobs", goal: 1.05, images: 1, differ: true, network: narrow,
		ours: saveImages(1, registrySource, false), theirs: fetchLimit,
	},
	{
		name: "save-failing", title: "registry that breaks every 10 MB → save ÷ containers/image", images: 1, differ: true, network: failing,
		ours: saveImages(1, registrySource, false), theirs: saveTheirs(1, registrySource),
	},
	{
		name: "copy-failing", title: "registry that breaks every 10 MB → copy ÷ save", images: 1, differ: true, network: failing,
		ours: copyImageArchive, theirs: saveImages(1, registrySource, false),
	},
}

// copyImageArchive copies image 0 as the copy command does to an image-archive.
func copyImageArchive(ctx context.Context, e *env) error {
	src, err := registrySource(e, 0)
	if err != nil {
		return err
	}
	dst, err := dockerarchive.ImageTransport.ParseReference(e.output)
	if err != nil {
		return err
	}
	c, err := newCopier(e.system())
	if err != nil {
		return err
	}
	_, err = copying.Copy(ctx, c.policy, dst, src, c.options)
	return err
}

// pullSkopeo copies image 0 with skopeo.
func pullSkopeo(transport string) func(context.Context, *env) error {
	return func(ctx context.Context, e *env) error {
		return runSkopeo(ctx, e, "--src-tls-verify=false", "docker://"+e.imageName(), transport+e.output)
	}
}

func runSkopeo(ctx context.Context, e *env, args ...string) error {
	cmd := exec.CommandContext(ctx, "skopeo", append([]string{"--insecure-policy", "copy"}, args...)...)
	cmd.Env = append(os.Environ(), "TMPDIR="+e.scratch)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("skopeo: %w: %s", err, out)
	}
	return nil
}
