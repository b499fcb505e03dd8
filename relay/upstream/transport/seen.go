package transport

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"
)

// Lookup resolves the host of an address, for its facts alone: whoever connects
// asks again.
func Lookup(ctx context.Context, host string) ([]string, error) {
	if net.ParseIP(host) != nil {
		return []string{host + " is an address already"}, nil
	}
	addresses, err := net.DefaultResolver.LookupHost(ctx, host)
	if err != nil {
		return nil, err
	}
	return []string{host + " is " + strings.Join(addresses, ", ")}, nil
}

// SeenTLS are the facts of a TLS connection.
func SeenTLS(state tls.ConnectionState) []string {
	facts := []string{tls.VersionName(state.Version) + ", " + tls.CipherSuiteName(state.CipherSuite)}
	return append(facts, seenChain(state.PeerCertificates)...)
}

// SeenCertificate are the facts of a certificate that was not accepted; none if
// err is about something else.
func SeenCertificate(err error) []string {
	var refused *tls.CertificateVerificationError
	if !errors.As(err, &refused) {
		return nil
	}
	return seenChain(refused.UnverifiedCertificates)
}

// seenChain is the server's own certificate, and who vouches for it.
func seenChain(chain []*x509.Certificate) []string {
	if len(chain) == 0 {
		return nil
	}
	leaf := chain[0]
	names := append([]string{}, leaf.DNSNames...)
	for _, ip := range leaf.IPAddresses {
		names = append(names, ip.String())
	}
	facts := []string{fmt.Sprintf("certificate for %s, until %s (%s)", strings.Join(names, ", "), leaf.NotAfter.UTC().Format(time.DateOnly), days(time.Until(leaf.NotAfter)))}
	for _, c := range chain {
		facts = append(facts, "issued by "+c.Issuer.String())
	}
	return facts
}

func days(left time.Duration) string {
	n := int(left.Hours() / 24)
	switch {
	case left < 0:
		return "it has expired"
	case n == 1:
		return "1 day left"
	}
	return fmt.Sprintf("%d days left", n)
}

// claims are those of an access token that say what it is good for.
var claims = []string{"aud", "roles", "scp", "appid", "tid", "exp"}

// SeenToken are the claims of an access token that is a JWT (RFC 9068). They are
// not verified: the token is not for us. The token itself is not among them.
func SeenToken(token string) []string {
	all := claimsOf(token)
	if all == nil {
		return []string{"a token whose content only its provider can read"}
	}
	var facts []string
	for _, name := range claims {
		value, ok := all[name]
		switch {
		case name == "exp" && ok:
			seconds, _ := value.(float64)
			at := time.Unix(int64(seconds), 0)
			facts = append(facts, fmt.Sprintf("exp: %s UTC (in %v)", at.UTC().Format(time.DateTime), time.Until(at).Round(time.Second)))
		case ok:
			facts = append(facts, name+": "+plainly(value))
		}
	}
	if rights, _ := TokenRights(token); len(rights) == 0 {
		facts = append(facts, "neither roles nor scp: the application was given no permission for this resource")
	}
	return facts
}

// TokenRights are what an access token that is a JWT names as roles or scp; not
// known of any other.
func TokenRights(token string) (rights []string, known bool) {
	all := claimsOf(token)
	if all == nil {
		return nil, false
	}
	for _, name := range []string{"roles", "scp"} {
		if value, ok := all[name]; ok && value != nil {
			rights = append(rights, strings.Fields(plainly(value))...)
		}
	}
	return rights, true
}

// claimsOf reads the claims of a JWT; nil of anything else.
func claimsOf(token string) (all map[string]any) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return nil
	}
	text, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil || json.Unmarshal(text, &all) != nil {
		return nil
	}
	return all
}

// plainly is a claim as text: one value, or several.
func plainly(value any) string {
	list, ok := value.([]any)
	if !ok {
		list = []any{value}
	}
	var words []string
	for _, v := range list {
		words = append(words, fmt.Sprint(v))
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return '?'
		}
		return r
	}, strings.Join(words, " "))
}
