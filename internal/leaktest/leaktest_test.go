package leaktest

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"go.uber.org/goleak"
)

// A goroutine is found while it is there.
func TestFind(t *testing.T) {
	others, end := goleak.IgnoreCurrent(), make(chan struct{})
	go func() { <-end }()
	assert.ErrorContains(t, goleak.Find(others), "leaktest.TestFind")
	close(end)
	None(t, others)
}
