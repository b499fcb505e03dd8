package config

import (
	"fmt"
	"net"
	"slices"
	"strings"

	"postern/relay/upstream"
	"postern/relay/upstream/preset"
)

// providerWarnings are what the presets know of upstreams and their file does not
// say.
func (c *Config) providerWarnings() (all []string) {
	for _, u := range c.Upstreams {
		p := u.Provider()
		if p == nil {
			continue
		}
		warn := func(format string, args ...any) {
			all = append(all, "upstream "+u.Upstream.Name+": "+fmt.Sprintf(format, args...))
		}
		if p.FullHostname && !isPublic(c.Hostname) {
			warn("it tells its customers by the name in EHLO, and hostname is %s; write a full name below a domain of yours", c.Hostname)
		}
		if p.PasswordsEnd != "" && !u.Upstream.Password.IsZero() {
			warn("it logs in by password, which %s does not take from %s on; use oauth", p.Name, p.PasswordsEnd)
		}
		c.adviseSigning(u, p, warn)
		c.adviseNullSender(u, p, warn)
		adviseLimits(u.Upstream.Limits, p, warn)
	}
	return all
}

// Provider is what is known of u, also where only its address tells who it is; nil
// when nothing is.
func (u Upstream) Provider() *preset.Preset {
	p := u.known()
	if p.Name != "" {
		return p
	}
	host, _, _ := net.SplitHostPort(u.Upstream.Address)
	if name := preset.At(host); name != "" {
		p, _ = preset.Find(name, "", "")
		return p
	}
	return nil
}

// adviseSigning is about signatures that would arrive broken.
func (c *Config) adviseSigning(u Upstream, p *preset.Preset, warn func(format string, args ...any)) {
	signing, _ := u.Signing()
	if len(c.DKIM) == 0 || signing.DKIM == "off" {
		return
	}
	if !p.Keeps() && signing.DKIM == "on" {
		warn("%s rebuilds what it is given, so that a signature made here is broken when it arrives; leave dkim out", p.Name)
	}
	var replaced []string
	for _, field := range p.DKIMExclude {
		if !slices.ContainsFunc(signing.Exclude, func(e string) bool { return strings.EqualFold(e, field) }) {
			replaced = append(replaced, field)
		}
	}
	if len(replaced) > 0 {
		warn("%s replaces %s, which breaks signatures that cover it; write dkim_exclude: [%s]", p.Name, strings.Join(replaced, " and "), strings.Join(p.DKIMExclude, ", "))
	}
}

// adviseNullSender is about reports and the like that would be refused.
func (c *Config) adviseNullSender(u Upstream, p *preset.Preset, warn func(format string, args ...any)) {
	sends := slices.ContainsFunc(c.Accounts, func(a Account) bool { return a.Policy.NullSender })
	if sends && p.NullSender == preset.Refused && u.Dressing().NullSender != "otherwise" {
		warn("%s takes no mail from <>, and there are accounts with null_sender; write otherwise: force, or otherwise: next", p.Name)
	}
}

// adviseLimits is about more than the provider allows.
func adviseLimits(l upstream.Limits, p *preset.Preset, warn func(format string, args ...any)) {
	beyond := func(key string, file, allowed int) {
		if allowed > 0 && file > allowed {
			warn("limits.%s is %d, and %s allows %d", key, file, p.Name, allowed)
		}
	}
	beyond("connections", l.Connections, p.Limits.Connections)
	beyond("messages_per_connection", l.MessagesPerConnection, p.Limits.MessagesPerConnection)
	beyond("recipients_per_message", l.RecipientsPerMessage, p.Limits.RecipientsPerMessage)
}

// isPublic tells whether a name can be one of the world's: those that belong to a
// network of one's own are not (RFC 6762, appendix G; RFC 8375).
func isPublic(hostname string) bool {
	top := hostname[strings.LastIndexByte(hostname, '.')+1:]
	private := []string{"local", "localdomain", "localhost", "lan", "home", "internal", "intranet", "private", "corp", "arpa", "test", "invalid"}
	return !slices.Contains(private, strings.ToLower(top))
}
