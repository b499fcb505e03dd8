package dkim

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"postern/relay/setting"
)

// lookupTime bounds one question to DNS with all its repetitions.
const lookupTime = 10 * time.Second

// Resolver asks DNS for records.
type Resolver struct{ net *net.Resolver }

// NewResolver asks the DNS server at address, host:port; "" those of the system.
func NewResolver(address string) *Resolver { return &Resolver{net: setting.Resolver(address)} }

// look asks for the record of a key.
func (r *Resolver) look(ctx context.Context, name string, public crypto.PublicKey) Record {
	ctx, cancel := context.WithTimeout(ctx, lookupTime)
	defer cancel()
	name += "." // whole: nothing of the machine's search list is added
	texts, err := r.net.LookupTXT(ctx, name)
	if err != nil && !isNotFound(err) {
		return Record{Verdict: Unknown, Problems: []string{"DNS does not answer: " + err.Error()}}
	}
	found := Record{Texts: texts}
	found.Verdict, found.Problems = judgeTexts(public, texts)
	if found.Verdict != Good {
		found.Alias = r.alias(ctx, name)
	}
	if found.Alias != "" {
		found.Problems = append(found.Problems, fmt.Sprintf("the name is a CNAME to %s, so the record is to be put right there", found.Alias))
	}
	return found
}

// alias is where a CNAME at name leads, or "".
func (r *Resolver) alias(ctx context.Context, name string) string {
	target, err := r.net.LookupCNAME(ctx, name)
	if err != nil || strings.EqualFold(target, name) {
		return ""
	}
	return strings.TrimSuffix(target, ".")
}

func isNotFound(err error) bool {
	var dns *net.DNSError
	return errors.As(err, &dns) && dns.IsNotFound
}
