package main

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"sync/atomic"

	"go.podman.io/image/v5/signature"

	"github.com/dockerarchive/dockerarchive/podman/copying"
	"github.com/dockerarchive/dockerarchive/progress"
)

// killedChild is the process that saves image 0 and kills itself when half of it is there.
const killedChild = "killed"

// resumeCases show what a kill costs. Fetched should be no more than 1.05 × what is
// distinct and 8 MB.
var resumeCases = []benchCase{{
	name: "save-resumed", title: "registry at 20 MB/s a connection → save killed at half and resumed (fetched ≤ 1.05 + 8 MB) ÷ save", images: 1, network: slow,
	ours: saveKilledAndResumed, theirs: saveImages(1, registrySource, false),
}}

func saveKilledAndResumed(ctx context.Context, e *env) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, self, "-child", killedChild, "-data", e.data.dir, "-output", e.output, "-registry", e.registry)
	cmd.Stderr = os.Stderr
	if err := cmd.Run(); err == nil || cmd.ProcessState.Exited() {
		return errors.Join(errors.New("saving was not killed"), err)
	}
	return saveResumable(ctx, e, func(progress.Event) {})
}

func saveAndBeKilled(ctx context.Context, e *env) error {
	self, err := os.FindProcess(os.Getpid())
	if err != nil {
		return err
	}
	var read atomic.Int64
	return saveResumable(ctx, e, func(event progress.Event) {
		if event.Kind == progress.Read && read.Add(int64(event.Bytes)) > e.data.distinct(1)/2 {
			_ = self.Kill() // Whoever waits for it sees whether it was.
		}
	})
}

func saveResumable(ctx context.Context, e *env, progress func(progress.Event)) error {
	src, err := registrySource(e, 0)
	if err != nil {
		return err
	}
	name, err := imageName(0)
	if err != nil {
		return err
	}
	policy, err := signature.NewPolicyContext(&signature.Policy{
		Default: signature.PolicyRequirements{signature.NewPRInsecureAcceptAnything()},
	})
	if err != nil {
		return err
	}
	_, err = copying.Save(ctx, policy, e.output, []copying.SaveImage{{Source: src, Name: name}},
		&copying.SaveOptions{SourceCtx: e.system(), DestinationCtx: e.system(), Resume: true, Progress: progress})
	return errors.Join(err, policy.Destroy())
}
