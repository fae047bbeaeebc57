package webclient_test

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/internal/webclient"
)

// A program may have wrapped the default transport, to trace requests, say.
func TestDefaultTransport(t *testing.T) {
	plain, err := webclient.Transport("", false)
	require.NoError(t, err)
	before := http.DefaultTransport
	t.Cleanup(func() { http.DefaultTransport = before })
	http.DefaultTransport = struct{ http.RoundTripper }{before}
	other, err := webclient.Transport("", false)
	require.NoError(t, err)
	assert.NotNil(t, other.Proxy)
	assert.NotNil(t, other.DialContext)
	assert.Equal(t, plain.TLSHandshakeTimeout, other.TLSHandshakeTimeout)
	assert.Equal(t, plain.IdleConnTimeout, other.IdleConnTimeout)
	assert.Equal(t, plain.MaxIdleConnsPerHost, other.MaxIdleConnsPerHost)
	assert.Equal(t, plain.ForceAttemptHTTP2, other.ForceAttemptHTTP2)
}
