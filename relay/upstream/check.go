package upstream

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"

	"postern/relay/setting"
	"postern/relay/upstream/preset"
	"postern/relay/upstream/smtp"
)

// Check reports what is wrong between the upstreams and routes. Each of them is
// checked by its own Check.
func (c Config) Check(bad func(key, format string, args ...any)) {
	if len(c.Upstreams) == 0 {
		bad("upstreams", "there is none, so no mail could leave; name at least one, such as {name: sandbox, preset: capture}")
	}
	if len(c.Routes) == 0 {
		bad("routes", "there is none, so no mail could leave; name at least one, such as {name: default, upstreams: [...]}")
	}
	known := map[string]bool{}
	for i, u := range c.Upstreams {
		if u.Name != "" && known[u.Name] {
			bad(fmt.Sprintf("upstreams[%d].name", i), "%q names another upstream already; give each its own name", u.Name)
		}
		known[u.Name] = true
		u.checkMailbox(func(key, format string, args ...any) { bad(fmt.Sprintf("upstreams[%d].%s", i, key), format, args...) })
	}
	routes := map[string]bool{}
	for i, r := range c.Routes {
		if r.Name != "" && routes[r.Name] {
			bad(fmt.Sprintf("routes[%d].name", i), "%q names another route already; give each its own name", r.Name)
		}
		routes[r.Name] = true
		for j, g := range r.Upstreams {
			for _, name := range g {
				if !known[name] {
					bad(fmt.Sprintf("routes[%d].upstreams[%d]", i, j), "there is no upstream %q; %s", name, c.choice())
				}
			}
		}
	}
}

// choice lists the upstreams for a person.
func (c Config) choice() string {
	var names []string
	for _, u := range c.Upstreams {
		names = append(names, u.Name)
	}
	if len(names) == 0 {
		return "upstreams is empty"
	}
	return "upstreams has " + strings.Join(names, ", ")
}

// checkName keeps names free of what separates words in logs and lanes
// (message.NarrowLane).
func checkName(name string, bad func(key, format string, args ...any)) {
	if name == "" {
		bad("name", "it is missing")
		return
	}
	for _, c := range []byte(name) {
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("-_.", c) >= 0) {
			bad("name", "%q may hold only letters, digits, and - _ .", name)
			return
		}
	}
}

// Check reports what is wrong with one upstream.
func (u Upstream) Check(bad func(key, format string, args ...any)) {
	checkName(u.Name, bad)
	if strings.HasPrefix(u.Name, ".") { // a file has the name, see auth/oauth
		bad("name", "%q begins with a dot; begin with a letter or digit", u.Name)
	}
	whole, known, err := u.Effective()
	switch {
	case err != nil:
		u.checkKnown(bad)
	case known.Transport == preset.Capture:
		u.checkCapture(bad)
	case known.Transport == preset.SMTP:
		whole.checkSmarthost(known, bad)
	default:
		u.checkAPI(known, bad)
	}
	if u.Limits.Connections < 0 {
		bad("limits.connections", "%d is below zero; leave it out for %d", u.Limits.Connections, defaultConnections)
	}
	if u.Limits.MessagesPerConnection < 0 {
		bad("limits.messages_per_connection", "%d is below zero; leave it out for %d", u.Limits.MessagesPerConnection, defaultMessages)
	}
}

// checkCapture reports keys that would be ignored.
func (u Upstream) checkCapture(bad func(key, format string, args ...any)) {
	for _, k := range []struct {
		key string
		set bool
	}{
		{"address", u.Address != ""}, {"tls", u.TLS != ""}, {"ca", u.CA != ""}, {"server_name", u.ServerName != ""},
		{"min_tls", u.MinTLS != ""}, {"certificate", !u.Certificate.IsZero()}, {"mechanisms", u.Mechanisms != nil},
		{"username", u.Username != ""}, {"password", !u.Password.IsZero()}, {"source_address", u.SourceAddress != ""},
		{"password_from", u.PasswordFrom != ""}, {"replies", len(u.Replies) > 0},
		{"lookahead", u.LookAhead},
	} {
		if k.set {
			bad(k.key, "preset capture sends nothing; leave %s out, or leave out preset to send through a smarthost", k.key)
		}
	}
}

// checkAPI reports what an API has no use for, and a URL that would send its
// token in clear.
func (u Upstream) checkAPI(known *preset.Preset, bad func(key, format string, args ...any)) {
	for _, k := range []struct {
		key string
		set bool
	}{
		{"tls", u.TLS != ""}, {"server_name", u.ServerName != ""}, {"min_tls", u.MinTLS != ""}, {"certificate", !u.Certificate.IsZero()},
		{"username", u.Username != ""}, {"password", !u.Password.IsZero()}, {"mechanisms", u.Mechanisms != nil}, {"source_address", u.SourceAddress != ""}, {"lookahead", u.LookAhead},
	} {
		if k.set {
			bad(k.key, "preset %s is an HTTP API, always by TLS and with oauth; leave %s out", known.Name, k.key)
		}
	}
	if _, err := readRoots(u.CA); err != nil {
		bad("ca", "%v", err)
	}
	if u.Address == "" {
		return
	}
	base, err := url.Parse(u.Address)
	switch {
	case err != nil || base.Host == "" || strings.Trim(base.Path, "/") != "" || base.RawQuery != "" || base.User != nil || base.Fragment != "":
		bad("address", "%q is not the URL of an API, such as %s", u.Address, known.API)
	case base.Scheme != "https" && !(base.Scheme == "http" && isLoopback(base.Hostname())):
		bad("address", "%q would send the access token in clear; write https://", u.Address)
	}
}

// checkSmarthost is asked of u with what its preset says. Whether its user name is
// the mailbox only the whole file shows.
func (u Upstream) checkSmarthost(known *preset.Preset, bad func(key, format string, args ...any)) {
	host := checkAddress(u.Address, known, bad)
	u.checkPasswordFrom(known, bad)
	if u.Username != "" && u.Password.IsZero() && u.Certificate.IsZero() {
		bad("password", "it is missing; username needs one")
	}
	switch {
	case u.Username != "" || known.Username == preset.UserMailbox:
	case !u.Password.IsZero():
		bad("username", "it is missing; password needs one")
	case known.Username == preset.UserGiven:
		bad("username", "it is missing; preset %s needs a login: \"postern presets %s\" says which", known.Name, known.Name)
	}
	if strings.ContainsFunc(u.Username, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		bad("username", "it holds a control character")
	}
	if _, err := netip.ParseAddr(u.SourceAddress); err != nil && u.SourceAddress != "" {
		bad("source_address", "%q is not an IP address; write one that this machine has, such as 192.0.2.25", u.SourceAddress)
	}
	u.checkMechanisms(bad)
	u.checkTLS(host, bad)
}

// checkMechanisms reports those that could never be used.
func (u Upstream) checkMechanisms(bad func(key, format string, args ...any)) {
	has := map[string]bool{"password": !u.Password.IsZero(), "certificate": !u.Certificate.IsZero(), "oauth": true}
	for i, m := range u.Mechanisms {
		key := fmt.Sprintf("mechanisms[%d]", i)
		switch needs, known := smtp.Mechanisms[m]; {
		case !known:
			bad(key, "%q is not known; write XOAUTH2, OAUTHBEARER, PLAIN, LOGIN or EXTERNAL", m)
		case !has[needs]:
			bad(key, "%s needs %s, which is not set", m, needs)
		case slices.Contains(u.Mechanisms[:i], m):
			bad(key, "%s stands in the list already", m)
		}
	}
}

// SendsInClear tells whether who listens on the network would read what u logs in
// with.
func (u Upstream) SendsInClear() bool {
	host, err := splitAddress(u.Address)
	return u.TLS == smtp.NoTLS && err == nil && !isLoopback(host)
}

func (u Upstream) checkTLS(host string, bad func(key, format string, args ...any)) {
	switch u.TLS {
	case "", smtp.StartTLS, smtp.Implicit:
		if _, err := readRoots(u.CA); err != nil {
			bad("ca", "%v", err)
		}
		u.checkCertificate(bad)
	case smtp.NoTLS:
		if u.Username != "" && host != "" && !isLoopback(host) {
			bad("tls", "none would send the password to %s in clear; use starttls or implicit", host)
		}
		if u.CA != "" || u.ServerName != "" || u.MinTLS != "" || !u.Certificate.IsZero() {
			bad("tls", "none uses no certificate and no version of TLS; leave out ca, server_name, min_tls and certificate, or use starttls or implicit")
		}
	default:
		bad("tls", "%q is not known; write starttls, implicit or none", u.TLS)
	}
}

func (u Upstream) checkCertificate(bad func(key, format string, args ...any)) {
	if _, known := tlsVersions[u.MinTLS]; u.MinTLS != "" && !known {
		bad("min_tls", `%q is not a version; write "1.2" or "1.3"`, u.MinTLS)
	}
	c := u.Certificate
	switch {
	case c.IsZero():
	case c.Certificate == "":
		bad("certificate.certificate", "it is missing; name the PEM file of the certificate that key belongs to")
	case c.Key == "":
		bad("certificate.key", "it is missing; name the PEM file of the key")
	default:
		if _, err := c.Read(); err != nil {
			bad("certificate", "%v", err)
		}
	}
}

// splitAddress is the host of host:port.
func splitAddress(address string) (host string, err error) {
	if address == "" {
		return "", errors.New("it is missing; write host:port, such as smtp.example.com:587")
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil || host == "" {
		return "", fmt.Errorf("%q is not host:port, such as smtp.example.com:587", address)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return "", fmt.Errorf("the port %q is not a number from 1 to 65535", port)
	}
	return host, nil
}

func isLoopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback() || strings.EqualFold(host, "localhost")
}

// readRoots reads a PEM file of certificates; nil when there is none to read.
func readRoots(path string) ([]byte, error) {
	if path == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	if !x509.NewCertPool().AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s holds no certificate in PEM form", path)
	}
	return pem, nil
}

// orDefault fills in what was left out.
func (l Limits) orDefault() Limits {
	if l.Connections == 0 {
		l.Connections = defaultConnections
	}
	if l.MessagesPerConnection == 0 {
		l.MessagesPerConnection = defaultMessages
	}
	if l.Idle == 0 {
		l.Idle = setting.Duration(defaultIdle)
	}
	return l
}
