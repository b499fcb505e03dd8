package upstream

import (
	"cmp"
	"errors"
	"slices"
	"strings"

	"postern/relay/message"
	"postern/relay/upstream/preset"
	"postern/relay/upstream/smtp"
	"postern/relay/upstream/transport"
)

// Known is what is known of u's provider. An error is a *[preset.Wrong].
func (u Upstream) Known() (*preset.Preset, error) {
	return preset.Find(u.Preset, u.Cloud, u.Region)
}

// Effective is u with what its preset says of all that it leaves out itself.
func (u Upstream) Effective() (Upstream, *preset.Preset, error) {
	p, err := u.Known()
	if err != nil {
		return u, nil, err
	}
	u.Address = cmp.Or(u.Address, p.Address)
	u.TLS = cmp.Or(u.TLS, p.TLSAt(u.Address), smtp.StartTLS)
	u.Username = cmp.Or(u.Username, u.usualName(p))
	u.Limits = u.Limits.or(p.Limits).orDefault()
	return u, p, nil
}

// mechanisms are those of AUTH that are given, or else those of p for what there is
// to log in with.
func (u Upstream) mechanisms(p *preset.Preset, tokens bool) []string {
	needs := ""
	switch {
	case u.Mechanisms != nil:
		return u.Mechanisms
	case tokens:
		needs = "oauth"
	case !u.Password.IsZero():
		needs = "password"
	}
	return slices.DeleteFunc(slices.Clone(p.Mechanisms), func(m string) bool { return smtp.Mechanisms[m] != needs })
}

// passwordOf makes the password of what is configured; nil when that is it.
func (u Upstream) passwordOf() func(secret string) string {
	if u.PasswordFrom != preset.IAM {
		return nil
	}
	return func(secretKey string) string { return preset.IAMPassword(secretKey, u.Region) }
}

// usualName is the user name when none is given.
func (u Upstream) usualName(p *preset.Preset) string {
	switch p.Username {
	case preset.UserMailbox:
		if u.Mailbox.IsNull() {
			return ""
		}
		return u.Mailbox.String()
	case preset.UserGiven, preset.UserOptional, preset.UserNone:
		return ""
	}
	return p.Username
}

// or fills in what a provider allows.
func (l Limits) or(p preset.Limits) Limits {
	l.Connections = cmp.Or(l.Connections, p.Connections)
	l.MessagesPerConnection = cmp.Or(l.MessagesPerConnection, p.MessagesPerConnection)
	l.RecipientsPerMessage = cmp.Or(l.RecipientsPerMessage, p.RecipientsPerMessage)
	l.Size = cmp.Or(l.Size, p.Size)
	l.Messages, l.Recipients = cmp.Or(l.Messages, p.Messages), cmp.Or(l.Recipients, p.Recipients)
	return l
}

// judge says what u's replies mean. One that refuses a login is only a matter of
// another token if it was by token: a password that is refused stays wrong, and
// repeats lock accounts.
func (u Upstream) judge(p *preset.Preset, tokens bool) transport.Judge {
	judge := p.Judge(u.Replies)
	if tokens {
		return judge
	}
	return func(at transport.Stage, reply message.Reply) transport.Result {
		result := judge(at, reply)
		if result.Advice.Action == transport.Reauth {
			result.Advice.Action = transport.Configure
		}
		return result
	}
}

// Explain puts a reply of the upstream of that name into plain words, and says
// what to do about it; both are "" when there is nothing to add to its text. At
// may be "" where it is not known.
func (s *Set) Explain(name string, at transport.Stage, reply message.Reply) (meaning, hint string) {
	u := s.upstreams[name]
	if u == nil {
		return "", ""
	}
	return u.preset.Explain(u.cfg.Replies, at, reply)
}

// checkKnown reports a preset, cloud or region that there is not.
func (u Upstream) checkKnown(bad func(key, format string, args ...any)) {
	_, err := u.Known()
	var wrong *preset.Wrong
	if errors.As(err, &wrong) {
		bad(wrong.Key, "%s", wrong.Text)
	}
}

// checkPasswordFrom reports passwords that cannot be made.
func (u Upstream) checkPasswordFrom(p *preset.Preset, bad func(key, format string, args ...any)) {
	switch {
	case u.PasswordFrom == "":
	case u.PasswordFrom != p.PasswordFrom:
		bad("password_from", "%q is not known here; iam is for preset ses, elsewhere leave it out", u.PasswordFrom)
	case u.Region == "":
		bad("region", "it is missing; the password is of one region: write %s", p.Region)
	}
}

// checkAddress reports what is missing to know where the provider is.
func checkAddress(address string, p *preset.Preset, bad func(key, format string, args ...any)) (host string) {
	switch {
	case strings.Contains(address, "{region}"):
		bad("region", "it is missing; write %s", p.Region)
		return ""
	case address == "" && p.Example != "":
		bad("address", "it is missing, and preset %s cannot know it; write host:port, such as %s", p.Name, p.Example)
		return ""
	}
	host, err := splitAddress(address)
	if err != nil {
		bad("address", "%v", err)
	}
	return host
}

// checkMailbox reports a login as nobody.
func (u Upstream) checkMailbox(bad func(key, format string, args ...any)) {
	p, err := u.Known()
	if err == nil && p.Username == preset.UserMailbox && u.Username == "" && u.Mailbox.IsNull() {
		bad("mailbox", "it is missing; write the address of the mailbox that mail is sent through, as preset %s needs it", p.Name)
	}
}
