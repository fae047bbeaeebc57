package registries

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"

	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/pkg/docker/config"
	"go.podman.io/image/v5/pkg/sysregistriesv2"
	"go.podman.io/image/v5/pkg/tlsclientconfig"
	"go.podman.io/image/v5/types"
	"go.podman.io/storage/pkg/configfile"
	"go.podman.io/storage/pkg/unshare"
	"oras.land/oras-go/v2/registry"
	"oras.land/oras-go/v2/registry/remote"
	"oras.land/oras-go/v2/registry/remote/auth"

	"github.com/dockerarchive/dockerarchive/internal/image"
)

// pullSources returns where a reference may be read: mirrors, and last the registry
// itself, as registries.conf says.
func pullSources(sys *types.SystemContext, ref reference.Named) ([]sysregistriesv2.PullSource, error) {
	r, err := sysregistriesv2.FindRegistry(sys, ref.Name())
	switch {
	case err != nil:
		return nil, fmt.Errorf("reading the configuration of registries: %w", err)
	case r == nil:
		return []sysregistriesv2.PullSource{{Reference: ref}}, nil
	case r.Blocked:
		return nil, errBlocked(r)
	}
	return r.PullSourcesFromReference(ref)
}

// Mirrored reports whether there are mirrors of a repository, by digest or tag.
func (c *Client) Mirrored(repo reference.Named) (bool, error) {
	r, err := sysregistriesv2.FindRegistry(c.sys, repo.Name())
	return r != nil && len(r.Mirrors) > 0, err
}

// itself returns a repository at the place for writing, as containers/image does: not at
// a mirror, and under the name that the caller uses.
func (c *Client) itself(ctx context.Context, name reference.Named) (*repository, error) {
	source := sysregistriesv2.PullSource{Reference: name}
	r, err := sysregistriesv2.FindRegistry(c.sys, name.Name())
	switch {
	case err != nil:
		return nil, fmt.Errorf("reading the configuration of registries: %w", err)
	case r != nil && r.Blocked:
		return nil, errBlocked(r)
	case r != nil:
		source.Endpoint.Insecure = r.Insecure
	}
	return c.repository(ctx, name, source)
}

// Reached returns how a registry is reached: trusted is set if its certificate is not verified,
// and plain if it has no TLS. It is asked only if it is trusted.
func (c *Client) Reached(ctx context.Context, name reference.Named) (trusted, plain bool, err error) {
	r, err := c.itself(ctx, name)
	if err != nil {
		return false, false, err
	}
	return r.transport.TLSClientConfig.InsecureSkipVerify, r.remote.PlainHTTP, nil
}

func errBlocked(r *sysregistriesv2.Registry) error {
	return fmt.Errorf("registry %s is blocked in registries.conf", r.Prefix)
}

// repository returns the repository at one of the places where a reference may be read.
func (c *Client) repository(ctx context.Context, logical reference.Named, source sysregistriesv2.PullSource) (*repository, error) {
	c.mu.Lock()
	key := logical.Name() + " " + source.Reference.Name()
	r := c.repositories[key]
	if r == nil {
		r = &repository{}
		c.repositories[key] = r
	}
	c.mu.Unlock()
	r.once.Do(func() { r.err = r.open(ctx, c.sys, logical, source) })
	if r.err != nil {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.repositories[key] == r { // It may be tried again.
			delete(c.repositories, key)
		}
		return nil, r.err
	}
	return r, nil
}

// open finds out how the repository is reached.
func (r *repository) open(ctx context.Context, sys *types.SystemContext, logical reference.Named, source sysregistriesv2.PullSource) error {
	host, path := reference.Domain(source.Reference), reference.Path(source.Reference)
	credential, err := credentials(sys, logical, source.Reference)
	if err != nil {
		return fmt.Errorf("finding the credentials for %s: %w", host, err)
	}
	certificates, err := certificateDir(sys, host)
	if err != nil {
		return err
	}
	r.anonymous = credential == auth.EmptyCredential
	r.transport = tlsclientconfig.NewTransport()
	r.transport.MaxIdleConnsPerHost = maxIdle
	r.transport.TLSClientConfig = &tls.Config{}
	if sys.BaseTLSConfig != nil {
		r.transport.TLSClientConfig = sys.BaseTLSConfig.Clone()
	}
	r.transport.TLSClientConfig.InsecureSkipVerify = source.Endpoint.Insecure
	if skip := sys.DockerInsecureSkipTLSVerify; skip != types.OptionalBoolUndefined {
		r.transport.TLSClientConfig.InsecureSkipVerify = skip == types.OptionalBoolTrue
	}
	if err := tlsclientconfig.SetupCertificates(certificates, r.transport.TLSClientConfig); err != nil {
		return err
	}
	if sys.DockerProxyURL != nil {
		r.transport.Proxy = http.ProxyURL(sys.DockerProxyURL)
	}
	if sys.DockerProxy != nil {
		r.transport.Proxy = func(request *http.Request) (*url.URL, error) { return sys.DockerProxy(request.URL) }
	}
	var transport http.RoundTripper = heeding{r.transport}
	if ns := source.Endpoint.NamespaceProxy; ns != "" {
		transport = proxied{transport, ns}
	}
	client := &http.Client{Transport: transport}
	repo := &remote.Repository{
		Reference:            registry.Reference{Registry: host, Repository: path},
		ManifestMediaTypes:   manifestTypes,
		ReferrerListMaxPages: maxPages,
	}
	repo.Client = &auth.Client{
		Client: client,
		Header: userAgent(sys),
		Cache:  auth.NewCache(),
		Credential: func(_ context.Context, hostport string) (auth.Credential, error) {
			if hostport != repo.Reference.Host() {
				return auth.EmptyCredential, nil
			}
			return credential, nil
		},
		// A registry on this machine may have its authorization service here too.
		BlockedRealmPrefixes: []netip.Prefix{},
	}
	if err := repo.SetReferrersCapability(true); err != nil { // An error says that there is no API.
		return err
	}
	if r.transport.TLSClientConfig.InsecureSkipVerify {
		if repo.PlainHTTP, err = isPlain(ctx, client, repo.Reference.Host()); err != nil {
			return err
		}
	}
	r.remote = repo
	r.tags = &remote.Repository{
		Client: repo.Client, Reference: repo.Reference, PlainHTTP: repo.PlainHTTP, ManifestMediaTypes: manifestTypes,
		SkipReferrersGC: true, // An index that has been replaced stays, as any manifest does.
	}
	return r.tags.SetReferrersCapability(false)
}

// proxied is the transport to a mirror of several registries, which is told the one that a
// request is for.
type proxied struct {
	http.RoundTripper
	namespace string
}

// RoundTrip implements http.RoundTripper.
func (p proxied) RoundTrip(request *http.Request) (*http.Response, error) {
	redirected := request.Response != nil
	if path, ok := strings.CutPrefix(request.URL.Path, "/v2/"); ok && path != "" && !redirected {
		request = request.Clone(request.Context())
		query := request.URL.Query()
		query.Set("ns", p.namespace)
		request.URL.RawQuery = query.Encode()
	}
	return p.RoundTripper.RoundTrip(request)
}

// isPlain reports whether a registry that need not be secure is reached without TLS.
func isPlain(ctx context.Context, client *http.Client, host string) (bool, error) {
	var failures []error
	for _, scheme := range []string{"https", "http"} {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, scheme+"://"+host+"/v2/", nil)
		if err != nil {
			return false, err
		}
		resp, err := client.Do(req)
		if err == nil {
			_, _ = io.CopyN(io.Discard, resp.Body, 1<<10) // So that the connection can be used again.
			resp.Body.Close()
			return scheme == "http", nil
		}
		failures = append(failures, err)
	}
	return false, fmt.Errorf("reaching registry %s: %w", host, errors.Join(failures...))
}

func userAgent(sys *types.SystemContext) http.Header {
	header := http.Header{}
	if sys.DockerRegistryUserAgent != "" {
		header.Set("User-Agent", sys.DockerRegistryUserAgent)
	}
	return header
}

// Contained returns a context whose credentials containers/image gives to no mirror: it
// withholds a bearer token only together with a password, and an empty one will do.
func Contained(sys *types.SystemContext) *types.SystemContext {
	if sys == nil || sys.DockerBearerRegistryToken == "" || sys.DockerAuthConfig != nil {
		return sys
	}
	own := *sys
	own.DockerAuthConfig = &types.DockerAuthConfig{}
	return &own
}

// credentials returns the credentials for physical, a place where the repository
// logical is read. Credentials that were given for its own registry are for no mirror.
func credentials(sys *types.SystemContext, logical, physical reference.Named) (auth.Credential, error) {
	if reference.Domain(logical) != reference.Domain(physical) {
		other := *sys
		other.DockerAuthConfig, other.DockerBearerRegistryToken = nil, ""
		sys = &other
	}
	if sys.DockerBearerRegistryToken != "" {
		return auth.Credential{AccessToken: sys.DockerBearerRegistryToken}, nil
	}
	c, err := config.GetCredentialsForRef(LoggedIn(sys, physical), physical)
	if err != nil {
		return auth.EmptyCredential, err
	}
	return auth.Credential{Username: c.Username, Password: c.Password, RefreshToken: c.IdentityToken}, nil
}

// certificateDir returns the directory of certificates for a registry, which need not
// be there.
func certificateDir(sys *types.SystemContext, host string) (string, error) {
	if sys.DockerCertPath != "" {
		return sys.DockerCertPath, nil
	}
	if sys.DockerPerHostCertDirPath != "" {
		return filepath.Join(sys.DockerPerHostCertDirPath, host), nil
	}
	search, err := configfile.GetSearchPaths(&configfile.File{
		Name: "certs", Extension: "d", DoNotUseExtensionForConfigName: true,
		UserId: unshare.GetRootlessUID(), RootForImplicitAbsolutePaths: sys.RootForImplicitAbsolutePaths,
	})
	if err != nil {
		return "", fmt.Errorf("looking for the certificates of %s: %w", host, err)
	}
	dirs := append(search.DropInDirectories, filepath.Join(sys.RootForImplicitAbsolutePaths, "/etc/docker/certs.d"))
	dir := ""
	for _, d := range dirs {
		dir = filepath.Join(d, host)
		_, err := os.Stat(dir)
		if err == nil {
			return dir, nil
		}
		if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrPermission) {
			return "", fmt.Errorf("looking for the certificates of %s: %w", host, err)
		}
	}
	return dir, nil
}

// maxIdle is how many connections to a host stay open between requests: as many as ranges are
// read from it at once, for with net/http's 2 most of them would have to connect anew.
const maxIdle = 16

// maxPages is how many pages a list of referrers may have.
const maxPages = 64

// manifestTypes are those that a tag is asked for in.
var manifestTypes = []string{imgspecv1.MediaTypeImageManifest, imgspecv1.MediaTypeImageIndex, image.DockerManifest, image.DockerList}

// Client asks registries. Its methods may be called concurrently, but not after Close.
type Client struct {
	sys *types.SystemContext

	mu           sync.Mutex
	repositories map[string]*repository // by the name they are reached under
	places       map[string]*place      // of images, by their names
	broken       map[string]int         // how many whole blobs in one PUT each registry has not taken
}

// repository is a repository at a registry or a mirror of it.
type repository struct {
	once      sync.Once
	remote    *remote.Repository
	tags      *remote.Repository // the same, where tags stand for the referrers API
	transport *http.Transport
	anonymous bool // there are no credentials for it
	err       error
}

// place is where the blobs of an image are read.
type place struct {
	preparing, prepared bool
	first               int // the source that is asked first, of those that registries.conf has
}

// New returns a Client for registries that are reached as sys says. The caller must
// close it.
func New(sys *types.SystemContext) *Client {
	if sys == nil {
		sys = &types.SystemContext{}
	}
	return &Client{sys: sys, repositories: map[string]*repository{}, places: map[string]*place{}, broken: map[string]int{}}
}

// Close closes idle connections.
func (c *Client) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range c.repositories {
		if r.transport != nil {
			r.transport.CloseIdleConnections()
		}
	}
}
