package registries

import (
	"net/netip"
	"strings"

	"go.podman.io/image/v5/docker/reference"
)

// ParseNamed is reference.ParseNamed, but that the host may be an IPv6 address, as in
// [::1]:5000/app:1. References of containers/image cannot have one. References for a
// Client can, and so can all that WithTag, WithDigest and TrimNamed make of them.
func ParseNamed(name string) (reference.Named, error) {
	named, err := ParseNormalizedNamed(name)
	if err == nil && named.String() != name {
		return nil, reference.ErrNameNotCanonical
	}
	return named, err
}

// ParseNormalizedNamed is reference.ParseNormalizedNamed, but that the host may be an IPv6
// address.
func ParseNormalizedNamed(name string) (reference.Named, error) {
	address, rest, ok := cutIPv6(name)
	if !ok {
		return reference.ParseNormalizedNamed(name)
	}
	named, err := reference.ParseNormalizedNamed("ipv6.invalid" + rest)
	if err != nil {
		return nil, err
	}
	_, port, hasPort := strings.Cut(reference.Domain(named), ":")
	if hasPort {
		address += ":" + port
	}
	whole := reference.TrimNamed(onHost{named, address})
	if tagged, ok := named.(reference.Tagged); ok {
		if whole, err = reference.WithTag(whole, tagged.Tag()); err != nil {
			return nil, err
		}
	}
	if digested, ok := named.(reference.Digested); ok {
		return reference.WithDigest(whole, digested.Digest())
	}
	return whole, nil
}

// cutIPv6 splits a name that begins with an IPv6 address in brackets.
func cutIPv6(s string) (address, rest string, ok bool) {
	end := strings.IndexByte(s, ']') + 1
	if !strings.HasPrefix(s, "[") || end == 0 {
		return "", s, false
	}
	ip, err := netip.ParseAddr(s[1 : end-1])
	if err != nil || !ip.Is6() || ip.Zone() != "" || !strings.HasPrefix(s[end:], ":") && !strings.HasPrefix(s[end:], "/") {
		return "", s, false
	}
	return s[:end], s[end:], true
}

// onHost is a repository on another host. The package reference takes host and path of it.
type onHost struct {
	reference.Named
	host string
}

// Name returns the host and the path.
func (n onHost) Name() string { return n.host + "/" + n.Path() }

// String returns the name.
func (n onHost) String() string { return n.Name() }

// Domain returns the host.
func (n onHost) Domain() string { return n.host }

// Path returns the path.
func (n onHost) Path() string { return reference.Path(n.Named) }
