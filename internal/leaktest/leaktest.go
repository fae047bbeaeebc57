// Package leaktest finds goroutines that tests leave behind. It is package goleak with
// patience: that gives goroutines half a second to end, which is little on a busy machine.
package leaktest

import (
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"
)

// attempts is how often goroutines get the time that goleak gives them: a minute in all.
const attempts = 120

// find returns an error that names the goroutines which do not end.
func find(options ...goleak.Option) (err error) {
	for range attempts {
		if err = goleak.Find(options...); err == nil {
			return nil
		}
	}
	return err
}

// None fails a test at once if goroutines do not end, other than those in options.
func None(t testing.TB, options ...goleak.Option) {
	t.Helper()
	if err := find(options...); err != nil {
		t.Fatal(err)
	}
}

// Main runs the tests of a package, from its TestMain, and ends the process: with a
// failure if goroutines do not end.
func Main(m *testing.M) {
	code := m.Run()
	if code == 0 {
		if err := find(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}
