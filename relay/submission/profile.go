package submission

import (
	"cmp"
	"crypto/tls"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"postern/relay/message"
	"postern/relay/setting"
)

// Profile is what clients of a kind are granted that others are not: old
// encryption, odd commands, repairs of their messages. It goes with a listener
// that names it, or with a network of clients on all listeners that name none.
type Profile struct {
	// Name is what listeners call it.
	Name string `yaml:"name"`
	// Networks are the clients it is for. Without them it is for all clients of
	// the listeners that name it, and for no others.
	Networks setting.Networks `yaml:"networks"`
	// MinTLS is the oldest TLS: "1.0" to "1.3"; empty: that of the tls section.
	MinTLS string `yaml:"min_tls"`
	// RSAKeyExchange allows TLS without forward secrecy, with AES only.
	RSAKeyExchange bool `yaml:"rsa_key_exchange"`
	// TripleDES adds 3DES to that.
	TripleDES bool `yaml:"triple_des"`
	// TLSOnConnect serves a client that begins TLS at once on a STARTTLS port.
	TLSOnConnect bool `yaml:"tls_on_connect"`
	// LenientSyntax mends commands that are not by the book (mend.go).
	LenientSyntax bool `yaml:"lenient_syntax"`
	// AuthEquals repeats the mechanisms in the form that mail programs before
	// 1999 look for: AUTH=PLAIN LOGIN.
	AuthEquals bool `yaml:"auth_equals"`
	// Hide is keywords left out of the reply to EHLO.
	Hide []string `yaml:"hide"`
	// LineEndings is "refuse" (default) or "repair".
	LineEndings string `yaml:"line_endings"`
	// LongLines, Date and Addresses are "keep" (default) or "repair".
	LongLines string `yaml:"long_lines"`
	Date      string `yaml:"date"`
	Addresses string `yaml:"addresses"`
}

const repair = "repair"

// keywords are what EHLO offers and a profile may hide.
var keywords = []string{"PIPELINING", "8BITMIME", "ENHANCEDSTATUSCODES", "CHUNKING", "STARTTLS", "SMTPUTF8", "DSN", "SIZE", "LIMITS"}

// Check reports what is wrong with the profile.
func (p Profile) Check(bad func(key, format string, args ...any)) {
	if p.Name == "" {
		bad("name", "it is empty; listeners name the profile by it, such as old-copiers")
	}
	if _, ok := versions[p.MinTLS]; !ok {
		bad("min_tls", `%q is not a version; write "1.0", "1.1", "1.2" or "1.3"`, p.MinTLS)
	}
	if p.TripleDES && !p.RSAKeyExchange {
		bad("triple_des", "clients with nothing but 3DES also need rsa_key_exchange: true")
	}
	for i, word := range p.Hide {
		if !slices.Contains(keywords, word) {
			bad(fmt.Sprintf("hide[%d]", i), "%q cannot be hidden; the keywords are %s", word, strings.Join(keywords, ", "))
		}
	}
	if p.LineEndings != "" && p.LineEndings != "refuse" && p.LineEndings != repair {
		bad("line_endings", "%q is neither repair nor refuse", p.LineEndings)
	}
	for _, r := range []struct{ key, value string }{{"long_lines", p.LongLines}, {"date", p.Date}, {"addresses", p.Addresses}} {
		if r.value != "" && r.value != "keep" && r.value != repair {
			bad(r.key, "%q is neither repair nor keep", r.value)
		}
	}
}

// weak tells whether the profile allows encryption that can be broken.
func (p Profile) weak() bool {
	return p.RSAKeyExchange || p.TripleDES || p.MinTLS == "1.0" || p.MinTLS == "1.1"
}

// repairs is what is mended in messages.
func (p Profile) repairs() message.Repairs {
	return message.Repairs{
		LineEnds:  p.LineEndings == repair,
		LongLines: p.LongLines == repair,
		Date:      p.Date == repair,
		Addresses: p.Addresses == repair,
	}
}

// CheckProfiles reports what no listener or profile shows alone; paths are those
// of the configuration file.
func CheckProfiles(listeners []Listener, profiles []Profile, bad func(path, format string, args ...any)) {
	known := map[string]Profile{}
	var names []string
	for i, p := range profiles {
		if _, taken := known[p.Name]; taken && p.Name != "" {
			bad(fmt.Sprintf("profiles[%d].name", i), "%q is already the name of another profile; choose another", p.Name)
		}
		known[p.Name] = p
		names = append(names, p.Name)
	}
	for i, l := range listeners {
		p, ok := known[l.Profile]
		switch path := fmt.Sprintf("listeners[%d].profile", i); {
		case l.Profile == "":
		case !ok:
			bad(path, "there is no profile %q; profiles has %s", l.Profile, cmp.Or(strings.Join(names, ", "), "none"))
		case p.weak() && len(p.Networks) == 0 && len(l.Networks) == 0:
			bad(path, "%q allows encryption that can be broken; say in networks, of the profile or of this listener, which devices need it", l.Profile)
		}
	}
}

// profile is a Profile in use. That without a name is of all other clients.
type profile struct {
	Profile
	tls *tls.Config
}

// newProfiles makes the profiles in use. The first is that of all other clients.
func newProfiles(cfg Config, certs *certificates) ([]*profile, error) {
	version, ok := versions[cfg.TLS.MinVersion]
	if !ok || version < tls.VersionTLS12 {
		return nil, fmt.Errorf("tls.min_version: %q is neither 1.2 nor 1.3", cfg.TLS.MinVersion)
	}
	clients, err := cfg.TLS.authorities()
	if err != nil {
		return nil, err
	}
	all := []*profile{{tls: newTLS(version, certs.choose)}}
	for _, p := range cfg.Profiles {
		all = append(all, &profile{Profile: p, tls: p.newTLS(version, certs)})
	}
	for _, p := range all {
		if clients != nil {
			p.tls.ClientCAs, p.tls.ClientAuth = clients, tls.VerifyClientCertIfGiven
		}
	}
	return all, nil
}

// newTLS is the TLS of the profile, where others need least. Versions and suites
// are set explicitly: what GODEBUG allowed is gone in Go 1.27.
func (p Profile) newTLS(least uint16, certs *certificates) *tls.Config {
	if p.MinTLS != "" {
		least = versions[p.MinTLS]
	}
	if !p.weak() {
		return newTLS(least, certs.choose)
	}
	c := newTLS(least, certs.chooseRSA) // old clients cannot verify ECDSA, whatever they say
	if p.RSAKeyExchange {
		for _, suite := range tls.CipherSuites() {
			c.CipherSuites = append(c.CipherSuites, suite.ID)
		}
		c.CipherSuites = append(c.CipherSuites, tls.TLS_RSA_WITH_AES_128_GCM_SHA256, tls.TLS_RSA_WITH_AES_256_GCM_SHA384,
			tls.TLS_RSA_WITH_AES_128_CBC_SHA, tls.TLS_RSA_WITH_AES_256_CBC_SHA)
	}
	if p.TripleDES {
		c.CipherSuites = append(c.CipherSuites, tls.TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA, tls.TLS_RSA_WITH_3DES_EDE_CBC_SHA)
	}
	return c
}

func newTLS(least uint16, choose func(*tls.ClientHelloInfo) (*tls.Certificate, error)) *tls.Config {
	return &tls.Config{MinVersion: least, GetCertificate: choose, GetConfigForClient: noteHello}
}

// profileOf is the profile of a client.
func (g *generation) profileOf(client netip.Addr) *profile {
	for _, p := range g.profiles[1:] {
		if p.isFor(g.listener, client) {
			return p
		}
	}
	return g.profiles[0]
}

// isFor tells whether it is the profile of a client that comes through l, unless
// one before it is.
func (p Profile) isFor(l Listener, client netip.Addr) bool {
	named := l.Profile == p.Name
	return (named || l.Profile == "" && len(p.Networks) > 0) && (len(p.Networks) == 0 || p.Networks.Contain(client))
}

// ProfileFor is the place of the profile of a client that comes through l, -1 if
// there is none.
func (c Config) ProfileFor(l Listener, client netip.Addr) int {
	return slices.IndexFunc(c.Profiles, func(p Profile) bool { return p.isFor(l, client) })
}

// Repairs is what is mended in the messages of a client that comes through l.
func (c Config) Repairs(l Listener, client netip.Addr) message.Repairs {
	if i := c.ProfileFor(l, client); i >= 0 {
		return c.Profiles[i].repairs()
	}
	return message.Repairs{}
}
