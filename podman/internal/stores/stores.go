// Package stores says how archives in object stores and on servers are reached, by the settings of containers/image.
package stores

import (
	"context"

	"go.podman.io/image/v5/types"

	"github.com/dockerarchive/dockerarchive/internal/input"
	"github.com/dockerarchive/dockerarchive/internal/output"
)

// Access returns how an archive elsewhere is reached, without a password.
func Access(sys *types.SystemContext) input.Access {
	if sys == nil {
		return input.Access{}
	}
	return input.Access{
		CertDir: sys.DockerCertPath, SkipVerify: sys.DockerInsecureSkipTLSVerify == types.OptionalBoolTrue, UserAgent: sys.DockerRegistryUserAgent,
	}
}

// Reaching returns a context in which package output reaches an object store as sys says.
func Reaching(ctx context.Context, sys *types.SystemContext) context.Context {
	access := Access(sys)
	return output.WithRemote(ctx, func(o *output.RemoteOptions) {
		o.CertDir, o.SkipVerify, o.UserAgent = access.CertDir, access.SkipVerify, access.UserAgent
	})
}
