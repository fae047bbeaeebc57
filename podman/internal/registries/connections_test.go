package registries_test

import (
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/dockerarchive/dockerarchive/podman/internal/imagetest"
)

// As many ranges as come at once at most use the same connections again, blob after blob.
func TestConnectionsOfRanges(t *testing.T) {
	const lines, blobs = 16, 4
	server := &blobServer{}
	var all sync.WaitGroup // those that are asked for at once
	server.answer = func(_ http.ResponseWriter, _ *http.Request) bool {
		all.Done()
		all.Wait()
		return false
	}
	var connections atomic.Int32
	s := httptest.NewUnstartedServer(server)
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			connections.Add(1)
		}
	}
	s.Start()
	t.Cleanup(s.Close)
	host := s.Listener.Addr().String()
	c := newClient(t, imagetest.RegistryContext(t))
	prepare(t, c, host)
	before := connections.Load()
	for range blobs {
		all.Add(lines)
		var read sync.WaitGroup
		for range lines {
			read.Go(func() { assert.NoError(t, readRange(t, c, host)) })
		}
		read.Wait()
	}
	assert.EqualValues(t, lines*blobs, server.ranges.Load())
	assert.LessOrEqual(t, connections.Load()-before, int32(lines))
}
