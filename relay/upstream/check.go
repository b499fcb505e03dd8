package upstream

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"

	"postern/relay/setting"
	"postern/relay/upstream/smtp"
)

// presetCapture keeps mail in files.
const presetCapture = "capture"

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
	}
	routes := map[string]bool{}
	for i, r := range c.Routes {
		if r.Name != "" && routes[r.Name] {
			bad(fmt.Sprintf("routes[%d].name", i), "%q names another route already; give each its own name", r.Name)
		}
		routes[r.Name] = true
		for j, name := range r.Upstreams {
			if !known[name] {
				bad(fmt.Sprintf("routes[%d].upstreams[%d]", i, j), "there is no upstream %q; %s", name, c.choice())
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

// Check reports what is wrong with one route.
func (r Route) Check(bad func(key, format string, args ...any)) {
	checkName(r.Name, bad)
	if len(r.Upstreams) == 0 {
		bad("upstreams", "it is empty; name the upstreams of the route in order of preference")
	}
	for i, name := range r.Upstreams {
		if slices.Contains(r.Upstreams[:i], name) {
			bad(fmt.Sprintf("upstreams[%d]", i), "%q stands in the list already", name)
		}
	}
}

// checkName keeps names free of what separates words in logs and lanes.
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
	switch u.Preset {
	case "":
		u.checkSmarthost(bad)
	case presetCapture:
		u.checkCapture(bad)
	default:
		bad("preset", "%q is not known; write capture, or leave it out for an SMTP smarthost", u.Preset)
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
		{"username", u.Username != ""}, {"password", !u.Password.IsZero()},
	} {
		if k.set {
			bad(k.key, "preset capture sends nothing; leave %s out, or leave out preset to send through a smarthost", k.key)
		}
	}
}

func (u Upstream) checkSmarthost(bad func(key, format string, args ...any)) {
	host, err := splitAddress(u.Address)
	if err != nil {
		bad("address", "%v", err)
	}
	if u.Username != "" && u.Password.IsZero() {
		bad("password", "it is missing; username needs one")
	}
	if u.Username == "" && !u.Password.IsZero() {
		bad("username", "it is missing; password needs one")
	}
	if strings.ContainsFunc(u.Username, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		bad("username", "it holds a control character")
	}
	u.checkTLS(host, bad)
}

func (u Upstream) checkTLS(host string, bad func(key, format string, args ...any)) {
	switch u.TLS {
	case "", smtp.StartTLS, smtp.Implicit:
		if _, err := readRoots(u.CA); err != nil {
			bad("ca", "%v", err)
		}
	case smtp.NoTLS:
		if u.Username != "" && host != "" && !isLoopback(host) {
			bad("tls", "none would send the password to %s in clear; use starttls or implicit", host)
		}
		if u.CA != "" || u.ServerName != "" {
			bad("tls", "none checks no certificate; leave out ca and server_name, or use starttls or implicit")
		}
	default:
		bad("tls", "%q is not known; write starttls, implicit or none", u.TLS)
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
