package main

import (
	"fmt"
	"strings"

	"github.com/containers/image/v5/types"

	"github.com/dockerarchive/dockerarchive/internal/daemon"
)

// locateDaemon says in sys where the docker daemon is, as docker itself finds it. What
// flags have said stays.
func locateDaemon(sys *types.SystemContext) error {
	if sys.DockerDaemonHost != "" {
		return nil // tcp:// means TLS there, as for skopeo.
	}
	found, err := daemon.Find(daemon.Chosen{Config: daemon.Config{
		CertDir: sys.DockerDaemonCertPath, InsecureSkipVerify: sys.DockerDaemonInsecureSkipTLSVerify,
	}})
	if err != nil {
		return err
	}
	if _, address, ok := strings.Cut(found.Host, "ssh://"); ok {
		return fmt.Errorf("the docker daemon at ssh://%s is reached by ssh, over which no images are copied: use 'docker save' there, or forward the socket",
			address[strings.LastIndex(address, "@")+1:]) // Without the password that it may have.
	}
	sys.DockerDaemonHost, sys.DockerDaemonCertPath = found.Host, found.CertDir
	sys.DockerDaemonInsecureSkipTLSVerify = found.InsecureSkipVerify
	return nil
}
