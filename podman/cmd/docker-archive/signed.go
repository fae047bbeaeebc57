package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/pflag"

	"github.com/dockerarchive/dockerarchive/internal/printable"
	dockerarchive "github.com/dockerarchive/dockerarchive/podman"
	"github.com/dockerarchive/dockerarchive/podman/copying"
)

// signedOptions are the flags that ask for signatures.
type signedOptions struct {
	keys        []string
	identity    string
	attestation string
	trustedRoot string

	content [][]byte // of the keys
	root    []byte   // of the trusted root
}

func (o *signedOptions) register(f *pflag.FlagSet) {
	f.StringSliceVar(&o.keys, "key", nil, "demand signatures by the public key in `FILE`; repeatable")
	f.StringVar(&o.identity, "signed-as", "", "`REPOSITORY` that the signatures name (default each image's own)")
	f.StringVar(&o.attestation, "attestation", "", "demand an attestation of `TYPE` instead of a signature")
	f.StringVar(&o.trustedRoot, "trusted-root", "", "check bundles' transparency log proofs with the logs in `FILE`")
}

// read reads the keys.
func (o *signedOptions) read() error {
	for flag, value := range map[string]string{"signed-as": o.identity, "attestation": o.attestation, "trusted-root": o.trustedRoot} {
		if value != "" && len(o.keys) == 0 {
			return usagef("--%s needs --key", flag)
		}
	}
	for _, path := range o.keys {
		key, err := os.ReadFile(path)
		if err != nil {
			return fmt.Errorf("reading the key: %w", err)
		}
		o.content = append(o.content, key)
	}
	if o.trustedRoot != "" {
		var err error
		if o.root, err = os.ReadFile(o.trustedRoot); err != nil {
			return fmt.Errorf("reading the trusted root: %w", err)
		}
	}
	return nil
}

// verify returns an error for each image that is not signed as the flags demand.
func (o *signedOptions) verify(ctx context.Context, r *dockerarchive.Reader) ([]error, error) {
	if len(o.keys) == 0 {
		return nil, nil
	}
	return copying.VerifySignatures(ctx, r, copying.SignatureOptions{
		Keys: o.content, Identity: o.identity, Attestation: o.attestation, TrustedRoot: o.root,
	})
}

// hint says how to verify images that have no names. The archive cannot say which image is meant.
func (o *signedOptions) hint(out io.Writer, problems []error) {
	for _, problem := range problems {
		if nameless := (*copying.NamelessError)(nil); errors.As(problem, &nameless) {
			fmt.Fprintf(out, "hint: if you expect the image of %s: --signed-as %[1]s\n", printable.String(nameless.SignedAs))
			return
		}
	}
}
