package sources

import (
	"runtime"

	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/image/v5/docker"
	"go.podman.io/image/v5/types"

	"github.com/dockerarchive/dockerarchive/internal/daemon"
	"github.com/dockerarchive/dockerarchive/podman/internal/registries"
)

// DockerDaemon is the name of a transport that is not imported for it: not every program
// that saves images reads them from a daemon.
const DockerDaemon = "docker-daemon"

// IsRegistry reports whether a reference is read over connections that are to be
// watched. A daemon may take its time before it answers, and a pipe too.
func IsRegistry(ref types.ImageReference) bool {
	return ref.Transport().Name() == docker.Transport.Name()
}

// Opening returns the context for opening a source for all or some of its platforms. With
// another context an archive that lacks this machine's platform stands for another one. No
// mirror gets the credentials.
func Opening(sys *types.SystemContext, ref types.ImageReference, several bool) *types.SystemContext {
	sys = registries.Contained(sys)
	if IsRegistry(ref) {
		sys = registries.LoggedIn(sys, ref.DockerReference())
	}
	if !several || sys != nil && (sys.OSChoice != "" || sys.ArchitectureChoice != "" || sys.VariantChoice != "") {
		return sys
	}
	return Choosing(sys, imgspecv1.Platform{OS: runtime.GOOS, Architecture: runtime.GOARCH})
}

// Choosing returns a context that asks for a platform.
func Choosing(sys *types.SystemContext, p imgspecv1.Platform) *types.SystemContext {
	var c types.SystemContext
	if sys != nil {
		c = *sys
	}
	c.OSChoice, c.ArchitectureChoice, c.VariantChoice = p.OS, p.Architecture, p.Variant
	return &c
}

// DaemonConfig says where the Docker daemon of a context is.
func DaemonConfig(sys *types.SystemContext) daemon.Config {
	if sys == nil {
		return daemon.Config{}
	}
	return daemon.Config{Host: sys.DockerDaemonHost, CertDir: sys.DockerDaemonCertPath, InsecureSkipVerify: sys.DockerDaemonInsecureSkipTLSVerify}
}
