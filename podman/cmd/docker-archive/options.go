package main

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/spf13/pflag"
	"go.podman.io/image/v5/signature"
	"go.podman.io/image/v5/types"

	"github.com/dockerarchive/dockerarchive/podman/internal/sources"
)

// globalOptions are the flags that all commands have. Their names are skopeo's,
// which takes them before the command; here they may stand anywhere.
type globalOptions struct {
	debug          bool
	commandTimeout time.Duration
	policyPath     string
	insecurePolicy bool
	registriesDir  string
	registriesConf string
	tmpdir         string
	platform       string
	overrideOS     string
	overrideArch   string
	overrideVar    string
	authfile       string
}

func (g *globalOptions) register(f *pflag.FlagSet) {
	f.BoolVar(&g.debug, "debug", false, "print what is done, in detail")
	f.DurationVar(&g.commandTimeout, "command-timeout", 0, "give up after `DURATION`, such as 10m (default never)")
	f.StringVar(&g.policyPath, "policy", "", "signature policy in `FILE` (default the system's, else accept all)")
	f.BoolVar(&g.insecurePolicy, "insecure-policy", false, "accept every image, whatever the signature policy says")
	f.StringVar(&g.registriesDir, "registries.d", "", "`DIRECTORY` with the configuration of registries")
	f.StringVar(&g.registriesConf, "registries-conf", "", "registries and mirrors `FILE` (default $CONTAINERS_REGISTRIES_CONF)")
	f.StringVar(&g.tmpdir, "tmpdir", "", "`DIRECTORY` for large temporary files (default $TMPDIR or /var/tmp)")
}

// registerPlatform adds the flags that choose an image from an index.
func (g *globalOptions) registerPlatform(f *pflag.FlagSet) {
	f.StringVar(&g.platform, "platform", "", "choose the image for `OS/ARCH[/VARIANT]` from an index")
	f.StringVar(&g.overrideOS, "override-os", "", "choose the image for this `OS` from an index")
	f.StringVar(&g.overrideArch, "override-arch", "", "choose the image for this `ARCH` from an index")
	f.StringVar(&g.overrideVar, "override-variant", "", "choose the image for this `VARIANT` from an index")
}

// registerAuthfile adds the flag that says where credentials are.
func (g *globalOptions) registerAuthfile(f *pflag.FlagSet) {
	f.StringVar(&g.authfile, "authfile", os.Getenv("REGISTRY_AUTH_FILE"), "`FILE` with credentials (default that of docker and podman login)")
}

// systemContext returns the settings that both ends of a copy share.
func (g *globalOptions) systemContext() (*types.SystemContext, error) {
	sys := &types.SystemContext{
		AuthFilePath:            g.authfile,
		RegistriesDirPath:       g.registriesDir,
		BigFilesTemporaryDir:    g.tmpdir,
		OSChoice:                g.overrideOS,
		ArchitectureChoice:      g.overrideArch,
		VariantChoice:           g.overrideVar,
		DockerRegistryUserAgent: "docker-archive/" + version(),
	}
	sys.SystemRegistriesConfPath = cmp.Or(g.registriesConf, os.Getenv("CONTAINERS_REGISTRIES_CONF"))
	if g.platform == "" {
		return sys, nil
	}
	if g.overrideOS != "" || g.overrideArch != "" || g.overrideVar != "" {
		return nil, usagef("--platform cannot be used together with --override-os, --override-arch or --override-variant")
	}
	p, err := parsePlatform(g.platform)
	if err != nil {
		return nil, err
	}
	sys.OSChoice, sys.ArchitectureChoice, sys.VariantChoice = p.OS, p.Architecture, p.Variant
	return sys, nil
}

func parsePlatform(s string) (imgspecv1.Platform, error) {
	parts := strings.Split(s, "/")
	if len(parts) < 2 || len(parts) > 3 || parts[0] == "" || parts[1] == "" {
		wrong := usagef("--platform %q is not of the form OS/ARCH[/VARIANT]", s)
		switch {
		case s == "all" || s == "*":
			return imgspecv1.Platform{}, guessError{wrong, "docker-archive save --all-platforms; docker-archive copy --all"}
		case len(parts) == 1 && s != "" && s != "local":
			return imgspecv1.Platform{}, guessError{wrong, "--platform linux/" + s}
		}
		return imgspecv1.Platform{}, wrong
	}
	p := imgspecv1.Platform{OS: parts[0], Architecture: parts[1]}
	if len(parts) == 3 {
		p.Variant = parts[2]
	}
	return p, nil
}

func parsePlatforms(names []string) (platforms []imgspecv1.Platform, err error) {
	for _, name := range names {
		p, err := parsePlatform(name)
		if err != nil {
			return nil, err
		}
		platforms = append(platforms, p)
	}
	return platforms, nil
}

// retryOptions are the flags that say how often, and when, something is tried again.
type retryOptions struct {
	retryTimes int
	retryDelay time.Duration
}

// register adds the flags. usage is the help of the first.
func (r *retryOptions) register(f *pflag.FlagSet, usage string) {
	f.IntVar(&r.retryTimes, "retry-times", 3, usage)
	f.DurationVar(&r.retryDelay, "retry-delay", 0, "wait `DURATION` before a retry (default 1s, then twice as long)")
}

// check refuses flags that can only be a mistake.
func (r *retryOptions) check() error {
	switch {
	case r.retryTimes < 0:
		return usagef("--retry-times must not be negative")
	case r.retryDelay < 0:
		return usagef("--retry-delay must not be negative")
	}
	return nil
}

// policy returns the rules for accepting source images.
func (g *globalOptions) policy(sys *types.SystemContext) (*signature.PolicyContext, error) {
	policy := &signature.Policy{Default: signature.PolicyRequirements{signature.NewPRInsecureAcceptAnything()}}
	switch {
	case g.insecurePolicy && g.policyPath != "":
		return nil, usagef("--policy and --insecure-policy contradict each other")
	case g.policyPath != "":
		var err error
		if policy, err = signature.NewPolicyFromFile(g.policyPath); err != nil {
			return nil, fmt.Errorf("reading the signature policy: %w", err)
		}
	case !g.insecurePolicy:
		return sources.SystemPolicy(sys)
	}
	return signature.NewPolicyContext(policy)
}

// registryOptions are the flags for a registry or daemon at one end of a copy.
type registryOptions struct {
	prefix     string // "src-", "dest-" or ""
	tlsVerify  bool
	creds      string
	username   string
	password   string
	noCreds    bool
	authfile   string
	certDir    string
	token      string
	daemonHost string
	blobDir    string
	flags      *pflag.FlagSet

	// stdin, if set before the flags are registered, is where passwords may come from.
	stdin         func() io.Reader
	passwordStdin bool

	hosts sources.Hosts           // that the credentials go to
	given *types.DockerAuthConfig // once it is known
}

func (r *registryOptions) register(f *pflag.FlagSet, prefix, side string) {
	r.prefix, r.flags = prefix, f
	f.BoolVar(&r.tlsVerify, prefix+"tls-verify", true, "require HTTPS and verify certificates of the "+side)
	f.StringVar(&r.creds, prefix+"creds", "", "`USER[:PASSWORD]` for the "+side+" registry")
	f.StringVar(&r.username, prefix+"username", "", "`USER` for the "+side+" registry")
	f.StringVar(&r.password, prefix+"password", "", "`PASSWORD` for the "+side+" registry")
	if r.stdin != nil {
		f.BoolVar(&r.passwordStdin, prefix+"password-stdin", false, "read the password for the "+side+" registry from standard input")
	}
	f.BoolVar(&r.noCreds, prefix+"no-creds", false, "access the "+side+" registry anonymously")
	f.StringVar(&r.token, prefix+"registry-token", "", "bearer `TOKEN` for the "+side+" registry")
	f.StringVar(&r.certDir, prefix+"cert-dir", "", "`DIRECTORY` of *.crt, *.cert and *.key for the "+side)
	f.StringVar(&r.daemonHost, prefix+"daemon-host", "", "docker daemon at `HOST`, as in tcp://host:port or unix://path")
	f.StringVar(&r.blobDir, prefix+"shared-blob-dir", "", "`DIRECTORY` of blobs that OCI layouts share")
	if prefix != "" {
		f.StringVar(&r.authfile, prefix+"authfile", "", "`FILE` with credentials for the "+side+" registry")
	}
}

// registerServer adds the flags for a server that has an archive (https://), where no registry is involved.
func (r *registryOptions) registerServer(f *pflag.FlagSet) {
	r.flags = f
	f.BoolVar(&r.tlsVerify, "tls-verify", true, "verify the certificate of a server that has the archive")
	f.StringVar(&r.creds, "creds", "", "`USER[:PASSWORD]` for a server that has the archive")
	f.StringVar(&r.certDir, "cert-dir", "", "`DIRECTORY` with certificates (*.crt, *.cert, *.key) for it")
}

// apply completes the context of one end.
func (r *registryOptions) apply(base types.SystemContext) (*types.SystemContext, error) {
	sys := base
	sys.AuthFilePath = cmp.Or(r.authfile, sys.AuthFilePath)
	if err := checkAuthfile(sys.AuthFilePath); err != nil {
		return nil, err
	}
	sys.DockerCertPath, sys.DockerDaemonCertPath = r.certDir, r.certDir
	sys.OCISharedBlobDirPath = r.blobDir
	sys.DockerDaemonHost = r.daemonHost
	if strings.HasPrefix(r.daemonHost, "/") { // The path of its socket alone.
		sys.DockerDaemonHost = "unix://" + r.daemonHost
	}
	sys.DockerBearerRegistryToken = r.token
	if r.flags.Changed(r.prefix + "tls-verify") {
		setTLSVerify(&sys, r.tlsVerify)
	}
	if r.given == nil {
		var err error
		if r.given, err = r.auth(); err != nil {
			return nil, err
		}
	}
	sys.DockerAuthConfig = r.given
	return &sys, nil
}

func (r *registryOptions) auth() (*types.DockerAuthConfig, error) {
	given := 0
	for _, name := range []string{"creds", "username", "no-creds"} {
		if r.flags.Changed(r.prefix + name) {
			given++
		}
	}
	p := "--" + r.prefix
	switch {
	case given > 1:
		return nil, usagef("only one of %screds, %susername and %sno-creds can be given", p, p, p)
	case r.passwordStdin && (r.password != "" || r.username == ""):
		return nil, usagef("%spassword-stdin needs %susername, and no other password", p, p)
	case r.noCreds:
		return &types.DockerAuthConfig{}, nil
	case r.creds != "":
		user, password, _ := strings.Cut(r.creds, ":")
		if user == "" {
			return nil, usagef("%screds has no user name", p)
		}
		return &types.DockerAuthConfig{Username: user, Password: password}, nil
	case r.passwordStdin:
		return r.authFromStdin()
	case r.username != "":
		return &types.DockerAuthConfig{Username: r.username, Password: r.password}, nil
	case r.password != "":
		return nil, usagef("%spassword needs %susername", p, p)
	}
	return nil, nil
}
