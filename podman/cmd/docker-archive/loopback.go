package main

import (
	"net"
	"net/netip"
	"strings"

	"go.podman.io/image/v5/docker"
	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/pkg/sysregistriesv2"
	"go.podman.io/image/v5/types"
)

// trustingLoopback returns the context for what is in a repository: sys or, if that is on
// this machine, one with which its registry is asked by plain HTTP where it has no HTTPS,
// and its certificate is not verified, as Docker does; unless a flag or registries.conf
// says how it is reached.
func trustingLoopback(sys *types.SystemContext, repository reference.Named) *types.SystemContext {
	if sys.DockerInsecureSkipTLSVerify != types.OptionalBoolUndefined || sys.DockerCertPath != "" || !isLoopback(reference.Domain(repository)) {
		return sys
	}
	if configured, err := sysregistriesv2.FindRegistry(sys, repository.Name()); err != nil || configured != nil {
		return sys
	}
	trusting := *sys
	trusting.DockerInsecureSkipTLSVerify = types.OptionalBoolTrue
	return &trusting
}

// contextOf is trustingLoopback for any reference.
func contextOf(sys *types.SystemContext, ref types.ImageReference) *types.SystemContext {
	if ref.Transport().Name() != docker.Transport.Name() {
		return sys
	}
	return trustingLoopback(sys, ref.DockerReference())
}

// isLoopback reports whether a host, with or without a port, is this machine.
func isLoopback(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	address, err := netip.ParseAddr(strings.Trim(host, "[]")) // In brackets if there is no port.
	return host == "localhost" || err == nil && address.IsLoopback()
}
