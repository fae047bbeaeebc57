package main

import (
	"fmt"
	"os"

	encconfig "github.com/containers/ocicrypt/config"
	enchelpers "github.com/containers/ocicrypt/helpers"
	"github.com/spf13/pflag"
	"go.podman.io/image/v5/copy"
	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/pkg/cli"
	"go.podman.io/image/v5/pkg/compression"
	"go.podman.io/image/v5/types"
)

// skopeoOptions are the flags of skopeo copy that containers/image does the work of.
type skopeoOptions struct {
	flags            *pflag.FlagSet
	tlsVerify        bool
	multiArch        string
	compressFormat   string
	compressLevel    int
	compress         bool
	decompress       bool
	uncompressed     bool
	precompute       bool
	sigstoreKey      string
	passphraseFile   string
	identity         string
	encryptionKeys   []string
	encryptionLayers []int
}

func (o *skopeoOptions) register(f *pflag.FlagSet) {
	o.flags = f
	f.BoolVar(&o.tlsVerify, "tls-verify", true, "require HTTPS and verify certificates of registries and daemons")
	f.StringVar(&o.multiArch, "multi-arch", "", "copy `WHICH` images of an index: system (for this machine) or all")
	f.StringVar(&o.compressFormat, "dest-compress-format", "", "compress layers with `FORMAT`: gzip, zstd or zstd:chunked")
	f.IntVar(&o.compressLevel, "dest-compress-level", 0, "compress layers at `LEVEL`")
	f.BoolVar(&o.compress, "dest-compress", false, "compress layers in a dir: destination")
	f.BoolVar(&o.decompress, "dest-decompress", false, "decompress layers in a dir: destination")
	f.BoolVar(&o.uncompressed, "dest-oci-accept-uncompressed-layers", false, "do not compress layers for an oci: destination")
	f.BoolVar(&o.precompute, "dest-precompute-digests", false, "hash layers before a push, to skip those that the registry has")
	f.StringVar(&o.sigstoreKey, "sign-by-sigstore-private-key", "", "sign the copy with the sigstore key in `FILE`")
	f.StringVar(&o.passphraseFile, "sign-passphrase-file", "", "`FILE` with the passphrase of that key")
	f.StringVar(&o.identity, "sign-identity", "", "sign for `NAME:TAG` instead of the destination's name")
	f.StringSliceVar(&o.encryptionKeys, "encryption-key", nil, "encrypt with `PROTOCOL:KEY`, such as jwe:public.pem; repeatable")
	f.IntSliceVar(&o.encryptionLayers, "encrypt-layer", nil, "encrypt only layer `INDEX`, from 0, or -1 for the last; repeatable")
}

// apply translates the flags for copy.Image.
func (o *skopeoOptions) apply(options *copy.Options) error {
	if o.flags.Changed("tls-verify") {
		for end, sys := range map[string]*types.SystemContext{"src-": options.SourceCtx, "dest-": options.DestinationCtx} {
			if !o.flags.Changed(end + "tls-verify") {
				setTLSVerify(sys, o.tlsVerify)
			}
		}
	}
	switch o.multiArch {
	case "", "system":
	case "all":
		options.ImageListSelection = copy.CopyAllImages
	default:
		return guessError{usagef("--multi-arch %q is neither system nor all", o.multiArch), "docker-archive copy --all copies an index with all its images"}
	}
	if err := o.applyCompression(options.DestinationCtx); err != nil {
		return err
	}
	if err := o.applySigning(options); err != nil {
		return err
	}
	return o.applyEncryption(options)
}

func (o *skopeoOptions) applyCompression(sys *types.SystemContext) error {
	if o.compress && o.decompress {
		return usagef("--dest-compress and --dest-decompress contradict each other")
	}
	sys.DirForceCompress, sys.DirForceDecompress = o.compress, o.decompress
	sys.OCIAcceptUncompressedLayers = o.uncompressed
	sys.DockerRegistryPushPrecomputeDigests = o.precompute
	if o.compressFormat != "" {
		format, err := compression.AlgorithmByName(o.compressFormat)
		if err != nil {
			return usagef("--dest-compress-format: %w", err)
		}
		sys.CompressionFormat = &format
	}
	if o.flags.Changed("dest-compress-level") {
		sys.CompressionLevel = &o.compressLevel
	}
	return nil
}

func (o *skopeoOptions) applySigning(options *copy.Options) error {
	if o.sigstoreKey == "" {
		if o.passphraseFile != "" || o.identity != "" {
			return usagef("--sign-passphrase-file and --sign-identity need --sign-by-sigstore-private-key")
		}
		return nil
	}
	options.SignBySigstorePrivateKeyFile = o.sigstoreKey
	options.SignSigstorePrivateKeyPassphrase = []byte{}
	if o.passphraseFile != "" {
		passphrase, err := cli.ReadPassphraseFile(o.passphraseFile)
		if err != nil {
			return err
		}
		options.SignSigstorePrivateKeyPassphrase = []byte(passphrase)
	}
	if o.identity != "" {
		named, err := reference.ParseNamed(o.identity)
		if err != nil {
			return usagef("--sign-identity %q: %w", o.identity, err)
		}
		options.SignIdentity = named
	}
	return nil
}

func (o *skopeoOptions) applyEncryption(options *copy.Options) error {
	if len(o.encryptionKeys) == 0 {
		if len(o.encryptionLayers) > 0 {
			return usagef("--encrypt-layer needs --encryption-key")
		}
		return nil
	}
	config, err := enchelpers.CreateCryptoConfig(o.encryptionKeys, nil)
	if err != nil {
		return usagef("--encryption-key: %w", err)
	}
	options.OciEncryptLayers = &o.encryptionLayers
	options.OciEncryptConfig = encconfig.CombineCryptoConfigs([]encconfig.CryptoConfig{config}).EncryptConfig
	return nil
}

func setTLSVerify(sys *types.SystemContext, verify bool) {
	sys.DockerInsecureSkipTLSVerify = types.NewOptionalBool(!verify)
	sys.DockerDaemonInsecureSkipTLSVerify = !verify
	sys.OCIInsecureSkipTLSVerify = !verify
}

// checkAuthfile fails if there is no file with the credentials that are to be used.
func checkAuthfile(path string) error {
	if path == "" {
		return nil
	}
	if _, err := os.Stat(path); err != nil {
		return fmt.Errorf("reading credentials: %w", err)
	}
	return nil
}
