package smtpd

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"strings"
	"time"

	"postern/cmd/provider-sim/world"
)

// SES is email-smtp.REGION.amazonaws.com.
type SES struct{ World *world.World }

func (SES) Name() string { return world.SESSMTP }

// Greeting is that of a front end.
func (SES) Greeting() string { return "220 email-smtp.amazonaws.com ESMTP SimpleEmailService-sim" }

// Extensions are few: messages go one by one.
func (SES) Extensions(s *Session) []string {
	if !s.Secured {
		return []string{"email-smtp.amazonaws.com", "8BITMIME", "STARTTLS", "Ok"}
	}
	return []string{"email-smtp.amazonaws.com", "8BITMIME", "AUTH PLAIN LOGIN", "Ok"}
}

// Unknown is what a client reads that sends without AUTH.
func (SES) Unknown() string { return "530 Authentication required" }

// Login knows access keys by the password that is derived from their secret.
func (e SES) Login(s *Session, c Credentials) (challenge, reply string) {
	for _, key := range e.World.SES.AccessKeys {
		if key.ID == c.User && SESPassword(key.Secret, e.World.SES.Region) == c.Password {
			leave, ok := e.World.Enter(world.SESSMTP, e.World.SES.Limits.Connections)
			if !ok {
				return "", "421 Too many concurrent SMTP connections"
			}
			s.OnEnd(leave)
			s.Mailbox, s.User = key.ID, key
			return "", "235 Authentication successful."
		}
	}
	return "", "535 Authentication Credentials Invalid"
}

// SESPassword is the SMTP password of a secret access key, as Amazon documents
// its derivation.
func SESPassword(secret, region string) string {
	key := []byte("AWS4" + secret)
	for _, step := range []string{"11111111", region, "ses", "aws4_request", "SendRawEmail"} {
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(step))
		key = mac.Sum(nil)
	}
	return base64.StdEncoding.EncodeToString(append([]byte{0x04}, key...))
}

// Sender takes any: what is verified is looked at when all is known.
func (e SES) Sender(_ *Session, _ string, size int64) string {
	if size > e.MaxSize() {
		return e.TooLarge()
	}
	return ""
}

// Recipient counts those of one message.
func (e SES) Recipient(s *Session, _ string) string {
	if limit := e.World.SES.Limits.RecipientsPerMessage; len(s.To) >= limit {
		return fmt.Sprintf("554 Transaction failed: Recipient count exceeds %d.", limit)
	}
	return ""
}

// Content replaces Message-ID and Date, as SES does.
func (e SES) Content(s *Session, l *world.Letter) string {
	if refused := e.refuse(s, l); refused != "" {
		l.Drop()
		return refused
	}
	id := fmt.Sprintf("0102%016x-sim-000000", time.Now().UnixNano())
	l.Set("Message-ID", "<"+id+"@"+e.World.SES.Region+".amazonses.com>")
	l.Set("Date", time.Now().UTC().Format(time.RFC1123Z))
	if _, err := e.World.Keep(world.Message{Provider: world.SESSMTP, Mailbox: s.Mailbox, From: s.From, To: s.To}, l); err != nil {
		return "451 Temporary service failure"
	}
	return "250 Ok " + id
}

func (e SES) refuse(s *Session, l *world.Letter) string {
	limits := e.World.SES.Limits
	authors, err := l.Addresses("From")
	if err != nil || len(authors) == 0 {
		return "554 Transaction failed: Missing or invalid From header."
	}
	var failed []string
	for _, a := range append(authors, s.From) {
		if a != "" && !world.Lists(e.World.SES.Identities, a) {
			failed = append(failed, a)
		}
	}
	if key := s.User.(world.AccessKey); key.Denied {
		return "554 Access denied: User `arn:aws:iam::000000000000:user/" + key.ID + "' is not authorized to perform `ses:SendRawEmail' on resource `" + authors[0] + "'"
	}
	if failed != nil {
		return "554 Message rejected: Email address is not verified. The following identities failed the check in region " +
			strings.ToUpper(e.World.SES.Region) + ": " + strings.Join(failed, ", ")
	}
	if _, ok := e.World.Take("ses rate", 1, limits.Rate, e.World.Minute/60); !ok {
		return "454 Throttling failure: Maximum sending rate exceeded."
	}
	if _, ok := e.World.Take("ses day", len(s.To), limits.Recipients, e.World.Day()); !ok {
		return "454 Throttling failure: Daily message quota exceeded."
	}
	return ""
}

// MaxSize is of the message in its transfer encoding.
func (e SES) MaxSize() int64 { return e.World.SES.Limits.Size }

// TooLarge is at MAIL or at the final dot.
func (SES) TooLarge() string { return "552 Message is too long." }
