package submission

import (
	"crypto/rsa"
	"crypto/tls"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"postern/relay/message"
	"postern/relay/setting"
)

func networks(t testing.TB, list ...string) (ns setting.Networks) {
	t.Helper()
	for _, text := range list {
		var n setting.Network
		if err := n.UnmarshalText([]byte(text)); err != nil {
			t.Fatal(err)
		}
		ns = append(ns, n)
	}
	return ns
}

// openFor is open with another listener, "special", and profiles.
func openFor(t testing.TB, l Listener, profiles ...Profile) *post {
	t.Helper()
	return open(t, listening(l, profiles...))
}

func listening(l Listener, profiles ...Profile) func(*post) {
	l.Name, l.Address = "special", "127.0.0.1:0"
	return func(p *post) {
		p.config.Listeners = append(p.config.Listeners, l)
		p.config.Profiles = profiles
	}
}

// old is a client of one version that knows these suites only.
func old(version uint16, suites ...uint16) func(*tls.Config) {
	return func(cfg *tls.Config) { cfg.MinVersion, cfg.MaxVersion, cfg.CipherSuites = version, version, suites }
}

// handshakeOver tells whether a client gets TLS by STARTTLS, and over what.
func (p *post) handshakeOver(t *testing.T, listener string, change func(*tls.Config)) (tls.ConnectionState, *wireClient, error) {
	t.Helper()
	c := p.dial(t, listener)
	c.expect("220")
	c.ask("EHLO x", "250")
	c.ask("STARTTLS", "220")
	cfg := c.tlsConfig()
	change(cfg)
	conn := tls.Client(c.conn, cfg)
	if err := conn.Handshake(); err != nil {
		return tls.ConnectionState{}, c, err
	}
	c.conn, c.in = conn, nil
	return conn.ConnectionState(), c, nil
}

func TestOldEncryptionIsServedThroughAProfileOnly(t *testing.T) {
	for _, row := range []struct {
		name    string
		client  func(*tls.Config)
		profile Profile
		tls     string // how it is served; "": it is not
		hint    string // where it is not
	}{
		{"TLS 1.0 with RSA keys", old(tls.VersionTLS10, tls.TLS_RSA_WITH_AES_128_CBC_SHA),
			Profile{MinTLS: "1.0", RSAKeyExchange: true}, "TLS 1.0 TLS_RSA_WITH_AES_128_CBC_SHA", "at most TLS 1.0, which is not accepted"},
		{"TLS 1.1 with RSA keys", old(tls.VersionTLS11, tls.TLS_RSA_WITH_AES_256_CBC_SHA),
			Profile{MinTLS: "1.0", RSAKeyExchange: true}, "TLS 1.1 TLS_RSA_WITH_AES_256_CBC_SHA", "at most TLS 1.1"},
		{"TLS 1.2 with RSA keys", old(tls.VersionTLS12, tls.TLS_RSA_WITH_AES_128_GCM_SHA256),
			Profile{RSAKeyExchange: true}, "TLS 1.2 TLS_RSA_WITH_AES_128_GCM_SHA256", "rsa_key_exchange: true"},
		{"TLS 1.0 with keys of its own", old(tls.VersionTLS10, tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA),
			Profile{MinTLS: "1.0"}, "TLS 1.0 TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA", "at most TLS 1.0"},
		{"3DES", old(tls.VersionTLS10, tls.TLS_RSA_WITH_3DES_EDE_CBC_SHA),
			Profile{MinTLS: "1.0", RSAKeyExchange: true, TripleDES: true}, "TLS 1.0 TLS_RSA_WITH_3DES_EDE_CBC_SHA", "at most TLS 1.0"},
		{"3DES without the profile that allows it", old(tls.VersionTLS10, tls.TLS_RSA_WITH_3DES_EDE_CBC_SHA),
			Profile{MinTLS: "1.0", RSAKeyExchange: true}, "", ""},
		{"TLS 1.0 where RSA keys alone are allowed", old(tls.VersionTLS10, tls.TLS_RSA_WITH_AES_128_CBC_SHA),
			Profile{RSAKeyExchange: true}, "", ""},
		{"a modern client", func(*tls.Config) {}, Profile{MinTLS: "1.0", RSAKeyExchange: true, TripleDES: true}, "TLS 1.3 *", ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			row.profile.Name = "old"
			p := openFor(t, Listener{TLS: "starttls", Networks: networks(t, "127.0.0.0/8"), Profile: "old"}, row.profile)
			slices.Reverse(p.config.TLS.Certificates) // ECDSA first
			if err := p.Reload(p.config); err != nil {
				t.Fatal(err)
			}
			state, c, err := p.handshakeOver(t, "special", row.client)
			version, suite, _ := strings.Cut(row.tls, " TLS_")
			switch {
			case row.tls == "" && err == nil:
				t.Errorf("it is served with %s", tls.CipherSuiteName(state.CipherSuite))
			case row.tls != "" && err != nil:
				t.Fatal(err)
			case row.tls != "":
				if got := tls.VersionName(state.Version); !strings.HasPrefix(row.tls, got) || suite != "" && tls.CipherSuiteName(state.CipherSuite) != "TLS_"+suite {
					t.Errorf("it is served with %s %s, want %s TLS_%s", got, tls.CipherSuiteName(state.CipherSuite), version, suite)
				}
				if _, isRSA := state.PeerCertificates[0].PublicKey.(*rsa.PublicKey); !isRSA {
					t.Errorf("it gets a certificate with %T", state.PeerCertificates[0].PublicKey)
				}
				c.login()
				c.envelope()
				c.ask("QUIT", "221")
			}
			if row.hint == "" {
				return
			}
			if _, _, err := p.handshakeOver(t, "submission", row.client); err == nil {
				t.Error("it is served without the profile")
			}
			p.close(t)
			if !strings.Contains(p.log.String(), row.hint) {
				t.Errorf("the log does not say %q:\n%s", row.hint, p.log)
			}
			if n := testutil.ToFloat64(p.metrics.TLS.WithLabelValues("special", strings.TrimPrefix(tls.VersionName(state.Version), "TLS "), "ok")); n != 1 {
				t.Errorf("its handshake was counted %v times", n)
			}
		})
	}
}

// A profile is for the listener that names it, or for its networks where none is
// named; with both, for its networks there.
func TestWhomAProfileIsFor(t *testing.T) {
	named := Profile{Name: "named"}
	here, there := Profile{Name: "here"}, Profile{Name: "there"}
	here.Networks, there.Networks = networks(t, "127.0.0.0/8"), networks(t, "192.0.2.0/24")
	unused := Profile{Name: "unused"}
	for name, row := range map[string]struct {
		listener, want string
	}{
		"a listener that names one":                             {"named", "named"},
		"a listener that names one for other networks":          {"there", ""},
		"a listener that names one for the network of a client": {"here", "here"},
		"a listener that names none":                            {"", "here"},
	} {
		t.Run(name, func(t *testing.T) {
			p := openFor(t, Listener{TLS: "starttls", Profile: row.listener}, unused, there, named, here)
			gen := p.doors[2].current.Load()
			if got := gen.profileOf(netip.MustParseAddr("127.0.0.1")).Name; got != row.want {
				t.Errorf("a client has profile %q, want %q", got, row.want)
			}
		})
	}
}

func TestTheGatewayLearnsWhatToRepair(t *testing.T) {
	p := openFor(t, Listener{TLS: "implicit", Profile: "old"}, Profile{Name: "old", LineEndings: "repair", LongLines: "repair", Date: "keep", Addresses: "repair"})
	c := p.dial(t, "special")
	c.startTLS(nil)
	c.expect("220")
	c.login()
	want := message.Repairs{LineEnds: true, LongLines: true, Addresses: true}
	if got := p.logins[0].Repair; got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if got := p.ready(t); got.conn == nil || p.logins[1].Repair != (message.Repairs{}) {
		t.Errorf("without the profile it got %+v", p.logins[1].Repair)
	}
}

// Where TLS is optional or none, mail is taken in clear, and passwords only with
// plaintext_auth.
func TestListenersInClear(t *testing.T) {
	home := networks(t, "127.0.0.0/8")
	for name, row := range map[string]struct {
		listener       Listener
		startTLS, auth bool
	}{
		"optional":                      {Listener{TLS: "optional", Networks: home}, true, false},
		"optional, with plaintext_auth": {Listener{TLS: "optional", Networks: home, PlaintextAuth: true}, true, true},
		"none":                          {Listener{TLS: "none", Networks: home}, false, false},
		"none, with plaintext_auth":     {Listener{TLS: "none", Networks: home, PlaintextAuth: true}, false, true},
	} {
		t.Run(name, func(t *testing.T) {
			p := openFor(t, row.listener)
			c := p.dial(t, "special")
			c.expect("220")
			offers := c.ask("EHLO x", "250")
			if got := strings.Contains(offers, "STARTTLS"); got != row.startTLS {
				t.Errorf("STARTTLS is offered: %v", got)
			}
			if got := strings.Contains(offers, "AUTH PLAIN LOGIN"); got != row.auth {
				t.Errorf("AUTH is offered: %v", got)
			}
			c.ask("MAIL FROM:<scan@example.com>", "530 5.7.0 Authentication required") // and not TLS
			if !row.auth {
				c.ask("AUTH PLAIN "+b64("\x00printer\x00canary-secret"), "530 5.7.0 Must issue a STARTTLS")
			} else {
				c.ask("AUTH PLAIN "+b64("\x00printer\x00canary-secret"), "235")
				c.envelope()
				c.ask("STARTTLS", "502")
				c.ask("DATA", "354")
				c.ask("Subject: hi\r\n\r\n.", "250 2.0.0 queued")
				if m := p.accepted()[0]; m.Client.TLSVersion != "" || !m.Client.Extended {
					t.Errorf("the Gateway was told of %+v", m.Client)
				}
			}
			if !row.startTLS {
				c.ask("STARTTLS", "502")
				return
			}
			c.ask("STARTTLS", "220")
			c.startTLS(nil)
			c.ask("MAIL FROM:<scan@example.com>", "502")
			c.ask("EHLO x", "250")
			c.ask("MAIL FROM:<scan@example.com>", "530 5.7.0 Authentication required")
			c.login()
			c.envelope()
		})
	}
}

func TestWhoIsOutsideTheNetworksIsTurnedAway(t *testing.T) {
	elsewhere := networks(t, "192.0.2.0/24")
	for _, mode := range []string{"none", "optional", "starttls", "implicit"} {
		t.Run(mode, func(t *testing.T) {
			p := openFor(t, Listener{TLS: mode, Networks: elsewhere})
			c := p.dial(t, "special")
			if mode != "implicit" {
				c.expect("554 5.7.1 127.0.0.1 may not connect here; the administrator can add it to the networks of listener special")
			}
			c.ended()
			p.close(t)
			if !strings.Contains(p.log.String(), `"msg":"connection refused","listener":"special","peer":"127.0.0.1:`) {
				t.Errorf("the log says\n%s", p.log)
			}
			if n := testutil.ToFloat64(p.metrics.ConnectionsTotal.WithLabelValues("special", "refused")); n != 1 {
				t.Errorf("%v were counted", n)
			}
		})
	}
}

func TestTheGatewayMayTurnClientsAway(t *testing.T) {
	p := open(t, func(p *post) {
		p.connect = func(c message.Client) error {
			if c.Listener != "submission" || c.Address.Addr().String() != "127.0.0.1" {
				t.Errorf("it was asked about %+v", c)
			}
			return message.Refuse(421, "4.7.0", "too many failed logins; come again at noon")
		}
	})
	c := p.dial(t, "submission")
	c.expect("421 4.7.0 too many failed logins; come again at noon")
	c.ended()
	waitIdle(p)
}

// A device that begins with TLS on a STARTTLS port is served if its profile says
// so; others of the profile are greeted.
func TestTLSAtOnceOnTheStartTLSPort(t *testing.T) {
	for _, mode := range []string{"starttls", "optional"} {
		t.Run(mode, func(t *testing.T) {
			p := openFor(t, Listener{TLS: mode, Networks: networks(t, "127.0.0.1"), Profile: "hasty"}, Profile{Name: "hasty", TLSOnConnect: true})
			c := p.dial(t, "special")
			c.startTLS(nil)
			c.expect("220")
			c.login()
			c.envelope()
			c.ask("QUIT", "221")

			c = p.dial(t, "special")
			c.expect("220")
			c.ask("EHLO x", "250")
			c.ask("STARTTLS", "220")
			c.startTLS(nil)
			c.login()

			c = p.dial(t, "special")
			c.send("EHLO early\r\n") // before the greeting
			c.expect("220")
			c.expect("250-Hello early")
		})
	}
	t.Run("where there is no TLS it is not looked for", func(t *testing.T) {
		p := openFor(t, Listener{TLS: "none", Networks: networks(t, "127.0.0.1"), Profile: "hasty"}, Profile{Name: "hasty", TLSOnConnect: true})
		conn, err := net.Dial("tcp", p.Addresses()["special"].String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if tls.Client(conn, &tls.Config{ServerName: "localhost"}).Handshake() == nil {
			t.Error("TLS was spoken")
		}
	})
}
