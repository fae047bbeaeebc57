package https

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/dockerarchive/dockerarchive/internal/input"
)

// newTransport returns a transport with the TLS settings of access. It goes through
// the proxies of the environment.
func newTransport(access input.Access) (*http.Transport, error) {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.DisableCompression = true
	transport.MaxIdleConnsPerHost = 16
	transport.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: access.SkipVerify}
	if access.CertDir == "" {
		return transport, nil
	}
	if err := addCertificates(transport.TLSClientConfig, access.CertDir); err != nil {
		return nil, fmt.Errorf("reading certificates: %w", err)
	}
	return transport, nil
}

// addCertificates adds those of a directory: *.crt of authorities, *.cert with *.key of this client.
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
