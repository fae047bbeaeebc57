package main

import (
	"context"
	"path/filepath"
	"testing"

	"github.com/sirupsen/logrus"
	"github.com/stretchr/testify/assert"
)

// What libraries warn of is not printed with --quiet, and is otherwise.
func TestQuietIsQuiet(t *testing.T) {
	level := logrus.GetLevel()
	t.Cleanup(func() { logrus.SetLevel(level) })
	source := "docker-archive:" + cases + "moby25.0.0-two-versions.tar"
	for _, args := range [][]string{nil, {"-q"}} {
		logrus.SetLevel(logrus.InfoLevel)
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
