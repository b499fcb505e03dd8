package relay

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"postern/relay/config"
	"postern/relay/dkim"
	"postern/relay/dmarc"
)

// alignmentTime bounds all questions to DNS.
const alignmentTime = time.Minute

// Alignment looks in DNS whether the mail of each domain that accounts may send
// as passes DMARC through each upstream it may leave by, and lists where it would
// not, or where that cannot be seen. resolver is host:port; "" is the one of the
// configuration.
func Alignment(ctx context.Context, cfg *config.Config, resolver string) (all []string) {
	ctx, cancel := context.WithTimeout(ctx, alignmentTime)
	defer cancel()
	if resolver == "" {
		resolver = cfg.DNS.Resolver
	}
	dns := dmarc.NewResolver(resolver)
	for _, l := range cfg.Leaving() {
		v, err := dns.Judge(ctx, l.Domain, way(cfg, l))
		switch {
		case err != nil:
			all = append(all, fmt.Sprintf("route %s, upstream %s: %v", l.Route, l.Upstream.Upstream.Name, err))
		case v.Strict() && !v.Passes:
			all = append(all, misaligned(l, v))
		}
	}
	return all
}

// way is how mail leaves through an upstream.
func way(cfg *config.Config, l config.Leaving) dmarc.Way {
	signing, keeps := l.Signing()
	w := dmarc.Way{Signed: keeps && signing.DKIM != "off" && slices.ContainsFunc(cfg.DKIM, func(k dkim.Key) bool {
		domain := strings.ToLower(k.Domain)
		return k.State != "retiring" && (domain == l.Domain || k.Subdomains && strings.HasSuffix(l.Domain, "."+domain))
	})}
	if p := l.Provider(); p != nil {
		w.SPF, w.Selectors, w.KeepsReturnPath = p.DNS.SPF, p.DNS.Selectors, !slices.Contains(p.Rewrites, "return-path")
	}
	return w
}

// misaligned says what would become of mail that nothing proves.
func misaligned(l config.Leaving, v dmarc.Verdict) string {
	verb := "sends through"
	if l.Failover {
		verb = "fails over to"
	}
	if !v.Known {
		return fmt.Sprintf("route %s %s %s: whether mail from %s passes DMARC there (p=%s) cannot be seen in DNS; see that the provider signs for the domain, or sign here (docs/dkim.md)",
			l.Route, verb, l.Upstream.Upstream.Name, l.Domain, v.Policy)
	}
	return fmt.Sprintf("route %s %s %s: mail from %s would fail DMARC there (p=%s), as %s; publish what the provider asks for, or sign here (docs/dkim.md)",
		l.Route, verb, l.Upstream.Upstream.Name, l.Domain, v.Policy, v.Why)
}
