package rewrite

import (
	"fmt"
	"mime"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"postern/relay/message"
)

// fieldRule is an entry of add or replace made ready.
type fieldRule struct {
	rule, name string
	value      template
	always     bool // whatever the message has
	mailboxes  bool // the field holds addresses
}

// References a value may have.
var fieldReferences = []string{"%{account}", "%{user}", "%{client}", "%{listener}", "%{sender}", "%{id}", "%{hostname}"}

// Fields that the headers section must leave alone. Where a name ends in a
// hyphen it is the beginning of several.
var (
	needed = []string{"From", "Date", "Message-ID", "Received"}
	fixed  = []string{"MIME-Version", "Content-", "DKIM-Signature", "ARC-"}
	others = []string{"Sender", "Return-Path", "Bcc", "Resent-"} // they are rewrite's own
)

// named is the one of names that a field is, or "".
func named(names []string, field string) string {
	for _, n := range names {
		if strings.EqualFold(n, field) || strings.HasSuffix(n, "-") && len(field) > len(n) && strings.EqualFold(n, field[:len(n)]) {
			return n
		}
	}
	return ""
}

// compile makes add and replace ready, or reports what cannot be.
func (c Config) compile(bad reporter) []fieldRule {
	var rules []fieldRule
	seen := map[string]string{}
	for i, name := range c.Remove {
		seen[strings.ToLower(name)] = fmt.Sprintf("remove[%d]", i)
	}
	one := func(list string, i int, f FieldConfig) {
		key := fmt.Sprintf("%s[%d]", list, i)
		if first := seen[strings.ToLower(f.Name)]; first != "" {
			bad(key+".name", "%s is in %s already; to set a field whatever the message has, replace alone does it", f.Name, first)
		}
		seen[strings.ToLower(f.Name)] = key
		value, ok := f.compile(key, bad)
		if ok {
			rules = append(rules, fieldRule{"headers." + key, f.Name, value, list == "replace", holdsAddresses(f.Name)})
		}
	}
	for i, f := range c.Replace {
		one("replace", i, f)
	}
	for i, f := range c.Add {
		one("add", i, f)
	}
	return rules
}

// maxFieldValue bounds the value of a configured field, in octets.
const maxFieldValue = 500

func (f FieldConfig) compile(key string, bad reporter) (value template, ok bool) {
	switch {
	case !isFieldName(f.Name):
		bad(key+".name", "%q is not the name of a header field; write it without the colon, such as X-Environment", f.Name)
	case named(slices.Concat(needed, fixed, others), f.Name) != "":
		bad(key+".name", "%s cannot be set here; From and Sender are for rules under rewrite, and others are not to be touched", f.Name)
	case strings.TrimSpace(f.Value) == "":
		bad(key+".value", "is missing; write the text of the field")
	case strings.ContainsFunc(f.Value, unicode.IsControl) || !utf8.ValidString(f.Value):
		bad(key+".value", "holds a line end or another control character; a value is one line of text")
	case len(f.Value) > maxFieldValue:
		bad(key+".value", "is longer than %d octets", maxFieldValue)
	default:
		t, err := parseTemplate(f.Value, fieldReferences)
		if err != nil {
			bad(key+".value", "%v", err)
			return nil, false
		}
		if holdsAddresses(f.Name) && !isMailboxes(t.expand(example)) {
			bad(key+".value", "%q is not what may stand in %s: mailboxes in ASCII, such as IT <it@example.com>", f.Value, f.Name)
			return nil, false
		}
		return t, true
	}
	return nil, false
}

// holdsAddresses tells whether a field of that name is a list of mailboxes.
func holdsAddresses(name string) bool { return placeNamed(name)&inHeader != 0 }

// example stands for a reference where a value is tried.
func example(reference string) string {
	if reference == "%{sender}" {
		return "any@any.example"
	}
	return "any"
}

// isMailboxes tells whether value is a list of mailboxes in ASCII.
func isMailboxes(value string) bool {
	found, err := message.ParseMailboxes(value)
	return err == nil && !slices.ContainsFunc(found, func(a message.Address) bool { return !a.IsASCII() })
}

// addFields sets the configured fields. One that holds addresses is left out
// where its value would not be one, as for the null sender.
func (r *Rewrite) addFields(e *edit, m *message.Message) {
	for _, rule := range r.fields {
		if !rule.always && e.header.Get(rule.name) != "" {
			continue
		}
		value := rule.value.expand(func(reference string) string { return r.fact(reference, m) })
		if !rule.mailboxes || isMailboxes(value) {
			e.set(rule.rule, message.NewField(rule.name, encoded(value)))
		}
	}
}

// maxFact bounds what stands for a reference, in octets.
const maxFact = 200

// fact is what a reference in the value of a field stands for, as text without
// control characters.
func (r *Rewrite) fact(reference string, m *message.Message) string {
	fact := map[string]string{
		"%{account}":  m.Client.Account,
		"%{user}":     m.Client.User,
		"%{client}":   m.Client.Address.Addr().String(),
		"%{listener}": m.Client.Listener,
		"%{id}":       m.ID,
		"%{hostname}": r.hostname,
		"%{sender}":   m.From.String(),
	}[reference]
	fact = strings.Map(func(c rune) rune {
		if unicode.IsControl(c) || c == utf8.RuneError {
			return '?'
		}
		return c
	}, fact[:min(len(fact), maxFact)])
	return fact
}

// encoded is text as it may stand in a field: in ASCII as it is, else as
// encoded words (RFC 2047), one on each line.
func encoded(text string) string {
	return strings.ReplaceAll(mime.QEncoding.Encode("utf-8", text), "?= =?", "?=\r\n =?")
}
