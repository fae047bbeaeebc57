package progress_test

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/dockerarchive/dockerarchive/progress"
)

func TestKinds(t *testing.T) {
	assert.Equal(t, "planned", progress.Planned.String())
	assert.Equal(t, "waiting", progress.Waiting.String())
	assert.Equal(t, "kind 6", (progress.Waiting + 1).String(), "a kind without a name")
	assert.Equal(t, "kind -1", progress.Kind(-1).String())
}
