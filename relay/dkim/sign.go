package dkim

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/emersion/go-msgauth/dkim"

	"postern/relay/message"
)

// Proof is what a message takes along to show whose it is.
type Proof struct {
	// Signatures are to stand on top of the header, in this order.
	Signatures []Signature
	// Unsigned says why there are none; "" when there are.
	Unsigned string
}

// Fields are the signatures as header fields.
func (p Proof) Fields() []message.Field {
	var all []message.Field
	for _, s := range p.Signatures {
		all = append(all, s.Field)
	}
	return all
}

// Signature is one DKIM-Signature field, and what made it.
type Signature struct {
	Field                       message.Field
	Domain, Selector, Algorithm string
}

// Change is the signature as the history tells of it.
func (s Signature) Change() message.Change {
	return message.Change{Rule: "dkim", Field: s.Field.Name(),
		After: fmt.Sprintf("%s-sha256 of %s", s.Algorithm, RecordName(s.Domain, s.Selector))}
}

// Sign signs m as the upstream u wants it. keeps tells whether u leaves content
// as it is: a signature for one that does not would be broken on arrival, and
// is made only where the configuration insists. An error means that m must not
// be sent through u now: it was to be signed and could not be.
func (s *Set) Sign(ctx context.Context, m *message.Message, u Upstream, keeps bool) (Proof, error) {
	mode := cmp.Or(u.DKIM, modeAuto)
	switch {
	case mode == modeOff:
		return Proof{Unsigned: "the upstream has dkim: off"}, nil
	case mode == modeAuto && !keeps:
		return Proof{Unsigned: "the upstream changes what it is given"}, nil
	}
	proof, err := s.prove(ctx, m, u.Exclude)
	switch {
	case err != nil:
		return Proof{}, fmt.Errorf("DKIM: %w", err)
	case proof.Unsigned != "" && mode == modeOn:
		return Proof{}, fmt.Errorf("not sent unsigned (dkim: on): %s", proof.Unsigned)
	}
	return proof, nil
}

// Basis names what the signatures of m for u are made of, its body and the time
// aside: the keys, and the fields they cover. While it stays the same, so do the
// signatures, and those made before may be used again. "" when there are none.
func (s *Set) Basis(m *message.Message, u Upstream, keeps bool) string {
	if mode := cmp.Or(u.DKIM, modeAuto); mode == modeOff || mode == modeAuto && !keeps {
		return ""
	}
	domain, err := author(m.Header)
	if err != nil {
		return ""
	}
	keys, _ := s.signers(domain, time.Now())
	names := fieldsToSign(m.Header, u.Exclude)
	sum := sha256.New()
	for _, k := range keys {
		fmt.Fprintf(sum, "%s %s %s %q\n", RecordName(k.Domain, k.Selector), fingerprint(k.private), k.Canonicalization, names)
		for _, f := range m.Header {
			if slices.ContainsFunc(names, f.Is) {
				sum.Write(f.Raw())
			}
		}
	}
	if len(keys) == 0 {
		return ""
	}
	return hex.EncodeToString(sum.Sum(nil))
}

// Unprovable is why u can never take mail with that header: it insists on a
// signature, and there is no key to make one. nil when it can.
func (s *Set) Unprovable(h message.Header, u Upstream) *message.Reply {
	if u.DKIM != modeOn {
		return nil
	}
	domain, err := author(h)
	if err != nil {
		return message.Refuse(550, "5.7.1", "mail must be signed here, and whose it is cannot be told: %v", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if covering(s.candidates(), domain, func(int) bool { return true }) != "" {
		return nil
	}
	return message.Refuse(550, "5.7.1", "mail must be signed here, and there is no DKIM key for %s; the administrator can add one", domain)
}

// prove signs m with each key that signs for its author.
func (s *Set) prove(ctx context.Context, m *message.Message, exclude []string) (Proof, error) {
	domain, err := author(m.Header)
	if err != nil {
		return Proof{Unsigned: err.Error()}, nil
	}
	keys, why := s.signers(domain, time.Now())
	if why != "" {
		return Proof{Unsigned: why}, nil
	}
	if err := s.pool.Acquire(ctx, 1); err != nil {
		return Proof{}, err
	}
	defer s.pool.Release(1)
	began := time.Now()
	signatures, err := sign(ctx, m, keys, fieldsToSign(m.Header, exclude), began)
	result := "ok"
	if err != nil {
		result = "failed"
	} else {
		s.metrics.DKIMSign.Observe(time.Since(began).Seconds())
	}
	for _, k := range keys {
		s.metrics.DKIMSignatures.WithLabelValues(k.Domain, k.algorithm, result).Inc()
	}
	if errors.Is(err, errBlank) || errors.Is(err, errLines) {
		return Proof{Unsigned: err.Error()}, nil
	}
	return Proof{Signatures: signatures}, err
}

// signer is a key as it signs: a copy, so that it may be read again meanwhile.
type signer struct {
	Key
	private
}

// sign makes a signature with each key in one reading of the body.
func sign(ctx context.Context, m *message.Message, keys []signer, names []string, now time.Time) ([]Signature, error) {
	body, err := m.Body.Open()
	if err != nil {
		return nil, err
	}
	defer body.Close()
	var writers []io.Writer
	var signers []*dkim.Signer
	for _, k := range keys {
		w, err := dkim.NewSigner(k.options(names, now))
		if err != nil {
			return nil, err
		}
		defer w.Close() // it would wait for ever else
		writers, signers = append(writers, w), append(signers, w)
		header, err := k.header(m.Header, names)
		if err == nil {
			_, err = w.Write(header)
		}
		if err != nil {
			return nil, err
		}
	}
	if _, err := io.Copy(io.MultiWriter(writers...), &bounded{ctx: ctx, r: body}); err != nil {
		return nil, err
	}
	signatures := make([]Signature, len(keys))
	for i, w := range signers {
		if err := w.Close(); err != nil {
			return nil, err
		}
		signatures[i] = Signature{toField(w.Signature()), keys[i].Domain, keys[i].Selector, keys[i].algorithm}
	}
	return signatures, nil
}

func (k signer) options(names []string, now time.Time) *dkim.SignOptions {
	header, body, _ := strings.Cut(k.Canonicalization, "/")
	o := &dkim.SignOptions{
		Domain:                 k.Domain,
		Selector:               k.Selector,
		Signer:                 k.Signer,
		HeaderCanonicalization: dkim.Canonicalization(header),
		BodyCanonicalization:   dkim.Canonicalization(body),
		HeaderKeys:             names,
	}
	if k.Expire > 0 {
		o.Expiration = now.Add(k.Expire.Std())
	}
	return o
}

// toField takes a whole field apart, octet by octet the same.
func toField(raw string) message.Field {
	name, value, _ := strings.Cut(strings.TrimSuffix(raw, "\r\n"), ": ")
	return message.NewField(name, value)
}
