//go:build interop

package interop

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// programTimeout ends a client that hangs. The slowest operation seen takes a few seconds.
const programTimeout = 2 * time.Minute

// A program is a client's command line up to its subcommand.
type program struct {
	name string   // as it is called in failures
	argv []string // the binary and its global options
	env  []string // added to the environment

	timeout time.Duration // 0 is programTimeout
}

// debian is the program that a Debian package brought, told apart from others of its name by
// its place.
func debian(t *testing.T, binary string) program {
	t.Helper()
	for _, dir := range []string{"/usr/bin", "/usr/sbin"} {
		if path := filepath.Join(dir, binary); isExecutable(path) {
			return program{name: "Debian's " + binary, argv: []string{path}}
		}
	}
	t.Fatalf("%s is missing: interop/clients installs it", binary)
	return program{}
}

// built is a program that interop/clients built, in $INTEROP_CLIENTS or interop/.clients.
func built(t *testing.T, binary string) program {
	t.Helper()
	path := filepath.Join(clientsDir(t), binary)
	if !isExecutable(path) {
		t.Fatalf("%s is missing: interop/clients builds it", path)
	}
	return program{name: "built " + binary, argv: []string{path}}
}

func clientsDir(t *testing.T) string {
	t.Helper()
	dir := os.Getenv("INTEROP_CLIENTS")
	if dir == "" {
		dir = ".clients"
	}
	dir, err := filepath.Abs(dir)
	require.NoError(t, err)
	return dir
}

// dockerArchive is the command under test: $DOCKER_ARCHIVE, or the result of make build in
// bin.
func dockerArchive(t *testing.T) program {
	t.Helper()
	path := os.Getenv("DOCKER_ARCHIVE")
	if path == "" {
		path = "../bin/docker-archive"
	}
	path, err := filepath.Abs(path)
	require.NoError(t, err)
	if !isExecutable(path) {
		t.Fatalf("%s is missing: make build builds it", path)
	}
	return program{name: "docker-archive", argv: []string{path}}
}

func isExecutable(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0
}

// with is the program with further global options.
func (p program) with(options ...string) program {
	p.argv = append(append([]string{}, p.argv...), options...)
	return p
}

// withEnv is the program with further variables, as NAME=value, in its environment.
func (p program) withEnv(variables ...string) program {
	p.env = append(append([]string{}, p.env...), variables...)
	return p
}

// within is the program with another time after which it hangs.
func (p program) within(timeout time.Duration) program {
	p.timeout = timeout
	return p
}

// run runs the program and returns its standard output. A failure ends the test.
func (p program) run(t *testing.T, args ...string) string {
	t.Helper()
	output, err := p.try(t, args...)
	require.NoError(t, err)
	return output
}

// try runs the program and returns its standard output, even with an error. The error names the
// program, its arguments and all of its output.
func (p program) try(t *testing.T, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), cmp.Or(p.timeout, programTimeout))
	defer cancel()
	cmd := exec.CommandContext(ctx, p.argv[0], append(append([]string{}, p.argv[1:]...), args...)...)
	cmd.Env = append(os.Environ(), p.env...)
	// A child that outlives the program may hold the pipes open; do not wait for it forever.
	cmd.WaitDelay = 10 * time.Second
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.String(), fmt.Errorf("%s: %s: %w\n%s%s",
			p.name, strings.Join(args, " "), err, stdout.String(), stderr.String())
	}
	return stdout.String(), nil
}
