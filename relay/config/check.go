package config

import (
	"errors"
	"net"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
)

// checker is a struct that knows what is wrong with its own values. It reports
// each problem with the key of the value, relative to itself.
type checker interface {
	Check(bad func(key, format string, args ...any))
}

// check asks every struct at and below v, which was read from path.
func (f *file) check(v reflect.Value, path string) {
	if c, ok := v.Addr().Interface().(checker); ok {
		c.Check(func(key, format string, args ...any) { f.finding(join(path, key), format, args...) })
	}
	for i := range v.NumField() {
		key, options, _ := strings.Cut(v.Type().Field(i).Tag.Get("yaml"), ",")
		switch below := v.Field(i); {
		case options == "inline":
			f.check(below, path)
		case isSection(below.Type()):
			f.check(below, join(path, key))
		case isList(below.Type()) && isSection(below.Type().Elem()):
			for j := range below.Len() {
				f.check(below.Index(j), item(join(path, key), j))
			}
		}
	}
}

// Check reports what is wrong with the values at the top of the file.
func (c *Config) Check(bad func(key, format string, args ...any)) {
	switch {
	case c.Hostname == "":
		bad("hostname", "is missing; write the full name of this machine, such as relay.example.com")
	case !isFullName(c.Hostname):
		bad("hostname", "%q is not the full name of a machine, such as relay.example.com", c.Hostname)
	}
	switch {
	case c.DataDir == "":
		bad("data_dir", "is missing; write where the queue is kept, such as /var/lib/postern")
	case !filepath.IsAbs(c.DataDir):
		bad("data_dir", "%q is not the whole path; write it like /var/lib/postern", c.DataDir)
	}
}

// isFullName tells whether s is a domain name of at least two labels (RFC 1123,
// section 2.1) that is not an IPv4 address.
func isFullName(s string) bool {
	labels := strings.Split(s, ".")
	for _, l := range labels {
		if l == "" || len(l) > 63 || strings.Trim(l, "-") != l || strings.ContainsFunc(l, notInHostname) {
			return false
		}
	}
	_, err := strconv.Atoi(labels[len(labels)-1])
	return len(labels) > 1 && len(s) <= 253 && err != nil
}

func notInHostname(r rune) bool {
	return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r == '-')
}

// Check reports a resolver that cannot be asked.
func (d DNS) Check(bad func(key, format string, args ...any)) {
	if d.Resolver == "" {
		return
	}
	if host, port, err := hostPort(d.Resolver); err != nil || host == "" || port == 0 {
		bad("resolver", "%q is not the address of a DNS server, such as 192.0.2.53:53", d.Resolver)
	}
}

// Check reports an address that cannot be listened on.
func (m Metrics) Check(bad func(key, format string, args ...any)) {
	if m.Address == "" {
		return
	}
	if _, _, err := hostPort(m.Address); err != nil {
		bad("address", "%q is not an address to listen on, such as 127.0.0.1:9588", m.Address)
	}
}

// hostPort splits an address to listen on.
func hostPort(address string) (host string, port int, err error) {
	host, digits, err := net.SplitHostPort(address)
	if err != nil {
		return "", 0, err
	}
	port, err = strconv.Atoi(digits)
	if err == nil && (port < 0 || port > 65535) {
		err = errors.New("a port is between 0 and 65535")
	}
	return host, port, err
}

// Check reports an unknown format.
func (l Log) Check(bad func(key, format string, args ...any)) {
	if l.Format != "json" && l.Format != "text" {
		bad("format", "%q is not a log format; write json or text", l.Format)
	}
}
