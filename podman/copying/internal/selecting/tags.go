package selecting

import (
	"context"
	"fmt"
	"slices"

	"go.podman.io/image/v5/docker"
	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/types"

	"github.com/dockerarchive/dockerarchive/errdef"
	"github.com/dockerarchive/dockerarchive/internal/daemon"
	"github.com/dockerarchive/dockerarchive/internal/stall"
	"github.com/dockerarchive/dockerarchive/podman/internal/registries"
	"github.com/dockerarchive/dockerarchive/podman/internal/sources"
)

// maxTags is how many images of a repository can be saved at once.
const maxTags = 10_000

// RepositoryError means that the tags of a repository could not be listed.
type RepositoryError struct {
	Repository reference.Named
	Err        error
}

// Error names the repository.
func (e *RepositoryError) Error() string {
	return fmt.Sprintf("listing the tags of %s: %v", e.Repository, e.Err)
}

// Unwrap returns the error without the name.
func (e *RepositoryError) Unwrap() error { return e.Err }

// Tags returns the images of a repository, for Save: each under its tag, in the
// order of the tags as strings. The transport says where they are: in a registry, as
// that of docker://, or in a Docker daemon, as that of docker-daemon:. A repository
// without tags is an error, and so is one with more than 10,000; if they cannot be
// listed, the error is a *RepositoryError.
func Tags(ctx context.Context, sys *types.SystemContext, transport types.ImageTransport, repository reference.Named) ([]Wanted, error) {
	if !reference.IsNameOnly(repository) {
		return nil, fmt.Errorf("%s is not a repository: it has a tag or a digest", repository)
	}
	var tags []string
	var err error
	prefix := ""
	switch transport.Name() {
	case docker.Transport.Name():
		prefix = "//"
		tags, err = registryTags(ctx, sys, repository)
	case sources.DockerDaemon:
		tags, err = daemonTags(ctx, sys, repository)
	default:
		err = fmt.Errorf("%s: has no repositories", transport.Name())
	}
	if err != nil {
		return nil, &RepositoryError{Repository: repository, Err: err}
	}
	slices.Sort(tags)
	tags = slices.Compact(tags)
	switch {
	case len(tags) == 0:
		return nil, fmt.Errorf("%s has no tags", repository)
	case len(tags) > maxTags:
		return nil, errdef.Errorf(errdef.ErrLimit, "%s has %d tags; at most %d can be saved at once", repository, len(tags), maxTags)
	}
	images := make([]Wanted, len(tags))
	for i, tag := range tags {
		named, err := reference.WithTag(repository, tag)
		if err != nil {
			return nil, fmt.Errorf("%s: tag %q: %w", repository, tag, err)
		}
		source, err := transport.ParseReference(prefix + named.String())
		if err != nil {
			return nil, fmt.Errorf("%s: tag %q: %w", repository, tag, err)
		}
		images[i] = Wanted{Source: source, SourceCtx: sys, Name: named}
	}
	return images, nil
}

func registryTags(ctx context.Context, sys *types.SystemContext, repository reference.Named) ([]string, error) {
	client := registries.New(sys)
	defer client.Close()
	var tags []string
	err := stall.Ask(ctx, func(string) {}, func(ctx context.Context, _ *stall.Watch) (err error) {
		tags, err = client.Tags(ctx, repository, maxTags)
		return err
	})
	return tags, err
}

// daemonTags returns the tags that a daemon has in a repository.
func daemonTags(ctx context.Context, sys *types.SystemContext, repository reference.Named) ([]string, error) {
	told, err := daemon.Tags(ctx, sources.DaemonConfig(sys), reference.FamiliarName(repository))
	if err != nil {
		return nil, err
	}
	var tags []string
	for _, name := range told {
		named, err := reference.ParseNormalizedNamed(name)
		if err != nil || named.Name() != repository.Name() { // <none>:<none>, or of another repository.
			continue
		}
		if tagged, ok := named.(reference.Tagged); ok {
			tags = append(tags, tagged.Tag())
		}
	}
	return tags, nil
}
