package main

import (
	"context"
	"errors"
	"os"
	"os/exec"

	"github.com/containers/image/v5/docker/reference"
	"github.com/containers/image/v5/signature"

	"github.com/dockerarchive/dockerarchive"
	"github.com/dockerarchive/dockerarchive/copying"
)

// packedImage is an image with its layers as they are in registries.
var packedImage = input{"packed.tar", saveImages(1, ociSource, false)}

// pushCases send the image of an archive to a registry that keeps nothing.
var pushCases = []benchCase{
	{
		name: "push", title: "archive → push ÷ skopeo copy oci-archive:", goal: 0.8, input: &packedImage, differ: true, client: "skopeo",
		ours: emptied(pushOurs), theirs: emptied(pushSkopeo),
	},
	{
		name: "push-crane", title: "archive → push ÷ crane push", goal: 0.8, input: &packedImage, differ: true, client: "crane",
		ours: emptied(pushOurs), theirs: emptied(pushCrane),
	},
	{
		name: "push-regctl", title: "archive → push ÷ regctl image import", goal: 0.8, input: &packedImage, differ: true, client: "regctl",
		ours: emptied(pushOurs), theirs: emptied(pushRegctl),
	},
	{
		// In the second run of each side and later, all is there.
		name: "push-again", title: "archive → push again ÷ skopeo copy again", input: &packedImage, differ: true, client: "skopeo",
		ours: pushOurs, theirs: pushSkopeo,
	},
}

// pushedName is the name under which an image is pushed.
func (e *env) pushedName() string { return e.registry + "/" + sinkRepository + ":1" }

func pushOurs(ctx context.Context, e *env) (err error) {
	ref, err := dockerarchive.ImageTransport.ParseReference(e.inputPath(packedImage))
	if err != nil {
		return err
	}
	images, release, err := copying.AllImages(ctx, e.system(), ref)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, release()) }()
	name, err := reference.ParseNormalizedNamed(e.pushedName())
	if err != nil {
		return err
	}
	policy, err := signature.NewPolicyContext(&signature.Policy{
		Default: signature.PolicyRequirements{signature.NewPRInsecureAcceptAnything()},
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, policy.Destroy()) }()
	_, err = copying.Push(ctx, policy, []copying.PushImage{{SaveImage: images[0], Targets: []reference.Named{name}}},
		&copying.PushOptions{SourceCtx: e.system(), DestinationCtx: e.system()})
	return err
}

func pushSkopeo(ctx context.Context, e *env) error {
	cmd := exec.CommandContext(ctx, "skopeo", "--insecure-policy", "copy", "--dest-tls-verify=false", "oci-archive:"+e.inputPath(packedImage), "docker://"+e.pushedName())
	cmd.Env = append(os.Environ(), "TMPDIR="+e.scratch)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return errors.Join(err, errors.New(string(out)))
	}
	return nil
}

// pushCrane pushes the archive, which is Docker's to crane, and gives it a manifest of its own.
func pushCrane(ctx context.Context, e *env) error {
	return runClient(ctx, "crane", "push", "--insecure", e.inputPath(packedImage), e.pushedName())
}

func pushRegctl(ctx context.Context, e *env) error {
	if err := e.configureRegctl(); err != nil {
		return err
	}
	return runClient(ctx, "regctl", "image", "import", e.pushedName(), e.inputPath(packedImage))
}
