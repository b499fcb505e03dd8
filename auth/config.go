package auth

import (
	"slices"
	"strings"

	"postern/auth/bearer"
	"postern/auth/directory"
	"postern/relay/setting"
)

// Config is the auth section of the configuration.
type Config struct {
	// Mechanisms are the SASL mechanisms offered, in the order advertised.
	// Default: PLAIN, LOGIN.
	Mechanisms []string `yaml:"mechanisms"`
	// Memory bounds what password verifications may take together; further
	// ones wait, then are told 454. Default 256 MiB.
	Memory setting.Size `yaml:"memory"`
	// Directories know the people that no account is named after.
	Directories []directory.Config `yaml:"directories"`
	// Issuers are those whose tokens are taken.
	Issuers []bearer.Issuer `yaml:"issuers"`
}

// The mechanisms there is an answer to, and those offered unless others are
// listed: the rest needs something that not every configuration has.
var (
	known   = []string{"PLAIN", "LOGIN", "XOAUTH2", "OAUTHBEARER", "EXTERNAL", scramName, cramName}
	offered = []string{"PLAIN", "LOGIN"}
)

// DefaultConfig is the section as it is when nothing is written.
func DefaultConfig() Config {
	return Config{Mechanisms: slices.Clone(offered), Memory: 256 << 20}
}

// Check reports every value that cannot be used.
func (c Config) Check(bad func(key, format string, args ...any)) {
	if len(c.Mechanisms) == 0 {
		bad("mechanisms", "is empty, so nobody could log in; known are %s", strings.Join(known, ", "))
	}
	for i, m := range c.Mechanisms {
		key := element("mechanisms", i)
		switch {
		case !slices.Contains(known, m):
			bad(key, "%q is not known; known are %s", m, strings.Join(known, ", "))
		case slices.Contains(c.Mechanisms[:i], m):
			bad(key, "%s is listed twice", m)
		case takesTokens(m) && len(c.Issuers) == 0:
			bad(key, "%s is for tokens, and auth.issuers names nobody whose tokens are taken", m)
		}
	}
	c.checkIssuers(bad)
	if c.Memory < ownMemory {
		bad("memory", `%s is too little: checking one password made by "postern hash" takes %s`, c.Memory, setting.Size(ownMemory))
	}
}

// CheckMechanisms reports mechanisms by which no account could log in: a client
// that finds one offered may try nothing else.
func CheckMechanisms(c Config, accounts []Account, bad func(key, format string, args ...any)) {
	for _, need := range []struct {
		mechanism, key string
		has            func(Account) bool
	}{
		{"EXTERNAL", "certificates", func(a Account) bool { return len(a.Certificates) > 0 }},
		{scramName, "scram", func(a Account) bool { return !a.SCRAM.IsZero() }},
		{cramName, "cram_secret", func(a Account) bool { return !a.CRAMSecret.IsZero() }},
	} {
		i := slices.Index(c.Mechanisms, need.mechanism)
		if i >= 0 && !slices.ContainsFunc(accounts, need.has) {
			bad(element("mechanisms", i), "%s is offered, but no account has %s, so clients would choose it in vain; take it away, or give one to an account", need.mechanism, need.key)
		}
	}
}
