// Package dmarc answers, when somebody asks: would mail of a domain that leaves
// through a provider pass DMARC (RFC 7489) at its receivers? It passes when its
// From is aligned with a domain that SPF or DKIM proves.
//
// What is not in DNS is told to it: how the provider treats the return path, and
// whether we sign ourselves. It sends nothing and remembers nothing.
package dmarc

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"postern/relay/setting"
)

// lookupTime bounds one question to DNS with all its repetitions.
const lookupTime = 5 * time.Second

// Resolver asks DNS for records.
type Resolver struct{ net *net.Resolver }

// NewResolver asks the DNS server at address, host:port; "" those of the system.
func NewResolver(address string) *Resolver { return &Resolver{net: setting.Resolver(address)} }

// Way is how mail leaves.
type Way struct {
	// SPF is the domain that those include in their records who send this way; ""
	// is not known.
	SPF string
	// KeepsReturnPath: SPF is asked about our domain and not the provider's.
	KeepsReturnPath bool
	// Selectors are those of the keys with which the provider signs for its
	// customers' domains, as far as they are known.
	Selectors []string
	// Signed: we sign, and the signature arrives whole.
	Signed bool
}

// Verdict is what becomes of mail of a domain.
type Verdict struct {
	// Policy is what the domain asks receivers to do with mail that fails: none,
	// quarantine or reject; "" when it has no record.
	Policy string
	// Passes: something proves it. Known is false where neither this nor the
	// opposite can be seen in DNS.
	Passes, Known bool
	// Why says what proves it, or what was looked for.
	Why string
}

// Strict tells whether receivers are asked to act on mail that fails.
func (v Verdict) Strict() bool { return v.Policy == "quarantine" || v.Policy == "reject" }

// Judge tells what becomes of mail from an author in domain. An error is that of
// DNS.
func (r *Resolver) Judge(ctx context.Context, domain string, w Way) (Verdict, error) {
	policy, err := r.policy(ctx, domain)
	v := Verdict{Policy: policy}
	switch {
	case err != nil || policy == "":
		return v, err
	case w.Signed:
		v.Passes, v.Known, v.Why = true, true, "it is signed here"
		return v, nil
	}
	var missing []string
	if w.KeepsReturnPath && w.SPF != "" {
		budget := spfLookups
		included, err := r.includes(ctx, domain, w.SPF, &budget)
		if err != nil {
			return v, err
		}
		if included {
			v.Passes, v.Known, v.Why = true, true, fmt.Sprintf("SPF of %s includes %s", domain, w.SPF)
			return v, nil
		}
		missing = append(missing, fmt.Sprintf("SPF of %s does not include %s", domain, w.SPF))
	}
	for _, selector := range w.Selectors {
		name := selector + "._domainkey." + domain
		found, err := r.texts(ctx, name)
		if err != nil {
			return v, err
		}
		if len(found) > 0 {
			v.Passes, v.Known, v.Why = true, true, "there is a key at "+name
			return v, nil
		}
		missing = append(missing, "no key at "+name)
	}
	v.Known, v.Why = len(w.Selectors) > 0, strings.Join(missing, ", ")
	return v, nil
}

// maxParents bounds the walk up from a domain.
const maxParents = 8

// policy is that of the nearest record at or above a domain.
func (r *Resolver) policy(ctx context.Context, domain string) (string, error) {
	at := domain
	for range maxParents {
		texts, err := r.texts(ctx, "_dmarc."+at)
		if err != nil {
			return "", err
		}
		i := slices.IndexFunc(texts, func(t string) bool { return isRecord(t, "v=DMARC1") })
		if i >= 0 {
			return policyIn(texts[i], at != domain), nil
		}
		_, parent, _ := strings.Cut(at, ".")
		if !strings.Contains(parent, ".") {
			return "", nil
		}
		at = parent
	}
	return "", nil
}

// policyIn reads the tags of a record (RFC 7489, section 6.3): sp is for domains
// below its own.
func policyIn(record string, below bool) string {
	tags := map[string]string{}
	for tag := range strings.SplitSeq(record, ";") {
		name, value, _ := strings.Cut(tag, "=")
		tags[strings.ToLower(strings.TrimSpace(name))] = strings.ToLower(strings.TrimSpace(value))
	}
	if below && tags["sp"] != "" {
		return tags["sp"]
	}
	if tags["p"] == "" {
		return "none"
	}
	return tags["p"]
}

// spfLookups is how many includes and redirects receivers follow (RFC 7208,
// section 4.6.4).
const spfLookups = 10

// includes tells whether the SPF record of a domain, or one it includes, includes
// another.
func (r *Resolver) includes(ctx context.Context, domain, wanted string, budget *int) (bool, error) {
	texts, err := r.texts(ctx, domain)
	if err != nil {
		return false, err
	}
	i := slices.IndexFunc(texts, func(t string) bool { return isRecord(t, "v=spf1") })
	if i < 0 {
		return false, nil
	}
	for term := range strings.FieldsSeq(strings.ToLower(texts[i])) {
		term = strings.TrimPrefix(term, "+")
		next, include := strings.CutPrefix(term, "include:")
		if !include {
			next, include = strings.CutPrefix(term, "redirect=")
		}
		if !include || strings.Contains(next, "%") {
			continue
		}
		if *budget--; next == wanted || *budget < 0 {
			return next == wanted, nil
		}
		if found, err := r.includes(ctx, next, wanted, budget); found || err != nil {
			return found, err
		}
	}
	return false, nil
}

// isRecord tells whether a text begins with a version and ends or goes on behind it.
func isRecord(text, version string) bool {
	rest, ok := strings.CutPrefix(strings.ToLower(strings.TrimSpace(text)), strings.ToLower(version))
	return ok && (rest == "" || rest[0] == ' ' || rest[0] == ';')
}

// texts are the TXT records of a name; none where there is no such name.
func (r *Resolver) texts(ctx context.Context, name string) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, lookupTime)
	defer cancel()
	texts, err := r.net.LookupTXT(ctx, name+".") // whole: nothing of the machine's search list is added
	var dns *net.DNSError
	if errors.As(err, &dns) && dns.IsNotFound {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("DNS does not answer about %s: %w", name, err)
	}
	return texts, nil
}
