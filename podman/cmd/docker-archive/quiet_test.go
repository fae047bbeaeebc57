package main

import (
	"context"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
)

// What libraries warn of is not printed with --quiet, and is otherwise, whatever ran before.
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
