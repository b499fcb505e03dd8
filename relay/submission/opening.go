package submission

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"time"
)

// opening watches how a connection begins, in clear or with TLS, and finds what
// keeps it from going on.
type opening struct {
	began   bool      // the client has sent something
	spoken  bool      // in clear, before TLS
	tls     bool      // TLS, from the go-ahead or from the start
	since   time.Time // when tls was set
	offered uint16    // the highest TLS version of the ClientHello; 0 before it
	oldKeys bool      // the ClientHello offers no key exchange but RSA
	told    bool      // what went wrong has been said

	failed func(reason, hint string) // logs and counts
}

// recordHandshake is the first octet of a ClientHello (RFC 8446, section 5.1).
const recordHandshake = 22

// How a header of the PROXY protocol begins, in version 1 and 2.
var proxyHeaders = [][]byte{[]byte("PROXY "), []byte("\r\n\r\n\x00\r\nQUIT\n")}

// startTLS notes that the next octets are TLS.
func (o *opening) startTLS() {
	o.spoken = o.began
	o.tls = true
	o.since = time.Now()
}

// fail says what went wrong, once.
func (o *opening) fail(reason, hint string) {
	if !o.told {
		o.told = true
		o.failed(reason, hint)
	}
}

// read looks at octets from the client.
func (o *opening) read(b []byte) error {
	if o.began || len(b) == 0 {
		return nil
	}
	o.began = true
	if !o.tls && b[0] == recordHandshake {
		o.fail("TLS where SMTP was expected", "set the client to STARTTLS, or to the port of a listener with tls: implicit; or give it a profile with tls_on_connect: true")
		return net.ErrClosed
	}
	for _, header := range proxyHeaders {
		if bytes.HasPrefix(b, header) {
			o.fail("a PROXY header from a stranger", "if it is your balancer, add its address to proxy_protocol of the listener")
			return net.ErrClosed
		}
	}
	return nil
}

// hint is what may have gone wrong, as far as one can see from here, where TLS
// has to be least at least.
func (o *opening) hint(least uint16) string {
	switch {
	case o.offered == 0:
		return "what the client sent is not TLS"
	case o.offered < least:
		return "the client offers at most " + tls.VersionName(o.offered) + ", which is not accepted; look for an update of its firmware, or give it a profile with min_tls"
	case o.oldKeys:
		return "the client offers no key exchange but RSA; look for an update of its firmware, or give it a profile with rsa_key_exchange: true"
	default:
		return "the client broke it off or found no common version or cipher; it may not trust the certificate, or have connected by a name that is not in it"
	}
}

// noteHello is tls.Config.GetConfigForClient: it changes nothing.
func noteHello(hello *tls.ClientHelloInfo) (*tls.Config, error) {
	if g, ok := hello.Conn.(*guard); ok && len(hello.SupportedVersions) > 0 {
		g.opening.offered = slices.Max(hello.SupportedVersions)
		g.opening.oldKeys = !slices.ContainsFunc(hello.CipherSuites, hasOwnKeys)
	}
	return nil, nil
}

// hasOwnKeys tells whether a suite makes keys for each connection.
func hasOwnKeys(suite uint16) bool {
	name := tls.CipherSuiteName(suite)
	return strings.HasPrefix(name, "TLS_ECDHE_") || strings.HasPrefix(name, "TLS_AES_") || strings.HasPrefix(name, "TLS_CHACHA20_")
}

// handshake sets up TLS.
func (o *opening) handshake(conn *tls.Conn, least uint16) error {
	err := conn.Handshake()
	var notTLS tls.RecordHeaderError
	switch {
	case err == nil:
	case o.spoken:
		o.fail("STARTTLS handshake failed: "+err.Error(), o.hint(least))
	case errors.Is(err, io.EOF) && !o.began:
		// somebody looked whether the port is open
	case !o.began:
		o.fail("no TLS handshake", "the client said nothing; if it waits for a greeting, set it to TLS (SSL) or to the STARTTLS port")
	case errors.As(err, &notTLS):
		o.fail("no TLS handshake", "what the client sent is not TLS; set it to TLS (SSL) or to the STARTTLS port")
	default:
		o.fail("TLS handshake failed: "+err.Error(), o.hint(least))
	}
	return err
}
