package main

import (
	"net"
	"net/netip"

	"github.com/containers/image/v5/docker"
	"github.com/containers/image/v5/docker/reference"
	"github.com/containers/image/v5/pkg/sysregistriesv2"
	"github.com/containers/image/v5/types"
)

// trustLoopback has registries on this machine asked by plain HTTP where they have no
// HTTPS, and does not verify their certificates, as Docker does, unless a flag or
// registries.conf says how they are reached. If any of the repositories is on another
// machine, all are verified.
func trustLoopback(sys *types.SystemContext, repositories ...reference.Named) {
	told := sys.DockerInsecureSkipTLSVerify != types.OptionalBoolUndefined || sys.DockerCertPath != ""
	if told || len(repositories) == 0 {
		return
	}
	for _, r := range repositories {
		if !isLoopback(reference.Domain(r)) {
			return
		}
		if configured, err := sysregistriesv2.FindRegistry(sys, r.Name()); err != nil || configured != nil {
			return
		}
	}
	sys.DockerInsecureSkipTLSVerify = types.OptionalBoolTrue
}

// inRegistries returns the repositories of those references that are in registries.
func inRegistries(refs ...types.ImageReference) []reference.Named {
	var repositories []reference.Named
	for _, ref := range refs {
		if ref.Transport().Name() == docker.Transport.Name() {
			repositories = append(repositories, ref.DockerReference())
		}
	}
	return repositories
}

// parsed returns what arguments refer to, of those that do. For the others there are
// errors later.
func parsed(args []argument) []types.ImageReference {
	var refs []types.ImageReference
	for _, arg := range args {
		if ref, _, err := parseImage(arg.text); err == nil {
			refs = append(refs, ref)
		}
	}
	return refs
}

// isLoopback reports whether a host, with or without a port, is this machine.
func isLoopback(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	address, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && address.IsLoopback()
}
