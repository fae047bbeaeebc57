package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/pflag"
	"go.podman.io/image/v5/types"
)

// maxPassword is how many bytes a password, which may be a token, can have.
const maxPassword = 1 << 20

// authFromStdin reads the password from standard input, as docker login does: all of it
// but one line end.
func (r *registryOptions) authFromStdin() (*types.DockerAuthConfig, error) {
	data, err := io.ReadAll(io.LimitReader(r.stdin(), maxPassword+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("reading the password: %w", err)
	case len(data) > maxPassword:
		return nil, fmt.Errorf("reading the password: it is longer than %d bytes", maxPassword)
	}
	password := strings.TrimSuffix(strings.TrimSuffix(string(data), "\n"), "\r")
	if password == "" {
		return nil, usagef("--%spassword-stdin: there is no password on standard input", r.prefix)
	}
	return &types.DockerAuthConfig{Username: r.username, Password: password}, nil
}

// refused is the value of a flag that other commands have.
type refused struct{ why string }

// Set implements pflag.Value. It always fails.
func (r refused) Set(string) error { return fmt.Errorf("%s", r.why) }

// String is for the help, which does not show the flag.
func (refused) String() string { return "" }

// Type is for the help, too.
func (refused) Type() string { return "string" }

// refuseDecryption says of skopeo's flag what to do instead: what is saved keeps its
// digests, and what is decrypted has others.
func refuseDecryption(f *pflag.FlagSet) {
	const name = "decryption-key"
	f.Var(refused{"images are saved encrypted, as they are; to decrypt one, use 'docker-archive copy --decryption-key'"}, name, "")
	f.Lookup(name).Hidden = true
}
