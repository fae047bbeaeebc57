package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"runtime"
	"slices"
	"strings"

	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/spf13/pflag"
	"go.podman.io/image/v5/types"

	"github.com/dockerarchive/dockerarchive/archive"
	"github.com/dockerarchive/dockerarchive/internal/files"
	"github.com/dockerarchive/dockerarchive/internal/image"
	"github.com/dockerarchive/dockerarchive/internal/naming"
	"github.com/dockerarchive/dockerarchive/podman/making"
)

// insideFlags are the flags of commands that look into an image.
type insideFlags struct {
	*globalOptions
	registry   registryOptions
	base       baseOptions
	archives   map[string]*openedArchive // by their paths
	retryTimes int
	json       bool
}

// openedArchive is an archive that is open for one or several of its images.
type openedArchive struct {
	*archive.Archive
	users int
}

// imageUsage is how those commands call their image.
const imageUsage = `IMAGE is an archive (FILE[:NAME:TAG|:@N], also compressed, in parts or -), or
any other image, as 'docker-archive copy' names it.`

func (o *insideFlags) register(f *pflag.FlagSet) {
	o.registerPlatform(f)
	o.registerSource(f)
	o.base.register(f)
	f.BoolVar(&o.json, "json", false, "print the result as JSON")
}

// registerSource adds the flags that say how to get at an image.
func (o *insideFlags) registerSource(f *pflag.FlagSet) {
	o.registry.register(f, "", "source")
	o.registerAuthfile(f)
	f.IntVar(&o.retryTimes, "retry-times", 3, "try up to `N` more times after failures that may pass")
}

// inside is an image that is looked into.
type inside struct {
	*files.Tree
	name   string // as it was given
	layers []imgspecv1.Descriptor
	config imgspecv1.Image
	close  func() // closes everything; all of it was only read
}

// open opens an image.
func (o *insideFlags) open(ctx context.Context, arg string, options files.Options) (*inside, error) {
	base, err := o.systemContext()
	if err != nil {
		return nil, err
	}
	options.TempDir = o.tmpdir
	sys, err := o.registry.apply(*base)
	if err != nil {
		return nil, err
	}
	if isArchive(arg) {
		return o.openArchive(ctx, sys, arg, options)
	}
	policy, err := o.policy(sys)
	if err != nil {
		return nil, err
	}
	defer policy.Destroy() //nolint:errcheck // It holds nothing.
	bases := openBases{policy: policy, sys: sys, registry: &o.registry, retryTimes: o.retryTimes}
	opened, _, err := bases.open(ctx, "image", arg)
	if err != nil {
		bases.close()
		return nil, err
	}
	i, err := openInside(ctx, opened.(*making.Base), options)
	if err != nil {
		bases.close()
		return nil, fmt.Errorf("%s: %w", arg, err)
	}
	i.name, i.close = arg, func() {
		_ = i.Tree.Close()
		bases.close()
	}
	return i, nil
}

// isArchive reports whether an argument means an archive, which is read in place.
func isArchive(arg string) bool {
	if path := archivePath(arg); path != arg || path == "-" {
		return true
	}
	if _, _, ok := cutTransport(arg); ok {
		return false
	}
	_, kind := kindOfPath(arg)
	return kind == fileArgument || kind == layoutArgument || strings.HasPrefix(arg, "/") || strings.HasPrefix(arg, ".")
}

// accessTo returns the access to a remote archive, from a context's settings for
// registries.
func accessTo(sys *types.SystemContext) archive.Access {
	a := archive.Access{CertDir: sys.DockerCertPath, SkipVerify: sys.DockerInsecureSkipTLSVerify == types.OptionalBoolTrue, UserAgent: sys.DockerRegistryUserAgent}
	if auth := sys.DockerAuthConfig; auth != nil {
		a.Username, a.Password = auth.Username, auth.Password
	}
	return a
}

// trustOf is accessTo for another server than that of the credentials.
func trustOf(sys *types.SystemContext) archive.Access {
	a := accessTo(sys)
	a.Username, a.Password = "", ""
	return a
}

// openArchive opens an image of an archive.
func (o *insideFlags) openArchive(ctx context.Context, sys *types.SystemContext, arg string, options files.Options) (_ *inside, err error) {
	path, name, _ := naming.Split(archivePath(arg))
	a, done, err := o.useArchive(ctx, sys, path)
	if err != nil {
		return nil, err
	}
	i := &inside{name: arg}
	i.close = func() {
		if i.Tree != nil {
			_ = i.Tree.Close()
		}
		done()
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("%s: %w", path, err)
			i.close()
		}
	}()
	img, err := a.Find(name)
	if err != nil {
		return nil, err
	}
	m, err := img.Manifest(ctx)
	if err != nil {
		return nil, err
	}
	asked := sys.OSChoice != "" || sys.ArchitectureChoice != "" || sys.VariantChoice != ""
	if m.IsIndex() || asked {
		m, err = img.ForPlatform(ctx, imgspecv1.Platform{
			OS: cmp.Or(sys.OSChoice, runtime.GOOS), Architecture: cmp.Or(sys.ArchitectureChoice, runtime.GOARCH), Variant: sys.VariantChoice,
		})
		if err != nil {
			return nil, err
		}
	}
	sources, err := m.LayerSources(ctx)
	if err != nil {
		return nil, err
	}
	layers, err := m.Layers(ctx)
	if err != nil {
		return nil, err
	}
	config, err := m.Config(ctx)
	if err != nil {
		return nil, err
	}
	for n := range layers {
		i.layers = append(i.layers, layers[n].Descriptor)
	}
	i.parseConfig(config)
	i.Tree = newTree(sources, options)
	return i, nil
}

// useArchive returns an archive, which it opens unless it is open. The caller must call done.
func (o *insideFlags) useArchive(ctx context.Context, sys *types.SystemContext, path string) (_ *archive.Archive, done func(), err error) {
	a := o.archives[path]
	if a == nil {
		if len(o.archives) == 0 { // Its layers may be in a base.
			if err := o.base.open(ctx, o.globalOptions, sys, 0); err != nil {
				return nil, nil, err
			}
			o.archives = map[string]*openedArchive{}
		}
		opened, err := archive.Opener{TempDir: o.tmpdir, Bases: o.base.bases, Access: accessTo(sys)}.Open(ctx, path)
		if err != nil {
			if len(o.archives) == 0 {
				_ = o.base.close()
			}
			return nil, nil, err
		}
		a = &openedArchive{Archive: opened}
		o.archives[path] = a
	}
	a.users++
	return a.Archive, func() {
		if a.users--; a.users > 0 {
			return
		}
		_ = a.Close()
		if delete(o.archives, path); len(o.archives) == 0 {
			_ = o.base.close()
		}
	}, nil
}

func newTree(sources []archive.LayerSource, options files.Options) *files.Tree {
	var all []files.Source
	for _, s := range sources {
		all = append(all, files.Source{Name: s.Name, Digest: s.Digest, DiffID: s.DiffID, At: s.At, Open: s.Open, Size: s.Size})
	}
	return files.New(all, options)
}

// parseConfig keeps the config of the image. An invalid config counts as an empty one.
func (i *inside) parseConfig(data []byte) {
	if image.Decode("config", data, &i.config) != nil {
		i.config = imgspecv1.Image{} // Its content has not been checked.
	}
}

// openInside opens an image of any transport to look inside.
func openInside(ctx context.Context, b *making.Base, options files.Options) (*inside, error) {
	raw, _, err := b.Manifest(ctx)
	if err != nil {
		return nil, err
	}
	var m imgspecv1.Manifest
	if err := image.Decode("manifest", raw, &m); err != nil {
		return nil, err
	}
	i := &inside{layers: m.Layers}
	if own, err := b.Layers(ctx); err != nil {
		return nil, err
	} else if own != nil {
		i.layers = own
	}
	config, err := readBlob(ctx, b, m.Config)
	if err != nil {
		return nil, err
	}
	i.parseConfig(config)
	diffIDs := i.config.RootFS.DiffIDs
	if len(diffIDs) != len(i.layers) {
		return nil, fmt.Errorf("its config has %d diff IDs, its manifest %d layers", len(diffIDs), len(i.layers))
	}
	var sources []archive.LayerSource
	for n, d := range i.layers {
		sources = append(sources, archive.LayerSource{
			Name: d.Digest.String(), Digest: d.Digest, DiffID: diffIDs[n], Size: d.Size,
			Open: func(ctx context.Context) (io.ReadCloser, error) { return b.Blob(ctx, d) },
		})
	}
	i.Tree = newTree(sources, options)
	return i, nil
}

// readBlob reads a config.
func readBlob(ctx context.Context, b *making.Base, d imgspecv1.Descriptor) ([]byte, error) {
	const most = 4 << 20
	body, err := b.Blob(ctx, d)
	if err != nil {
		return nil, fmt.Errorf("reading config %s: %w", d.Digest, err)
	}
	data, err := io.ReadAll(io.LimitReader(body, most+1))
	if err := errors.Join(err, body.Close()); err != nil {
		return nil, fmt.Errorf("reading config %s: %w", d.Digest, err)
	}
	if len(data) > most {
		return nil, fmt.Errorf("config %s has more than %d bytes", d.Digest, most)
	}
	return data, nil
}

// layerIndex returns the index of the layer that N or DIGEST means: N from 0, or a
// digest or diff ID or its beginning.
func (i *inside) layerIndex(name string) (int, error) {
	var n int
	if _, err := fmt.Sscanf(name, "%d", &n); err == nil && fmt.Sprint(n) == name && n < len(i.layers) {
		return n, nil
	}
	var found []int
	for n, d := range i.layers {
		names := []string{d.Digest.String()}
		if n < len(i.config.RootFS.DiffIDs) {
			names = append(names, i.config.RootFS.DiffIDs[n].String())
		}
		if slices.ContainsFunc(names, func(s string) bool {
			return name != "" && (strings.HasPrefix(s, name) || strings.HasPrefix(strings.TrimPrefix(s, "sha256:"), name))
		}) {
			found = append(found, n)
		}
	}
	if len(found) == 1 {
		return found[0], nil
	}
	return 0, fmt.Errorf("%s has %d layers, 0 to %d, and %d that %q can mean: %w", i.name, len(i.layers), len(i.layers)-1, len(found), name, fs.ErrNotExist)
}
