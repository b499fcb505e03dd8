package directory

import (
	"fmt"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/go-ldap/ldap/v3"

	"postern/relay/setting"
)

// Config is one entry of auth.directories.
type Config struct {
	// URL is ldaps://host[:port] or ldap://host[:port].
	URL string `yaml:"url"`
	// StartTLS encrypts an ldap:// connection before anything is said; needed
	// unless the host is this machine.
	StartTLS bool `yaml:"start_tls"`
	// CA is a PEM file with the only roots the server's certificate may come
	// from; empty: the system's.
	CA string `yaml:"ca"`
	// BindDN and BindPassword are who searches; empty: nobody in particular.
	BindDN       string         `yaml:"bind_dn"`
	BindPassword setting.Secret `yaml:"bind_password"`
	// Base is the entry below which people are looked for.
	Base string `yaml:"base"`
	// Filter (RFC 4515) finds the one entry of a login, which stands for %u.
	// Default (&(objectClass=person)(uid=%u)).
	Filter string `yaml:"filter"`
	// Account names the account whose rights everybody of the directory gets.
	Account string `yaml:"account"`
	// MailAttributes hold a person's own addresses, the main one first.
	// Default mail, proxyAddresses.
	MailAttributes []string `yaml:"mail_attributes"`
	// Timeout bounds what one login takes, connecting included. Default 10s.
	Timeout setting.Duration `yaml:"timeout"`
	// Connections bounds the logins checked at the same time. Each takes one
	// connection to search and one to bind. Default 4.
	Connections int `yaml:"connections"`
}

func (c Config) withDefaults() Config {
	if c.Filter == "" {
		c.Filter = "(&(objectClass=person)(uid=%u))"
	}
	if len(c.MailAttributes) == 0 {
		c.MailAttributes = []string{"mail", "proxyAddresses"}
	}
	if c.Timeout <= 0 {
		c.Timeout = setting.Duration(10 * time.Second)
	}
	if c.Connections <= 0 {
		c.Connections = 4
	}
	return c
}

// Check reports every value that cannot be used. It never shows the password.
func (c Config) Check(bad func(key, format string, args ...any)) {
	c.checkServer(bad)
	c.checkSearch(bad)
	switch {
	case c.BindDN == "" && !c.BindPassword.IsZero():
		bad("bind_dn", "is missing; write who searches the directory, such as cn=postern,dc=example,dc=com, or leave bind_password out")
	case c.BindDN != "" && c.BindPassword.IsZero():
		bad("bind_password", "is missing; without one the directory would take bind_dn for nobody")
	}
	if c.Account == "" {
		bad("account", "is missing; name the account whose rights the people of this directory get")
	}
}

func (c Config) checkServer(bad func(key, format string, args ...any)) {
	u, err := url.Parse(c.URL)
	switch {
	case c.URL == "":
		bad("url", "is missing; write it like ldaps://dc1.example.com")
	case strings.Contains(c.URL, "@"):
		bad("url", "holds a user name; write it without, and who searches as bind_dn and bind_password")
	case err != nil || u.Scheme != "ldap" && u.Scheme != "ldaps" || u.Hostname() == "" || strings.Trim(u.Path, "/")+u.RawQuery+u.Fragment != "":
		bad("url", "%q is not the address of a directory, such as ldaps://dc1.example.com or ldap://dc1.example.com:389", c.URL)
	case u.Scheme == "ldaps" && c.StartTLS:
		bad("start_tls", "ldaps:// is encrypted from the start; take start_tls away, or write ldap://")
	case u.Scheme == "ldap" && !c.StartTLS && !isLoopback(u.Hostname()):
		bad("start_tls", "passwords would cross the network in clear; write start_tls: true, or ldaps:// in url")
	}
	if _, err := readRoots(c.CA); err != nil {
		bad("ca", "%v", err)
	}
}

func (c Config) checkSearch(bad func(key, format string, args ...any)) {
	if c.Base == "" {
		bad("base", "is missing; write where people are found, such as ou=people,dc=example,dc=com")
	} else if _, err := ldap.ParseDN(c.Base); err != nil {
		bad("base", "%q is not the name of an entry, such as ou=people,dc=example,dc=com", c.Base)
	}
	f := c.withDefaults().Filter
	if _, err := ldap.CompileFilter(strings.ReplaceAll(f, "%u", "x")); err != nil {
		bad("filter", "%q is not a filter, such as (&(objectClass=person)(uid=%%u))", f)
	} else if len(newFilter(f).attributes) == 0 {
		bad("filter", "%q does not compare an attribute with the login, which stands for %%u; write it like (uid=%%u)", f)
	}
	for i, name := range c.MailAttributes {
		if !attributeName.MatchString(name) {
			bad(fmt.Sprintf("mail_attributes[%d]", i), "%q is not the name of an attribute, such as mail", name)
		}
	}
}

// isLoopback tells whether host is this machine, without asking the DNS.
func isLoopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.IsLoopback() || strings.EqualFold(host, "localhost")
}
