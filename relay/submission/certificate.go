package submission

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"postern/metrics"
)

// certificates is the pairs offered to clients. They are read again when a
// file changes, so that a renewed certificate needs neither a reload nor an
// end of any session.
type certificates struct {
	metrics *metrics.Metrics
	log     *slog.Logger

	mu      sync.Mutex
	pairs   []*pair
	checked time.Time // when the files were last looked at
}

// pair is one certificate with the state its files were in when it was read,
// or last failed to be read.
type pair struct {
	Certificate
	loaded *tls.Certificate
	seen   [2]fileState
}

// fileState is what tells one version of a file from another.
type fileState struct {
	modified time.Time
	size     int64
}

// listenerCertificate is how the metrics name this kind of what expires.
const listenerCertificate = "listener_certificate"

// checkEvery is how often handshakes may look at the files.
const checkEvery = time.Second

// loadCertificates reads all pairs; the error names the first that cannot be.
func loadCertificates(list []Certificate, m *metrics.Metrics, log *slog.Logger) (*certificates, error) {
	if len(list) == 0 {
		return nil, fmt.Errorf("tls.certificates is empty; clients need a certificate to log in safely")
	}
	c := &certificates{metrics: m, log: log, checked: time.Now()}
	for _, files := range list {
		p := &pair{Certificate: files, seen: files.state()}
		var err error
		if p.loaded, err = files.load(); err != nil {
			return nil, err
		}
		c.pairs = append(c.pairs, p)
	}
	return c, nil
}

// show exports when the certificates end, and takes away those offered before.
func (c *certificates) show() {
	c.metrics.CredentialExpiry.DeletePartialMatch(prometheus.Labels{"kind": listenerCertificate})
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range c.pairs {
		c.showEnd(p)
	}
}

func (c *certificates) showEnd(p *pair) {
	c.metrics.CredentialExpiry.WithLabelValues(listenerCertificate, p.Certificate.Certificate).Set(float64(p.loaded.Leaf.NotAfter.Unix()))
}

// choose is tls.Config.GetCertificate: the first pair the client supports. A
// client that asks for a name we do not have still gets the kind of key it
// understands; one that understands none gets the first.
func (c *certificates) choose(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	return choose(c.current(time.Now()), hello), nil
}

// chooseRSA is choose with the RSA certificates before the others.
func (c *certificates) chooseRSA(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	current := c.current(time.Now())
	slices.SortStableFunc(current, func(a, b *tls.Certificate) int { return cmp.Compare(rank(a), rank(b)) })
	return choose(current, hello), nil
}

func rank(c *tls.Certificate) int {
	if c.Leaf.PublicKeyAlgorithm == x509.RSA {
		return 0
	}
	return 1
}

func choose(current []*tls.Certificate, hello *tls.ClientHelloInfo) *tls.Certificate {
	anyName := *hello
	anyName.ServerName = ""
	for _, h := range []*tls.ClientHelloInfo{hello, &anyName} {
		for _, cert := range current {
			if h.SupportsCertificate(cert) == nil {
				return cert
			}
		}
	}
	return current[0]
}

// current is the certificates as of now, read again first where files changed.
func (c *certificates) current(now time.Time) []*tls.Certificate {
	c.mu.Lock()
	defer c.mu.Unlock()
	look := now.Sub(c.checked) >= checkEvery
	if look {
		c.checked = now
	}
	list := make([]*tls.Certificate, len(c.pairs))
	for i, p := range c.pairs {
		if look {
			c.refresh(p)
		}
		list[i] = p.loaded
	}
	return list
}

// refresh reads the pair again if its files changed. Files that cannot be read
// leave the old certificate in use; that is logged once for each change.
func (c *certificates) refresh(p *pair) {
	state := p.state()
	if state == p.seen {
		return
	}
	p.seen = state
	loaded, err := p.load()
	if err != nil {
		c.log.Error("certificate kept", "reason", err.Error(), "hint", "the old one stays in use until both files fit together")
		return
	}
	p.loaded = loaded
	c.showEnd(p)
	c.log.Info("certificate read", "certificate", p.Certificate.Certificate, "expires", loaded.Leaf.NotAfter)
}

// state looks at both files; one that is missing has the zero state.
func (c Certificate) state() (s [2]fileState) {
	for i, name := range []string{c.Certificate, c.Key} {
		if info, err := os.Stat(name); err == nil {
			s[i] = fileState{modified: info.ModTime(), size: info.Size()}
		}
	}
	return s
}
