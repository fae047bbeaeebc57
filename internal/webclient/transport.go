// Package webclient makes connections to servers with archives: with the certificates that a caller
// names, and through the proxies of the environment. It does not know the protocol above them.
package webclient

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// idle is how many connections to a server are kept for the next requests.
const idle = 16

// Transport returns a transport that Configure has set up and that uses the proxies of the environment. It has the
// limits of http.DefaultTransport, or net/http's own if a program has put something else there.
func Transport(certDir string, skipVerify bool) (*http.Transport, error) {
	transport, ok := http.DefaultTransport.(*http.Transport)
	if ok {
		transport = transport.Clone()
	} else {
		transport = &http.Transport{
			Proxy:                 http.ProxyFromEnvironment,
			DialContext:           (&net.Dialer{Timeout: 30 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
			ForceAttemptHTTP2:     true,
			MaxIdleConns:          100,
			IdleConnTimeout:       90 * time.Second,
			TLSHandshakeTimeout:   10 * time.Second,
			ExpectContinueTimeout: time.Second,
		}
	}
	return transport, Configure(transport, certDir, skipVerify)
}

// Configure makes a transport take content as it is sent and keep its connections. The transport must not be in use.
// certDir, unless it is "", has certificates: *.crt of authorities, and *.cert with *.key of this client. With
// skipVerify, the transport verifies no certificate.
func Configure(transport *http.Transport, certDir string, skipVerify bool) error {
	transport.DisableCompression = true
	transport.MaxIdleConnsPerHost = idle
	if transport.TLSClientConfig == nil {
		transport.TLSClientConfig = &tls.Config{}
	}
	transport.TLSClientConfig.MinVersion = tls.VersionTLS12
	transport.TLSClientConfig.InsecureSkipVerify = skipVerify
	if certDir == "" {
		return nil
	}
	if err := addCertificates(transport.TLSClientConfig, certDir); err != nil {
		return fmt.Errorf("reading certificates: %w", err)
	}
	return nil
}

func addCertificates(config *tls.Config, dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		path := filepath.Join(dir, entry.Name())
		switch filepath.Ext(path) {
		case ".crt":
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			if config.RootCAs == nil {
				if config.RootCAs, err = x509.SystemCertPool(); err != nil {
					config.RootCAs = x509.NewCertPool()
				}
			}
			if !config.RootCAs.AppendCertsFromPEM(data) {
				return fmt.Errorf("%s has no certificate", path)
			}
		case ".cert":
			certificate, err := tls.LoadX509KeyPair(path, strings.TrimSuffix(path, ".cert")+".key")
			if err != nil {
				return err
			}
			config.Certificates = append(config.Certificates, certificate)
		}
	}
	return nil
}
