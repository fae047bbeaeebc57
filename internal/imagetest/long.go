package imagetest

import (
	"os"
	"testing"
)

// longVariable, set to anything, asks for long campaigns; make test-long sets it.
const longVariable = "DOCKERARCHIVE_TEST_LONG"

// Rounds returns how often to repeat a test that finds more the longer it runs:
// short times or, in long campaigns, long times.
func Rounds(t testing.TB, short, long int) int {
	t.Helper()
	if os.Getenv(longVariable) != "" {
		return long
	}
	t.Logf("%d of %d rounds; make test-long runs all", short, long)
	return short
}
