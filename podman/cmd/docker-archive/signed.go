package main

import (
	"context"
	"fmt"
	"os"

	"github.com/spf13/pflag"
	"go.podman.io/image/v5/types"

	dockerarchive "github.com/dockerarchive/dockerarchive/podman"
	"github.com/dockerarchive/dockerarchive/podman/copying"
)

// signedOptions are the flags that ask for signatures.
type signedOptions struct {
	keys     []string
	identity string

	content [][]byte // of the keys
}

func (o *signedOptions) register(f *pflag.FlagSet) {
	f.StringSliceVar(&o.keys, "key", nil, "demand that every image is signed with the public key in `FILE`; may be repeated, for any of several")
	f.StringVar(&o.identity, "signed-as", "", "`REPOSITORY` that the signatures are for, if that is not what the images are called in the archive")
}

// read reads the keys.
func (o *signedOptions) read() error {
	if o.identity != "" && len(o.keys) == 0 {
		return usagef("--signed-as needs --key")
	}
	for _, path := range o.keys {
		key, err := os.ReadFile(path)
		if err != nil {
			return fmt.Errorf("reading the key: %w", err)
		}
		o.content = append(o.content, key)
	}
	return nil
}

// verify returns what is not signed as the flags demand.
func (o *signedOptions) verify(ctx context.Context, r *dockerarchive.Reader, sys *types.SystemContext) ([]error, error) {
	if len(o.keys) == 0 {
		return nil, nil
	}
	return copying.VerifySignatures(ctx, r, copying.SignatureOptions{
		Keys: o.content, Identity: o.identity, TempDir: sys.BigFilesTemporaryDir,
	})
}
