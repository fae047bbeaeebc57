package main

import (
	"context"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/dockerarchive/dockerarchive/podman/internal/imagetest"
)

// Warnings of libraries are printed only without --quiet, also if another command
// ran before.
func TestQuietIsQuiet(t *testing.T) {
	source := "docker-archive:" + cases + "moby25.0.0-two-versions.tar"
	for _, args := range [][]string{nil, {"-q"}, nil} {
		_, errOut := succeeds(t, append([]string{"copy", source, "image-archive:" + filepath.Join(t.TempDir(), "copied.tar")}, args...)...)
		assert.Equal(t, args == nil, errOut != "", errOut)
	}
}

func TestInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var errOut buffer
	assert.Equal(t, exitInterrupted, report(ctx, &errOut, context.Canceled))
	assert.Contains(t, errOut.String(), "docker-archive: interrupted")
}

// With -q only errors are printed: no warnings, no notes, no names that are
// given.
func TestQuietHasNoWarnings(t *testing.T) {
	reg := imagetest.NewRegistry(t)
	dir := t.TempDir()
	saved := filepath.Join(dir, "saved.tar")
	source := "docker-archive:" + cases + "moby25.0.0-two-versions.tar"
	for n, args := range [][]string{
		{"save", "-o", saved, source},
		{"save", "--map", "none.example=r.example", "-o", saved + "2", source},
		{"add", saved + "2", "image-archive:" + cases + "partial-arm64.tar"},
		{"push", "--tls-verify=false", "--map", "none.example=r.example", saved, reg.Address},
		{"push", "--tls-verify=false", cases + "tag-only.tar", reg.Address},
		{"verify", saved},
	} {
		out, errOut := succeeds(t, append(args, "-q")...)
		assert.Empty(t, out, args)
		assert.Empty(t, errOut, args)
		if n == 3 || n == 4 { // They say something otherwise.
			_, errOut := succeeds(t, args...)
			assert.NotEmpty(t, errOut, args)
		}
	}
	_, errOut, status := command(t, "push", "-q", "--retry-times", "0", saved, "127.0.0.1:1")
	assert.Equal(t, exitFailure, status)
	assert.NotEmpty(t, errOut)
}
