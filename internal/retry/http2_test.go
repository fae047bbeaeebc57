package retry

import (
	"crypto/tls"
	"encoding/binary"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var discard = log.New(io.Discard, "", 0)

// HTTP/2 frame types (RFC 9113, section 6).
const (
	headersFrame   = 1
	resetFrame     = 3
	settingsFrame  = 4
	goAwayFrame    = 7
	clientPreface  = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
	frameHeaderLen = 9
)

func frame(kind byte, stream uint32, payload ...uint32) []byte {
	b := []byte{0, 0, byte(4 * len(payload)), kind, 0}
	b = binary.BigEndian.AppendUint32(b, stream)
	for _, word := range payload {
		b = binary.BigEndian.AppendUint32(b, word)
	}
	return b
}

// serveHTTP2 accepts a client's connection, waits for its request, answers with
// the frames, and leaves it to the client to close the connection if told so.
func serveHTTP2(t *testing.T, c net.Conn, config *tls.Config, wait bool, frames ...[]byte) {
	s := tls.Server(c, config)
	defer s.Close() // The client sees an end, or has left.
	preface := make([]byte, len(clientPreface))
	if _, err := io.ReadFull(s, preface); err != nil {
		return
	}
	_, err := s.Write(frame(settingsFrame, 0))
	assert.NoError(t, err)
	for kind := byte(0); kind != headersFrame; {
		header := make([]byte, frameHeaderLen)
		if _, err := io.ReadFull(s, header); err != nil {
			return
		}
		kind = header[3]
		length := int64(header[0])<<16 | int64(header[1])<<8 | int64(header[2])
		if _, err := io.CopyN(io.Discard, s, length); err != nil {
			return
		}
	}
	for _, f := range frames {
		_, err := s.Write(f)
		assert.NoError(t, err)
	}
	if wait {
		io.Copy(io.Discard, s) // Until the client leaves.
	}
}

// http2Error returns the error of a GET from a server that answers with frames.
func http2Error(t *testing.T, wait bool, frames ...[]byte) error {
	t.Helper()
	certified := httptest.NewTLSServer(nil)
	certified.Close()
	config := &tls.Config{Certificates: certified.TLS.Certificates, NextProtos: []string{"h2"}}
	address := listen(t, func(c net.Conn) { serveHTTP2(t, c, config, wait, frames...) })
	transport := certified.Client().Transport.(*http.Transport).Clone()
	transport.ForceAttemptHTTP2 = true
	defer transport.CloseIdleConnections()
	return get(t, &http.Client{Transport: transport}, "https://"+address)
}

func TestHTTP2GoAway(t *testing.T) {
	err := http2Error(t, false, frame(goAwayFrame, 0, 1, 2))
	require.ErrorContains(t, err, "http2: server sent GOAWAY and closed the connection")
	judged(t, true, err)
}

func TestHTTP2StreamErrors(t *testing.T) {
	// net/http itself repeats requests that ended with 1 or 7.
	for code, want := range map[uint32]bool{0: true, 2: true, 8: true, 0xb: true, 0xc: false, 0xd: false} {
		err := http2Error(t, true, frame(resetFrame, 1, code))
		require.ErrorContains(t, err, "stream error: ")
		judged(t, want, err)
	}
}

// A real server's handler breaks off, before its answer and within it.
func TestHTTP2Abort(t *testing.T) {
	for _, path := range []string{"/before", "/within"} {
		server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/within" {
				io.WriteString(w, "some")             // The client sees whether it arrived.
				http.NewResponseController(w).Flush() // Likewise.
			}
			panic(http.ErrAbortHandler)
		}))
		server.EnableHTTP2 = true
		server.Config.ErrorLog = discard
		server.StartTLS()
		err := get(t, server.Client(), server.URL+path)
		server.Close()
		require.ErrorContains(t, err, "stream error: ")
		judged(t, true, err)
	}
}

// The connection ends under a request.
func TestHTTP2ConnectionEnds(t *testing.T) {
	judged(t, true, http2Error(t, false))
}
