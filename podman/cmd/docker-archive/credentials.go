package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/pflag"
	"go.podman.io/image/v5/docker"
	"go.podman.io/image/v5/types"
)

// maxPassword is the largest size of a password or token, in bytes.
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

// use says that an image is going to be read or written. The error is a usageError if that
// would give the credentials of the flags to a second registry.
func (r *registryOptions) use(sys *types.SystemContext, ref types.ImageReference) error {
	return r.usage(r.hosts.AddReference(sys, ref))
}

// useServers is use for archives, by their paths.
func (r *registryOptions) useServers(sys *types.SystemContext, archives []string) error {
	for _, arg := range archives {
		ref, err := archiveReference(arg)
		if err != nil {
			continue // Opening it reports the error.
		}
		if err := r.hosts.AddReference(sys, ref); err != nil {
			return usagef("--creds: %w", err)
		}
	}
	return nil
}

// usage says how to give credentials for several registries.
func (r *registryOptions) usage(err error) error {
	if err == nil {
		return nil
	}
	return usagef("--%[1]screds, --%[1]susername and --%[1]sregistry-token: %[2]w (--authfile)", r.prefix, err)
}

// useAll is use for all images of a command line, before any request to a registry. Other
// errors in them are reported when they are read.
func (o *saveOptions) useAll(sys *types.SystemContext, args []argument) error {
	for _, arg := range args {
		if arg.access != nil && arg.access.auth != nil {
			continue // Its registry gets its own.
		}
		transport, repository, err := o.parseRepository(arg.text)
		if err == nil && repository != nil && transport.Name() == docker.Transport.Name() {
			if err := o.source.usage(o.source.hosts.Add(sys, repository)); err != nil {
				return err
			}
			continue
		}
		ref, _, err := parseImage(arg.text)
		if err != nil {
			continue
		}
		if err := o.source.use(sys, ref); err != nil {
			return err
		}
	}
	return nil
}

// refused is the value of a flag that other commands have.
type refused struct{ why string }

// Set implements pflag.Value. It always fails.
func (r refused) Set(string) error { return fmt.Errorf("%s", r.why) }

// String is for the help, which does not show the flag.
func (refused) String() string { return "" }

// Type is for the help, too.
func (refused) Type() string { return "string" }

// refuseDecryption says what to do instead of skopeo's flag: saved images keep their
// digests, and decrypted ones have others.
func refuseDecryption(f *pflag.FlagSet) {
	const name = "decryption-key"
	f.Var(refused{"images are saved encrypted, as they are; to decrypt one, use 'docker-archive copy --decryption-key'"}, name, "")
	f.Lookup(name).Hidden = true
}
