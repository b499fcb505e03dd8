package graph

import (
	"fmt"
	"slices"
	"strings"

	"postern/relay/message"
)

// properties are the fields of a draft, in the words of Graph (the resource type
// message).
type properties struct {
	Subject string      `json:"subject"`
	From    *recipient  `json:"from,omitempty"`
	Sender  *recipient  `json:"sender,omitempty"`
	ReplyTo []recipient `json:"replyTo,omitempty"`
	To      []recipient `json:"toRecipients"`
	Cc      []recipient `json:"ccRecipients,omitempty"`
	Bcc     []recipient `json:"bccRecipients,omitempty"`
	// ID is the Message-ID, so that a draft sent again is known for the same.
	ID         string  `json:"internetMessageId,omitempty"`
	Importance string  `json:"importance,omitempty"`
	Headers    []extra `json:"internetMessageHeaders,omitempty"`
}

type recipient struct {
	Address emailAddress `json:"emailAddress"`
}

type emailAddress struct {
	Name    string `json:"name,omitempty"`
	Address string `json:"address"`
}

type extra struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// maxExtra is how many fields of one's own a draft may have.
const maxExtra = 5

// carried are the fields that become properties; trace those of a way that ends
// here, or that Exchange writes itself.
var (
	carried = []string{"subject", "from", "sender", "reply-to", "to", "cc", "bcc", "message-id", "importance"}
	trace   = []string{"received", "return-path", "date", "mime-version", "dkim-signature"}
)

// describe is what of m's header and envelope goes into a draft. The recipients
// are those of the envelope, whatever the header says.
func describe(m *message.Message) properties {
	p := properties{Subject: decodeWords(m.Header.Get("Subject")), ID: m.Header.Get("Message-ID"), To: []recipient{}}
	p.From, p.Sender = one(m.Header, "From"), one(m.Header, "Sender")
	p.ReplyTo = named(m.Header, "Reply-To")
	if i := strings.ToLower(m.Header.Get("Importance")); slices.Contains([]string{"low", "normal", "high"}, i) {
		p.Importance = i
	}
	left := map[string]message.Address{}
	for _, r := range m.To {
		left[key(r.Address.String())] = r.Address
	}
	p.To = append(p.To, strike(left, named(m.Header, "To"))...)
	p.Cc = strike(left, named(m.Header, "Cc"))
	for _, r := range m.To {
		if _, ok := left[key(r.Address.String())]; ok {
			delete(left, key(r.Address.String()))
			p.Bcc = append(p.Bcc, recipient{emailAddress{Address: r.Address.String()}})
		}
	}
	for _, f := range m.Header {
		if isExtra(f) && len(p.Headers) < maxExtra {
			p.Headers = append(p.Headers, extra{f.Name(), f.Value()})
		}
	}
	return p
}

// strike is those of all who are left, once each, and takes them from there.
func strike(left map[string]message.Address, all []recipient) []recipient {
	var found []recipient
	for _, r := range all {
		k := key(r.Address.Address)
		if _, ok := left[k]; ok {
			delete(left, k)
			found = append(found, r)
		}
	}
	return found
}

// key is the same for addresses that are one mailbox to Exchange.
func key(address string) string { return strings.ToLower(address) }

// named are the mailboxes of the fields of that name.
func named(h message.Header, name string) []recipient {
	var all []recipient
	for _, f := range h.All(name) {
		found, _ := f.Mailboxes()
		for _, box := range found {
			text := strings.Trim(strings.Join(strings.Fields(string(f.Raw()[box.First:box.NameEnd])), " "), `"`)
			all = append(all, recipient{emailAddress{Name: decodeWords(text), Address: box.Address.String()}})
		}
	}
	return all
}

// one is the mailbox of a field; nil if there is none.
func one(h message.Header, name string) *recipient {
	if all := named(h, name); len(all) > 0 {
		return &all[0]
	}
	return nil
}

// isExtra tells whether f may be a field of one's own: Graph takes those that
// begin with "X-", in ASCII.
func isExtra(f message.Field) bool {
	return strings.HasPrefix(strings.ToLower(f.Name()), "x-") && !message.Bytes(f.Raw()).EightBit() && f.Value() != ""
}

// lostFields are the fields that a draft cannot hold, for a person.
func lostFields(h message.Header) []string {
	var names []string
	extras := 0
	for _, f := range h {
		name := strings.ToLower(f.Name())
		switch {
		case slices.Contains(carried, name) || slices.Contains(trace, name) || strings.HasPrefix(name, "content-"):
			continue
		case isExtra(f):
			if extras++; extras <= maxExtra {
				continue
			}
		}
		if len(names) == 20 {
			return append(names, "more fields")
		}
		if !slices.Contains(names, f.Name()) {
			names = append(names, fmt.Sprintf("%.60s", f.Name()))
		}
	}
	return names
}
