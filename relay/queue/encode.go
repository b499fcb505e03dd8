package queue

import (
	"encoding/json"
	"fmt"
	"time"

	"postern/relay/message"
)

// mailParameters are those of MAIL, as kept in a row.
type mailParameters struct {
	Return       string `json:"ret,omitempty"`
	EnvelopeID   string `json:"envid,omitempty"`
	BodyType     string `json:"body,omitempty"`
	SMTPUTF8     bool   `json:"smtputf8,omitempty"`
	DeclaredSize int64  `json:"size,omitempty"`
}

// rcptParameters are those of RCPT, as kept in a row.
type rcptParameters struct {
	Notify       []string `json:"notify,omitempty"`
	OriginalType string   `json:"orcpt_type,omitempty"`
	Original     string   `json:"orcpt,omitempty"`
}

// encode writes a value of ours as JSON. None of their types can fail.
func encode(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return "{}"
	}
	return string(b)
}

func encodeEnvelope(e message.Envelope) string {
	return encode(mailParameters{e.Return, e.EnvelopeID, e.BodyType, e.SMTPUTF8, e.DeclaredSize})
}

func decodeEnvelope(sender, parameters string) (message.Envelope, error) {
	var e message.Envelope
	var p mailParameters
	if err := json.Unmarshal([]byte(parameters), &p); err != nil {
		return e, fmt.Errorf("envelope: %w", err)
	}
	if err := e.From.UnmarshalText([]byte(sender)); err != nil {
		return e, fmt.Errorf("envelope: %w", err)
	}
	e.Return, e.EnvelopeID, e.BodyType, e.SMTPUTF8, e.DeclaredSize = p.Return, p.EnvelopeID, p.BodyType, p.SMTPUTF8, p.DeclaredSize
	return e, nil
}

func encodeRecipient(r message.Recipient) string {
	return encode(rcptParameters{r.Notify, r.OriginalType, r.Original})
}

func decodeRecipient(address, parameters string) (message.Recipient, error) {
	var r message.Recipient
	var p rcptParameters
	if err := json.Unmarshal([]byte(parameters), &p); err != nil {
		return r, fmt.Errorf("recipient: %w", err)
	}
	if err := r.Address.UnmarshalText([]byte(address)); err != nil {
		return r, fmt.Errorf("recipient: %w", err)
	}
	r.Notify, r.OriginalType, r.Original = p.Notify, p.OriginalType, p.Original
	return r, nil
}

// millis and fromMillis convert the times of rows; 0 is no time.
func millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

func fromMillis(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms)
}
