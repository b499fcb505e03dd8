package smtp

import (
	"crypto/tls"
	"crypto/x509"
)

// Certificate is one of ours, as PEM files; without: none. They are read at each
// handshake, so that renewed ones are shown without a reload.
type Certificate struct {
	Certificate string `yaml:"certificate"`
	Key         string `yaml:"key"`
}

// IsZero tells that there is none.
func (c Certificate) IsZero() bool { return c == Certificate{} }

// Read reads both files and checks that they belong together.
func (c Certificate) Read() (tls.Certificate, error) {
	return tls.LoadX509KeyPair(c.Certificate, c.Key)
}

// clientTLS verifies against the roots (the system's when nil), always by name
// and always with SNI.
func clientTLS(cfg Config) *tls.Config {
	config := &tls.Config{ServerName: cfg.ServerName, MinVersion: cfg.MinTLS}
	if cfg.Roots != nil {
		config.RootCAs = x509.NewCertPool()
		config.RootCAs.AppendCertsFromPEM(cfg.Roots)
	}
	if cfg.Certificate.IsZero() {
		config.ClientSessionCache = tls.NewLRUClientSessionCache(4)
		return config
	}
	// A session that is resumed goes on under the certificate it began with.
	config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		pair, err := cfg.Certificate.Read()
		return &pair, err
	}
	return config
}
