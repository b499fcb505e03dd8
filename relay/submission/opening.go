package submission

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"slices"
	"time"
)

// opening watches how a connection begins: in clear until the go-ahead for
// STARTTLS, or with TLS at once.
//
// go-smtp answers a handshake that failed in clear and goes on reading
// commands. After the go-ahead, though, only TLS may leave: whatever else is
// written tells that the handshake failed, and the connection ends there.
type opening struct {
	began   bool      // the client has sent something
	greeted bool      // the greeting was written
	tls     bool      // TLS, from the go-ahead or from the start
	since   time.Time // when tls was set
	offered uint16    // the highest TLS version of the ClientHello; 0 before it
	settled bool      // the handshake is known to have succeeded or failed

	failed func(reason, hint string) // logs and counts
}

// The first octets of TLS records (RFC 8446, section 5.1).
const (
	recordFirst     = 20
	recordHandshake = 22
	recordLast      = 23
)

// startTLS notes that the next octets are TLS.
func (o *opening) startTLS() {
	o.tls = true
	o.since = time.Now()
}

// read looks at octets from the client.
func (o *opening) read(b []byte) error {
	first := !o.began && len(b) > 0
	o.began = o.began || first
	if first && !o.tls && b[0] == recordHandshake {
		o.failed("TLS where SMTP was expected", "set the client to STARTTLS, or to the port of a listener with tls: implicit")
		return net.ErrClosed
	}
	return nil
}

// write looks at octets for the client. The first 220 is the greeting, the
// second the go-ahead (RFC 3207, section 4).
func (o *opening) write(b []byte) error {
	if !o.tls {
		if bytes.HasPrefix(b, []byte("220 ")) {
			if o.greeted {
				o.startTLS()
			}
			o.greeted = true
		}
		return nil
	}
	if len(b) > 0 && recordFirst <= b[0] && b[0] <= recordLast {
		return nil
	}
	if !o.settled {
		o.settled = true
		o.failed("STARTTLS handshake failed", o.hint())
	}
	return net.ErrClosed
}

// hint is what may have gone wrong, as far as one can see from here.
func (o *opening) hint() string {
	switch {
	case o.offered == 0:
		return "what the client sent is not TLS"
	case o.offered < tls.VersionTLS12:
		return "the client offers at most " + tls.VersionName(o.offered) + ", which is not accepted; look for an update of its firmware"
	default:
		return "the client broke it off or found no common version or cipher; it may not trust the certificate, or have connected by a name that is not in it"
	}
}

// noteHello is tls.Config.GetConfigForClient: it changes nothing.
func noteHello(hello *tls.ClientHelloInfo) (*tls.Config, error) {
	if g, ok := hello.Conn.(*guard); ok && len(hello.SupportedVersions) > 0 {
		g.opening.offered = slices.Max(hello.SupportedVersions)
	}
	return nil, nil
}

// handshake sets up implicit TLS.
func (o *opening) handshake(conn *tls.Conn) error {
	o.settled = true // plain text is not possible here
	err := conn.Handshake()
	var notTLS tls.RecordHeaderError
	switch {
	case err == nil:
	case errors.Is(err, io.EOF) && !o.began:
		// somebody looked whether the port is open
	case !o.began:
		o.failed("no TLS handshake", "the client said nothing; if it waits for a greeting, set it to TLS (SSL) or to the STARTTLS port")
	case errors.As(err, &notTLS):
		o.failed("no TLS handshake", "what the client sent is not TLS; set it to TLS (SSL) or to the STARTTLS port")
	default:
		o.failed("TLS handshake failed: "+err.Error(), o.hint())
	}
	return err
}
