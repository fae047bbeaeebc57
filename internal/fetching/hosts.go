package fetching

import (
	"context"
	"sync"
)

// Hosts is what has been learnt of the hosts that ranges come from. Several Fetchers may
// share it, also at the same time. The zero value knows none.
type Hosts struct {
	mu    sync.Mutex
	known map[string]*host
}

// maxHosts bounds what is remembered, in hosts.
const maxHosts = 256

// of returns what is known of a host. When there are too many, another one is forgotten.
func (h *Hosts) of(name string) *host {
	h.mu.Lock()
	defer h.mu.Unlock()
	if known := h.known[name]; known != nil {
		return known
	}
	if h.known == nil {
		h.known = map[string]*host{}
	}
	for other := range h.known {
		if len(h.known) < maxHosts {
			break
		}
		delete(h.known, other)
	}
	h.known[name] = &host{}
	return h.known[name]
}

type hostsKey struct{}

// Remembering returns a context with Hosts for all that is done with it. Those that ctx has
// stay.
func Remembering(ctx context.Context) context.Context {
	if HostsOf(ctx) != nil {
		return ctx
	}
	return context.WithValue(ctx, hostsKey{}, new(Hosts))
}

// HostsOf returns the Hosts of a context, or nil.
func HostsOf(ctx context.Context) *Hosts {
	hosts, _ := ctx.Value(hostsKey{}).(*Hosts)
	return hosts
}

// hostOf returns what is known of the host that the ranges of an image come from, nil if it
// has none. The host changes when a mirror turns out to have the image.
func (f *Fetcher) hostOf(img *Image) *host {
	ranged, ok := img.source.(RangeSource)
	if !ok {
		return nil
	}
	name := ranged.Host()
	img.hostMu.Lock()
	defer img.hostMu.Unlock()
	switch {
	case name == "":
		return nil
	case img.host == nil || img.hostName != name:
		img.host, img.hostName = f.options.Hosts.of(name), name
	}
	return img.host
}
