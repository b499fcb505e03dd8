package upstream_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"postern/relay/setting"
	"postern/relay/upstream"
	"postern/relay/upstream/smtp"
	"postern/relay/upstream/transport"
)

// ownCertificate writes a certificate of that name, made by nobody else, and its
// key over the files.
func ownCertificate(t *testing.T, files smtp.Certificate, name string, until time.Time) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(3), Subject: pkix.Name{CommonName: name}, NotBefore: time.Unix(0, 0), NotAfter: until,
		IsCA: true, BasicConstraintsValid: true, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for path, block := range map[string]*pem.Block{files.Certificate: {Type: "CERTIFICATE", Bytes: der}, files.Key: {Type: "PRIVATE KEY", Bytes: private}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func keyFiles(t *testing.T) smtp.Certificate {
	dir := t.TempDir()
	return smtp.Certificate{Certificate: filepath.Join(dir, "our.crt"), Key: filepath.Join(dir, "our.key")}
}

func TestOurCertificate(t *testing.T) {
	for _, c := range []struct {
		name       string
		auth       string
		mechanisms []string
		password   bool
		want       string // what is said of AUTH
	}{
		{"alone, where no AUTH is offered", "", nil, false, ""},
		{"alone, where AUTH by password is offered", "AUTH PLAIN LOGIN", nil, false, ""},
		{"by EXTERNAL, where that is offered", "AUTH PLAIN EXTERNAL", nil, false, "AUTH EXTERNAL cmVsYXlAZXhhbXBsZS5jb20="},
		{"by EXTERNAL, as asked for", "AUTH PLAIN EXTERNAL", []string{"EXTERNAL"}, true, "AUTH EXTERNAL cmVsYXlAZXhhbXBsZS5jb20="},
		{"besides a password", "AUTH EXTERNAL LOGIN", nil, true, "AUTH LOGIN"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newServer(t)
			var shown string
			s.ext = without(append(without(fullExtensions, "AUTH PLAIN LOGIN"), c.auth), "")
			s.tls.ClientAuth = tls.RequireAnyClientCert
			s.tls.VerifyConnection = func(state tls.ConnectionState) error {
				shown = state.PeerCertificates[0].Subject.CommonName
				return nil
			}
			u := smarthost(t, s.listen(t))
			u.Certificate, u.Mechanisms = keyFiles(t), c.mechanisms
			ownCertificate(t, u.Certificate, "first", time.Unix(1<<33, 0))
			if !c.password {
				u.Password = setting.Secret{}
			}
			o, _ := options(t)
			u.Limits.MessagesPerConnection = 1
			set := newSet(t, route(u), o)
			for _, name := range []string{"first", "renewed"} { // each connection shows what is in the files
				ownCertificate(t, u.Certificate, name, time.Unix(1<<33, 0))
				if results, err := send(t, set, letter("x\r\n", "a@example.net")); err != nil || outcomes(results) != "delivered" || shown != name {
					t.Fatalf("%v, %v; shown %q", results, err, shown)
				}
			}
			heard := s.heard()
			said := ""
			if i := slices.IndexFunc(heard, func(l string) bool { return strings.HasPrefix(l, "AUTH") }); i >= 0 {
				said = heard[i]
			}
			if said != c.want {
				t.Errorf("said %q; want %q", said, c.want)
			}
		})
	}
}

func TestACertificateOfTheServerThatIsNoGood(t *testing.T) {
	files := keyFiles(t)
	for _, c := range []struct {
		name string
		set  func(s *server, u *upstream.Upstream)
		want string
	}{
		{"expired", func(s *server, u *upstream.Upstream) {
			s.tls.Certificates = []tls.Certificate{ownCertificate(t, files, "mx", time.Unix(1, 0))}
			u.CA = files.Certificate
		}, "check the clock"},
		{"foreign", func(s *server, u *upstream.Upstream) {
			s.tls.Certificates = []tls.Certificate{ownCertificate(t, files, "mx", time.Unix(1<<33, 0))}
		}, "set ca"},
		{"too old a TLS", func(s *server, u *upstream.Upstream) { s.tls.MaxVersion, u.MinTLS = tls.VersionTLS12, "1.3" }, "min_tls"},
		{"a server that wants a certificate of ours", func(s *server, u *upstream.Upstream) { s.tls.ClientAuth = tls.RequireAnyClientCert }, "check certificate"},
		{"the same, by an older TLS", func(s *server, u *upstream.Upstream) {
			s.tls.ClientAuth, s.tls.MaxVersion = tls.RequireAnyClientCert, tls.VersionTLS12
		}, "check certificate"},
		{"files of ours that are gone", func(s *server, u *upstream.Upstream) {
			s.tls.ClientAuth, u.Certificate = tls.RequireAnyClientCert, smtp.Certificate{Certificate: "/gone.crt", Key: "/gone.key"}
		}, "/gone.crt"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newServer(t)
			u := smarthost(t, "")
			c.set(s, &u)
			u.Address = s.listen(t)
			set, good := beside(t, u)
			slot := set.TrySlot("default")
			_, err := slot.Send(t.Context(), letter("x\r\n", "a@example.net"), nil)
			slot.Release()
			checkFault(t, "tls", c.want, nil, err)
			if results, err := send(t, set, letter("x\r\n", "a@example.net")); err != nil || outcomes(results) != "delivered" || len(good.got()) != 1 {
				t.Errorf("the second upstream: %v, %v", results, err)
			}
		})
	}
}

// garbled is a connection whose server goes on in clear under TLS from that write
// on, or, if cut, ends without saying so in TLS.
type garbled struct {
	net.Conn
	writes, from int
	cut          bool
}

func (g *garbled) Write(p []byte) (int, error) {
	if g.writes++; g.writes < g.from {
		return g.Conn.Write(p)
	}
	if g.cut {
		g.Conn.Close()
		return 0, net.ErrClosed
	}
	return g.Conn.Write([]byte("250 2.0.0 ok, in clear\r\n250 2.0.0 queued as 4711\r\n"))
}

// What breaks TLS at any write of the server breaks the session: nothing is taken
// for a reply that did not come through it.
func TestTLSThatBreaks(t *testing.T) {
	for _, cut := range []bool{true, false} {
		seen := map[string]bool{}
		for from := 1; !seen["delivered"]; from++ {
			s := newServer(t)
			o, _ := options(t)
			set := newSet(t, route(smarthost(t, "127.0.0.1:1")), o)
			s.wrap = func(nc net.Conn) net.Conn { return &garbled{Conn: nc, from: from, cut: cut} }
			address := s.listen(t)
			set.Dial("smart", func(context.Context) (net.Conn, error) { return net.Dial("tcp", address) })
			results, err := send(t, set, letter("x\r\n", "a@example.net"))
			got := outcomes(results)
			if err != nil {
				got = err.(*transport.Unreachable).Phase
			}
			seen[got] = true
			if n := len(s.got()); (got == "delivered" || got == "uncertain") != (n == 1) {
				t.Errorf("cut %v from write %d on: %s, and the server has %d", cut, from, got, n)
			}
			if from > 30 {
				t.Fatal("never delivered")
			}
		}
		for _, want := range []string{"greeting", "tls", "auth", "deferred", "uncertain", "delivered"} {
			if !seen[want] {
				t.Errorf("cut %v: nothing is %s: %v", cut, want, seen)
			}
		}
	}
}

func TestSourceAddress(t *testing.T) {
	s := newServer(t)
	from := make(chan string, 1)
	s.wrap = func(nc net.Conn) net.Conn { from <- nc.RemoteAddr().String(); return nc }
	u := smarthost(t, s.listen(t))
	u.SourceAddress = "127.0.0.9"
	o, _ := options(t)
	if results, err := send(t, newSet(t, route(u), o), letter("x\r\n", "a@example.net")); err != nil || outcomes(results) != "delivered" {
		t.Fatal(results, err)
	}
	if got := <-from; !strings.HasPrefix(got, "127.0.0.9:") {
		t.Errorf("connected from %s", got)
	}
	u.SourceAddress = "192.0.2.1" // nobody's (RFC 5737)
	_, err := send(t, newSet(t, route(u), o), letter("x\r\n", "a@example.net"))
	checkFault(t, "connect", "source_address must be an address of this machine", nil, err)
}

func TestLimitsOfTheServer(t *testing.T) {
	s := newServer(t)
	s.ext = append(fullExtensions[:len(fullExtensions):len(fullExtensions)], "LIMITS MAILMAX=2 RCPTMAX=7 RCPTDOMAINMAX=1")
	o, _ := options(t)
	set := newSet(t, route(smarthost(t, s.listen(t))), o)
	for range 4 {
		if _, err := send(t, set, letter("x\r\n", "a@example.net")); err != nil {
			t.Fatal(err)
		}
	}
	if offer := set.Offers("default")[0][0].Offer; offer.Recipients != 7 || s.count() != 2 {
		t.Errorf("%+v, %d sessions", offer, s.count())
	}
}
