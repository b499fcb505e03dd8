package submission

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"

	"postern/relay/setting"
)

// Config is everything the room needs; the relay gathers it from the sections
// of the configuration.
type Config struct {
	// Hostname stands in the greeting.
	Hostname  string
	Listeners []Listener
	TLS       TLS
	Profiles  []Profile
	// Mechanisms are the SASL mechanisms offered, in that order.
	Mechanisms []string
	// MaxSize is the largest message in octets that any account may send; 0 is
	// no limit. What Gateway.Mail allows may be less.
	MaxSize int64
	// MaxRecipients bounds the RCPT commands of a transaction; 0 is 10,000.
	MaxRecipients int
	// Recorder may ask for what is said; nil never does.
	Recorder Recorder
	// PerClient is how many connections of one client may be open at once; 0 is
	// 200.
	PerClient int
}

// Listener is one address on which clients submit mail.
type Listener struct {
	// Name stands in logs, metrics and history.
	Name string `yaml:"name"`
	// Address is host:port; an empty host is every address of the machine.
	Address string `yaml:"address"`
	// TLS is "starttls" (RFC 6409, port 587), "implicit" (RFC 8314, port 465),
	// "optional" (STARTTLS is offered, mail is taken without as well) or "none".
	TLS string `yaml:"tls"`
	// Networks are who may connect; empty: everybody.
	Networks setting.Networks `yaml:"networks"`
	// PlaintextAuth lets clients log in without TLS.
	PlaintextAuth bool `yaml:"plaintext_auth"`
	// Profile names the profile of its clients; empty: by their network.
	Profile string `yaml:"profile"`
	// ProxyProtocol are the balancers in front of it. Each of their connections
	// must begin with a header of the PROXY protocol, version 1 or 2, that tells
	// whose it is.
	ProxyProtocol setting.Networks `yaml:"proxy_protocol"`
}

// The values of Listener.TLS.
const (
	startTLS    = "starttls"
	implicitTLS = "implicit"
	optionalTLS = "optional"
	noTLS       = "none"
)

// mustTLS tells whether nothing is done for a client in clear.
func (l Listener) mustTLS() bool { return l.TLS == startTLS || l.TLS == implicitTLS }

// Check reports what is wrong with the listener.
func (l Listener) Check(bad func(key, format string, args ...any)) {
	if l.Name == "" {
		bad("name", "it is empty; the name stands in logs and metrics, such as submission")
	}
	if err := checkAddress(l.Address); err != nil {
		bad("address", "%v", err)
	}
	switch {
	case !slices.Contains([]string{startTLS, implicitTLS, optionalTLS, noTLS}, l.TLS):
		bad("tls", "%q is not one of starttls (port 587), implicit (port 465), optional and none", l.TLS)
	case !l.mustTLS() && len(l.Networks) == 0:
		bad("networks", "with tls: %s mail comes in unencrypted; name the networks of the devices that need it, such as [10.20.9.0/24]", l.TLS)
	case l.mustTLS() && l.PlaintextAuth:
		bad("plaintext_auth", "with tls: %s nobody can log in unencrypted; set tls to optional or none, or leave this out", l.TLS)
	}
}

func checkAddress(address string) error {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("%q is not an address to listen on; write host:port, or :587 for every address of the machine", address)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil {
		return fmt.Errorf("%q is not a port number", port)
	} else if n == 0 && host == "" {
		return fmt.Errorf("%q names no port", address)
	}
	return nil
}

// TLS is the tls section of the configuration.
type TLS struct {
	// Certificates are offered by what the client supports, the first one
	// when none fits; with an RSA and an ECDSA one both old and new clients
	// are served.
	Certificates []Certificate `yaml:"certificates"`
	// MinVersion is "1.2" (default) or "1.3".
	MinVersion string `yaml:"min_version"`
	// ClientCA is a PEM file of the authorities whose certificates clients may
	// log in with (EXTERNAL); it is read at start and reload. A client that shows
	// one of another authority is turned away. Empty: none is asked for.
	ClientCA string `yaml:"client_ca"`
}

// versions are the values of TLS.MinVersion, from 1.2 on, and Profile.MinTLS.
var versions = map[string]uint16{"": tls.VersionTLS12, "1.0": tls.VersionTLS10, "1.1": tls.VersionTLS11, "1.2": tls.VersionTLS12, "1.3": tls.VersionTLS13}

// Check reports what is wrong with the section.
func (t TLS) Check(bad func(key, format string, args ...any)) {
	if len(t.Certificates) == 0 {
		bad("certificates", `it is empty; clients need a certificate to log in safely ("postern cert" makes one)`)
	}
	if versions[t.MinVersion] < tls.VersionTLS12 {
		bad("min_version", `%q is not a version; write "1.2" or "1.3" (what older devices need is said in profiles)`, t.MinVersion)
	}
	if _, err := t.authorities(); err != nil {
		bad("client_ca", "%v", err)
	}
}

// authorities are those of client_ca; nil if there is none.
func (t TLS) authorities() (*x509.CertPool, error) {
	if t.ClientCA == "" {
		return nil, nil
	}
	text, err := os.ReadFile(t.ClientCA)
	if err != nil {
		return nil, fmt.Errorf("the authorities of clients: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, errors.New("the file holds no certificate in PEM form; name the one with the authorities that issue the devices' certificates")
	}
	return pool, nil
}

// Certificate is a pair of PEM files, read again when they change.
type Certificate struct {
	Certificate string `yaml:"certificate"`
	Key         string `yaml:"key"`
}

// Check reports a pair that cannot be read or does not belong together.
func (c Certificate) Check(bad func(key, format string, args ...any)) {
	switch {
	case c.Certificate == "":
		bad("certificate", "it is empty; name the PEM file with the certificate and its chain")
	case c.Key == "":
		bad("key", "it is empty; name the PEM file with the private key")
	default:
		if _, err := c.load(); err != nil {
			bad("", "%v", err)
		}
	}
}

// load reads the pair.
func (c Certificate) load() (*tls.Certificate, error) {
	pair, err := tls.LoadX509KeyPair(c.Certificate, c.Key)
	if err != nil {
		return nil, fmt.Errorf("certificate %s with key %s: %s", c.Certificate, c.Key, strings.TrimPrefix(err.Error(), "tls: "))
	}
	return &pair, nil
}

// check finds what no single section can see.
func (c Config) check() (err error) {
	CheckProfiles(c.Listeners, c.Profiles, func(path, format string, args ...any) {
		if err == nil {
			err = fmt.Errorf(path+": "+format, args...)
		}
	})
	if err != nil {
		return err
	}
	var names []string
	for _, l := range c.Listeners {
		if slices.Contains(names, l.Name) {
			return fmt.Errorf("two listeners are named %q; give each its own name", l.Name)
		}
		names = append(names, l.Name)
		l.Check(func(key, format string, args ...any) {
			if err == nil {
				err = fmt.Errorf("listener "+l.Name+": "+key+": "+format, args...)
			}
		})
		if err != nil {
			return err
		}
	}
	for _, mechanism := range c.Mechanisms {
		if _, ok := mechanisms[mechanism]; !ok {
			known := slices.Sorted(maps.Keys(mechanisms))
			return fmt.Errorf("mechanism %q is not one of %s", mechanism, strings.Join(known, ", "))
		}
	}
	return nil
}
