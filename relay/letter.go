package relay

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"postern/relay/dkim"
	"postern/relay/message"
	"postern/relay/queue"
	"postern/relay/upstream/transport"
	"postern/rewrite"
)

// outfit is how an upstream wants its mail: dressed, and then signed or not.
type outfit struct {
	dressing rewrite.Dressing
	signing  dkim.Upstream
	keeps    bool // content arrives as it was signed
	choosy   bool // there is mail it cannot be given, whatever it offers
}

// byDKIM is the rule of changes that tell of signatures.
const byDKIM = "dkim"

// misfit is the error for a message that an upstream cannot be given, however
// it is dressed. Its reply says why; other tells whether another upstream may
// be given it instead.
type misfit struct {
	*message.Reply
	other bool
}

func (m misfit) Unwrap() error { return m.Reply }

// dress is m as the upstream of that name is to get it, unsigned. Errors are a
// misfit, or mean that the message cannot be read.
func (s *stations) dress(m *message.Message, name string, o transport.Offer) (*message.Message, []message.Change, error) {
	dressed, changes, err := s.outfits[name].dressing.Dress(m, rewrite.Offer{
		EightBit: o.EightBit, UTF8: o.UTF8, NoEnvelope: o.NoEnvelope, NoQuotedPrintable: o.NoQuotedPrintable})
	var reply *message.Reply
	if errors.As(err, &reply) {
		return nil, nil, misfit{reply, errors.As(err, new(*rewrite.Next))}
	}
	return dressed, changes, err
}

// unfit is why the upstream of that name cannot take m, as far as is known; its
// Reply is nil when it can.
func (s *stations) unfit(m *message.Message, name string, o transport.Offer) misfit {
	dressed, _, err := s.dress(m, name, o)
	var not misfit
	switch {
	case errors.As(err, &not):
		return not
	case err != nil:
		return misfit{} // it says nothing of the upstream
	}
	return misfit{cmp.Or(o.Refuse(transport.LoadOf(dressed)), s.dkim.Unprovable(dressed.Header, s.outfits[name].signing)), true}
}

// letter is m as the upstream of that name gets it, and what was made of it:
// dressed, then signed. Signatures of an attempt before are used again if they
// are of the same.
func (s *stations) letter(ctx context.Context, m *message.Message, name string, o transport.Offer, before queue.Made) (*message.Message, queue.Made, error) {
	dressed, changes, err := s.dress(m, name, o)
	if err != nil || len(s.config.DKIM) == 0 {
		return dressed, queue.Made{Changes: changes}, err
	}
	made := queue.Made{Changes: changes, Signed: s.basis(dressed, changes, name), Signatures: before.Signatures, At: before.At}
	if len(before.Signatures) == 0 || before.Signed != made.Signed {
		return s.sign(ctx, dressed, name, made)
	}
	fields, err := message.ParseHeader([]byte(strings.Join(before.Signatures, "")))
	if err != nil {
		return s.sign(ctx, dressed, name, made)
	}
	made.Changes = append(made.Changes, message.Change{Rule: byDKIM, Field: "DKIM-Signature", After: "as made at " + before.At.UTC().Format(time.RFC3339)})
	return under(dressed, fields), made, nil
}

// sign puts the signatures on top that the upstream wants.
func (s *stations) sign(ctx context.Context, m *message.Message, name string, made queue.Made) (*message.Message, queue.Made, error) {
	proof, err := s.dkim.Sign(ctx, m, s.outfits[name].signing, s.outfits[name].keeps)
	if err != nil {
		return nil, queue.Made{}, err
	}
	made.Signatures, made.At = nil, time.Now()
	for _, signature := range proof.Signatures {
		made.Changes = append(made.Changes, signature.Change())
		made.Signatures = append(made.Signatures, string(signature.Field.Raw()))
	}
	if proof.Unsigned != "" {
		made.Changes = append(made.Changes, message.Change{Rule: byDKIM, Field: "DKIM-Signature", After: "none: " + proof.Unsigned})
	}
	return under(m, proof.Fields()), made, nil
}

// basis tells apart what is to be signed, by which keys: the header as dkim sees
// it, and the body by what was done to it.
func (s *stations) basis(m *message.Message, changes []message.Change, name string) string {
	h := sha256.New()
	json.NewEncoder(h).Encode([]any{s.dkim.Basis(m, s.outfits[name].signing, s.outfits[name].keeps), m.Body.Size(), changes})
	return hex.EncodeToString(h.Sum(nil))
}

// under is m with fields on top.
func under(m *message.Message, fields []message.Field) *message.Message {
	if len(fields) == 0 {
		return m
	}
	signed := *m
	signed.Header = m.Header.Prepend(fields...)
	return &signed
}
