package rewrite

import "fmt"

// Config is the headers section of the configuration.
type Config struct {
	// Add are fields for messages that have none of that name.
	Add []FieldConfig `yaml:"add"`
	// Replace are fields that every message leaves with, whatever it had.
	Replace []FieldConfig `yaml:"replace"`
	// Remove names header fields that never leave, in any letter case. Bcc,
	// Resent-Bcc, Return-Path and Content-Length never do.
	Remove []string `yaml:"remove"`
	// HideClient leaves the client's name and address out of Received.
	HideClient bool `yaml:"hide_client"`
}

// FieldConfig is a header field as it is configured.
type FieldConfig struct {
	Name string `yaml:"name"`
	// Value is text in which %{account}, %{user}, %{client}, %{listener},
	// %{sender}, %{id} and %{hostname} stand for what they are called: client is
	// an IP address, sender that of the envelope.
	Value string `yaml:"value"`
}

// Check reports names in remove that are none, and fields no message may be
// without.
func (c Config) Check(bad func(key, format string, args ...any)) {
	for i, name := range c.Remove {
		key := fmt.Sprintf("remove[%d]", i)
		switch {
		case !isFieldName(name):
			bad(key, "%q is not the name of a header field; write it without the colon, such as X-Originating-IP", name)
		case named(needed, name) != "":
			bad(key, "%s must stay: every message needs it", named(needed, name))
		case named(fixed, name) != "":
			bad(key, "%s must stay: it says what the body is, or who signed the message", name)
		}
	}
	c.compile(bad)
}

// isFieldName tells whether s is printable ASCII without colon (RFC 5322,
// section 2.2).
func isFieldName(s string) bool {
	for _, c := range []byte(s) {
		if c <= ' ' || c > '~' || c == ':' {
			return false
		}
	}
	return s != ""
}
