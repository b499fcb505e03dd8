package dkim

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
)

// Verdict is what the record of a key is worth.
type Verdict string

const (
	// Good: whoever looks it up can verify the signatures of the key.
	Good Verdict = "good"
	// Testing: they can, and are told to treat the mail as if unsigned (t=y).
	Testing Verdict = "testing"
	// Wrong: there is a record, and they cannot.
	Wrong Verdict = "wrong"
	// Missing: there is no record.
	Missing Verdict = "missing"
	// Unknown: DNS did not answer.
	Unknown Verdict = "unknown"
)

// Record is what DNS says of a key.
type Record struct {
	Verdict Verdict
	// Problems says in words what differs from the record there should be.
	Problems []string
	// Texts are the TXT records found, Alias the name a CNAME leads to.
	Texts []string
	Alias string
}

// verifies tells whether signatures of the key can be verified with it.
func (r Record) verifies() bool { return r.Verdict == Good || r.Verdict == Testing }

// judgeTexts compares the TXT records of a key's name with the key (RFC 6376,
// section 3.6.1).
func judgeTexts(public crypto.PublicKey, texts []string) (Verdict, []string) {
	switch len(texts) {
	case 0:
		return Missing, []string{"there is no TXT record"}
	case 1:
	default:
		return Wrong, []string{fmt.Sprintf("there are %d TXT records, and receivers may take any of them or none; keep the one of this key", len(texts))}
	}
	tags, problem := parseTags(texts[0])
	if problem != "" {
		return Wrong, []string{problem}
	}
	var problems []string
	add := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	checkVersion(tags, add)
	checkUse(tags, add)
	checkKey(public, tags, add)
	switch {
	case problems != nil:
		return Wrong, problems
	case tags.lists("t", "y"):
		return Testing, []string{"t=y tells receivers to treat the mail as unsigned; take it away once you trust the signatures"}
	}
	return Good, nil
}

// tagList is the tags of a record (RFC 6376, section 3.2).
type tagList struct {
	order  []string
	values map[string]string
}

// has tells whether the tag is there; lists whether its list, parted by colons,
// holds the word.
func (t tagList) has(tag string) bool { return slices.Contains(t.order, tag) }

func (t tagList) lists(tag, word string) bool {
	for item := range strings.SplitSeq(t.values[tag], ":") {
		if strings.TrimSpace(item) == word {
			return true
		}
	}
	return false
}

// parseTags takes a record apart, or says why nobody can.
func parseTags(text string) (tagList, string) {
	if strings.ContainsAny(text, `"\`) {
		return tagList{}, "it holds quotation marks or backslashes; those belong into a zone file, not into a web form"
	}
	t := tagList{values: map[string]string{}}
	for part := range strings.SplitSeq(text, ";") {
		tag, value, ok := strings.Cut(part, "=")
		tag = strings.TrimSpace(tag)
		switch {
		case !ok && tag == "":
			continue
		case !ok || tag == "":
			return tagList{}, fmt.Sprintf("it is not a DKIM record: %.40q is not of the form tag=value", strings.TrimSpace(part))
		case t.has(tag):
			return tagList{}, fmt.Sprintf("it holds %s= twice", tag)
		}
		t.order = append(t.order, tag)
		t.values[tag] = strings.Join(strings.Fields(value), "")
	}
	return t, ""
}

func checkVersion(t tagList, add func(string, ...any)) {
	switch {
	case !t.has("p"): // no DKIM record at all; checkKey says so
	case t.has("v") && t.values["v"] != "DKIM1":
		add("v=%.20s should be v=DKIM1", t.values["v"])
	case t.has("v") && t.order[0] != "v":
		add("v=DKIM1 must stand first")
	}
}

// checkUse looks for what forbids the use we make of the key.
func checkUse(t tagList, add func(string, ...any)) {
	if t.has("h") && !t.lists("h", "sha256") {
		add("h=%.40s does not allow sha256", t.values["h"])
	}
	if t.has("s") && !t.lists("s", "email") && !t.lists("s", "*") {
		add("s=%.40s does not allow email", t.values["s"])
	}
}

// checkKey compares the published key with ours.
func checkKey(public crypto.PublicKey, t tagList, add func(string, ...any)) {
	ours, kind := algorithmOf(public), t.values["k"]
	if kind == "" {
		kind = RSA
	}
	switch published := t.values["p"]; {
	case !t.has("p"):
		add("it is not a DKIM record: p= is missing")
	case published == "":
		add("p= is empty: the key is revoked")
	case kind != ours:
		add("it is for a key of kind %.20s, and ours is %s", kind, ours)
	case isCut(public, published):
		add("p= is cut off after %d characters; a string of a TXT record holds %d, so publish it as several", len(published), maxString)
	default:
		key, err := parsePublished(kind, published)
		switch {
		case err != nil:
			add("p= is damaged: it is no %s key", kind)
		case !samePublic(public, key):
			add("it publishes another key")
		}
	}
}

// isCut tells whether what is published is the beginning of ours.
func isCut(public crypto.PublicKey, published string) bool {
	record, err := recordOf(public)
	if err != nil {
		return false
	}
	_, whole, _ := strings.Cut(record, "p=")
	return len(published) < len(whole) && strings.HasPrefix(whole, published)
}

// parsePublished reads p=. RSA keys stand there in either of two forms (RFC
// 6376, erratum 3017).
func parsePublished(kind, p string) (crypto.PublicKey, error) {
	b, err := base64.StdEncoding.DecodeString(p)
	if err != nil {
		return nil, err
	}
	if kind == Ed25519 {
		if len(b) != ed25519.PublicKeySize {
			return nil, fmt.Errorf("%d octets", len(b))
		}
		return ed25519.PublicKey(b), nil
	}
	if key, err := x509.ParsePKCS1PublicKey(b); err == nil {
		return key, nil
	}
	return x509.ParsePKIXPublicKey(b)
}

func algorithmOf(public crypto.PublicKey) string {
	if _, ok := public.(*rsa.PublicKey); ok {
		return RSA
	}
	return Ed25519
}

func samePublic(a, b crypto.PublicKey) bool {
	same, ok := a.(interface{ Equal(crypto.PublicKey) bool })
	return ok && same.Equal(b)
}
