package dkim

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"postern/relay/setting"
)

// Key is one key and what it may do. Keys of one domain may be many: of each
// algorithm the first that may sign does.
type Key struct {
	// Domain is whose mail it signs: d= of the signature.
	Domain string `yaml:"domain"`
	// Selector is where its record is: SELECTOR._domainkey.DOMAIN.
	Selector string `yaml:"selector"`
	// Key is the private key, PEM.
	Key Source `yaml:"key"`
	// Algorithm is "rsa" or "ed25519"; "" is what the key is.
	Algorithm string `yaml:"algorithm"`
	// Canonicalization is of header and body, each relaxed or simple. Default
	// "relaxed/relaxed".
	Canonicalization string `yaml:"canonicalization"`
	// Subdomains lets it sign for domains below Domain too.
	Subdomains bool `yaml:"subdomains"`
	// Expire is how long its signatures are good for (x=); 0: for ever.
	Expire setting.Duration `yaml:"expire"`
	// State is "auto" (default): it signs once its record has been seen;
	// "active": it signs; or "retiring": it signs no more. DNS is asked for
	// "auto" only.
	State string `yaml:"state"`
}

// Upstream is the part of an upstream that this room knows.
type Upstream struct {
	// DKIM is "auto" (default): mail is signed if there is a key for it and the
	// upstream leaves content alone; "on": what cannot be signed does not
	// leave through it; "off".
	DKIM string `yaml:"dkim"`
	// Exclude are fields its signatures leave out, as it replaces them.
	Exclude []string `yaml:"dkim_exclude"`
}

// Words of the configuration.
const (
	modeAuto = "auto"
	modeOn   = "on"
	modeOff  = "off"
)

var canonicalizations = []string{"relaxed/relaxed", "relaxed/simple", "simple/relaxed", "simple/simple"}

var (
	domainForm   = regexp.MustCompile(`^([a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9])?\.)+[a-z]([a-z0-9-]{0,61}[a-z0-9])?$`)
	selectorForm = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*$`)
)

// CheckDomain and CheckSelector say what is wrong with the names of a key.
func CheckDomain(domain string) error {
	if !domainForm.MatchString(canonicalDomain(domain)) || len(domain) > 253 {
		return fmt.Errorf("%q is not a domain such as example.com", domain)
	}
	return nil
}

func CheckSelector(selector string) error {
	if !selectorForm.MatchString(strings.ToLower(selector)) || len(selector) > 63 {
		return fmt.Errorf("%q is not a selector such as s2026: letters, digits, hyphens", selector)
	}
	return nil
}

// Check reports what is wrong with one key, its private key included.
func (k Key) Check(bad func(key, format string, args ...any)) {
	if k.Domain == "" {
		bad("domain", "it is missing; write whose mail the key signs, such as example.com")
	} else if err := CheckDomain(k.Domain); err != nil {
		bad("domain", "%v", err)
	}
	if k.Selector == "" {
		bad("selector", "it is missing; write where the record of the key is: s2026 means s2026._domainkey.DOMAIN")
	} else if err := CheckSelector(k.Selector); err != nil {
		bad("selector", "%v", err)
	}
	if k.Canonicalization != "" && !slices.Contains(canonicalizations, k.Canonicalization) {
		bad("canonicalization", "%q is not known; write one of %s", k.Canonicalization, strings.Join(canonicalizations, ", "))
	}
	if !slices.Contains([]State{"", stateAuto, StateActive, StateRetiring}, State(k.State)) {
		bad("state", "%q is not known; write auto, active or retiring", k.State)
	}
	if !slices.Contains([]string{"", RSA, Ed25519}, k.Algorithm) {
		bad("algorithm", "%q is not known; write rsa or ed25519, or leave it out", k.Algorithm)
		return
	}
	if _, err := k.load(); err != nil {
		bad("key", "%v", err)
	}
}

// load reads the private key.
func (k Key) load() (private, error) {
	if k.Key.IsZero() {
		return private{}, fmt.Errorf("it is missing; \"postern dkim generate %s\" makes one", k.Domain)
	}
	text, err := k.Key.Reveal()
	if err != nil {
		return private{}, err
	}
	return k.parse(text)
}

// parse reads the private key from its text and checks that it is the one that
// is meant.
func (k Key) parse(text string) (private, error) {
	p, err := parsePrivate(text)
	switch {
	case err != nil:
		return private{}, err
	case k.Algorithm != "" && k.Algorithm != p.algorithm:
		return private{}, fmt.Errorf("it is an %s key, and algorithm says %s", p.algorithm, k.Algorithm)
	case p.domain != "" && k.Domain != "" && canonicalDomain(p.domain) != canonicalDomain(k.Domain):
		return private{}, fmt.Errorf("it says that it is the key of %s, and domain is %s", p.domain, k.Domain)
	case p.selector != "" && k.Selector != "" && !strings.EqualFold(p.selector, k.Selector):
		return private{}, fmt.Errorf("it says that it is the key of selector %s, and selector is %s", p.selector, k.Selector)
	}
	return p, nil
}

// Check reports what is wrong with an upstream's part.
func (u Upstream) Check(bad func(key, format string, args ...any)) {
	if !slices.Contains([]string{"", modeAuto, modeOn, modeOff}, u.DKIM) {
		bad("dkim", "%q is not known; write auto, on or off", u.DKIM)
	}
	for i, name := range u.Exclude {
		key := fmt.Sprintf("dkim_exclude[%d]", i)
		switch {
		case strings.EqualFold(name, "From"):
			bad(key, "From must be signed; an upstream that changes it needs dkim: off")
		case !slices.ContainsFunc(signed, func(s string) bool { return strings.EqualFold(s, name) }):
			bad(key, "%q is never signed; those that are: %s", name, strings.Join(signed, ", "))
		}
	}
}

// Check reports what is wrong between the keys. Each is checked by its own
// Check. horizon is how long mail may wait to be sent again under the signature
// it was given.
func Check(keys []Key, horizon setting.Duration, bad func(key, format string, args ...any)) {
	first := map[string]int{}
	for i, k := range keys {
		name := RecordName(k.Domain, k.Selector)
		if j, taken := first[name]; taken {
			bad(fmt.Sprintf("dkim[%d].selector", i), "%s is the record of dkim[%d] already; give each key its own selector", name, j)
		} else {
			first[name] = i
		}
		if k.Expire != 0 && k.Expire < horizon {
			bad(fmt.Sprintf("dkim[%d].expire", i), "%s is less than the %s mail may wait in the queue; a late retry would carry a dead signature", k.Expire, horizon)
		}
	}
}

// Warnings lists what sound keys probably do not mean to do.
func Warnings(keys []Key) []string {
	var all []string
	hasRSA := map[string]bool{}
	for _, k := range keys {
		p, err := k.load()
		if err != nil {
			continue // Check says it
		}
		hasRSA[canonicalDomain(k.Domain)] = hasRSA[canonicalDomain(k.Domain)] || p.algorithm == RSA
		if p.algorithm == RSA && p.bits < soundRSA {
			all = append(all, fmt.Sprintf("the DKIM key %s has %d bits; %d are what receivers expect", RecordName(k.Domain, k.Selector), p.bits, soundRSA))
		}
	}
	for _, k := range keys {
		domain := canonicalDomain(k.Domain)
		if rsa, loaded := hasRSA[domain]; loaded && !rsa {
			all = append(all, fmt.Sprintf("%s has no RSA key; many receivers cannot verify Ed25519 (RFC 8463, section 3)", k.Domain))
			hasRSA[domain] = true // once
		}
	}
	return all
}

// orDefault fills in what was left out.
func (k Key) orDefault() Key {
	k.Domain, k.Selector = canonicalDomain(k.Domain), strings.ToLower(k.Selector)
	if k.Canonicalization == "" {
		k.Canonicalization = canonicalizations[0]
	}
	if k.State == "" {
		k.State = string(stateAuto)
	}
	return k
}
