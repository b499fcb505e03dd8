package smtpd

import (
	"fmt"
	"net/mail"
	"slices"
	"strings"
	"time"

	"postern/cmd/provider-sim/identity"
	"postern/cmd/provider-sim/world"
)

// Gmail is smtp.gmail.com.
type Gmail struct {
	World    *world.World
	Identity *identity.Servers
}

// gsmtp is how Gmail's replies end.
const gsmtp = " - gsmtp"

func (Gmail) Name() string { return world.GmailSMTP }

// Greeting names the host and a session.
func (Gmail) Greeting() string {
	return fmt.Sprintf("220 smtp.gmail.com ESMTP sim%d", time.Now().UnixNano()) + gsmtp
}

// Extensions list AUTH once TLS is up.
func (g Gmail) Extensions(s *Session) []string {
	offer := "STARTTLS"
	if s.Secured {
		offer = "AUTH LOGIN PLAIN XOAUTH2 PLAIN-CLIENTTOKEN OAUTHBEARER XOAUTH"
	}
	return []string{
		"smtp.gmail.com at your service, [127.0.0.1]", fmt.Sprintf("SIZE %d", g.World.Google.Limits.Size),
		"8BITMIME", offer, "ENHANCEDSTATUSCODES", "PIPELINING", "CHUNKING", "SMTPUTF8",
	}
}

// Unknown is what a client reads that sends without AUTH.
func (Gmail) Unknown() string {
	return "530 5.5.1 Authentication Required. Learn more at https://support.google.com/mail/?p=WantAuthError" + gsmtp
}

const badCredentials = "535 5.7.8 Username and Password not accepted. For more information, go to\n535 5.7.8 https://support.google.com/mail/?p=BadCredentials" + gsmtp

// Login knows app passwords, and tokens that have the one scope for SMTP. A token
// it does not like is answered with a challenge in JSON.
func (g Gmail) Login(s *Session, c Credentials) (challenge, reply string) {
	mailbox, ok := world.Find(g.World.Google.Mailboxes, c.User)
	if c.Mechanism == "XOAUTH2" || c.Mechanism == "OAUTHBEARER" {
		status := "400"
		if !c.Malformed {
			if ok && g.maySend(mailbox, c.Token) {
				s.Mailbox, s.User = mailbox.Address, mailbox
				return "", "235 2.7.0 Accepted"
			}
			status = "401"
		}
		return `{"status":"` + status + `","schemes":"bearer mac","scope":"` + identity.GmailScope + `"}`, badCredentials
	}
	if refused := password(mailbox, ok, c.Password); refused != "" {
		return "", refused
	}
	s.Mailbox, s.User = mailbox.Address, mailbox
	return "", "235 2.7.0 Accepted"
}

// password is why one is refused, or "".
func password(mailbox world.Mailbox, known bool, given string) string {
	bare := func(s string) string { return strings.ReplaceAll(s, " ", "") }
	switch {
	case !known:
		return badCredentials
	case mailbox.Basic == "browser":
		return "534 5.7.14 <https://accounts.google.com/signin/continue> Please\n534 5.7.14 log in via your web browser and then try again.\n534 5.7.14 https://support.google.com/mail/?p=WebLoginRequired" + gsmtp
	case mailbox.AppPassword != "" && bare(given) == bare(mailbox.AppPassword):
		return ""
	case given == mailbox.Password:
		return "534 5.7.9 Application-specific password required. For more information, go to\n534 5.7.9 https://support.google.com/mail/?p=InvalidSecondFactor" + gsmtp
	}
	return badCredentials
}

func (g Gmail) maySend(mailbox world.Mailbox, token string) bool {
	a, err := g.Identity.CheckGoogle(token)
	return err == nil && strings.EqualFold(a.Mailbox, mailbox.Address) && slices.Contains(a.Rights, identity.GmailScope)
}

// Sender is where the quota of a day is told.
func (g Gmail) Sender(s *Session, _ string, size int64) string {
	if size > g.MaxSize() {
		return g.TooLarge()
	}
	if _, ok := g.World.Take("messages "+s.Mailbox, 1, g.World.Google.Limits.Messages, g.World.Day()); !ok {
		return dailyLimit
	}
	return ""
}

const dailyLimit = "550 5.4.5 Daily user sending limit exceeded. For more information on Gmail\n550 5.4.5 sending limits go to\n550 5.4.5 https://support.google.com/a/answer/166852" + gsmtp

// Recipient counts those of one message, and those of a day.
func (g Gmail) Recipient(s *Session, _ string) string {
	limits := g.World.Google.Limits
	if len(s.To) >= limits.RecipientsPerMessage {
		return "452 4.5.3 Your message has too many recipients. For more information regarding\n452 4.5.3 Google's sending limits, go to\n452 4.5.3 https://support.google.com/mail/?p=TooManyRecipientsError" + gsmtp
	}
	if _, ok := g.World.Take("recipients "+s.Mailbox, 1, limits.Recipients, g.World.Day()); !ok {
		return dailyLimit
	}
	return ""
}

// Content puts the account's name on what comes under another one.
func (g Gmail) Content(s *Session, l *world.Letter) string {
	mailbox := s.User.(world.Mailbox)
	authors, err := l.Addresses("From")
	switch {
	case err != nil:
		l.Drop()
		return "554 5.6.0 Mail message is malformed. Not accepted." + gsmtp
	case len(authors) > 1:
		l.Drop()
		return "550 5.7.1 Messages with multiple addresses in From: header are not accepted." + gsmtp
	}
	OwnFrom(mailbox, l)
	id, err := g.World.Keep(world.Message{Provider: world.GmailSMTP, Mailbox: mailbox.Address, From: mailbox.Address, To: s.To, SentItems: true}, l)
	if err != nil {
		return "451 4.3.0 Mail server temporarily rejected message." + gsmtp
	}
	return fmt.Sprintf("250 2.0.0 OK  %d sim%s", time.Now().Unix(), id) + gsmtp
}

// OwnFrom replaces a From that is neither the account's nor an alias of it, as
// Gmail does by SMTP and by its API.
func OwnFrom(mailbox world.Mailbox, l *world.Letter) {
	authors, _ := l.Addresses("From")
	if len(authors) == 1 && mailbox.MaySend(authors[0]) {
		return
	}
	own := mail.Address{Address: mailbox.Address}
	if was := l.Get("From"); was != "" {
		if a, err := mail.ParseAddress(was); err == nil {
			own.Name = a.Name
		}
		l.Set("X-Google-Original-From", was)
	}
	l.Set("From", own.String())
}

// MaxSize is what EHLO says.
func (g Gmail) MaxSize() int64 { return g.World.Google.Limits.Size }

// TooLarge is at MAIL or at the final dot.
func (Gmail) TooLarge() string {
	return "552 5.2.3 Your message exceeded Google's message size limits. For more information,\n552 5.2.3 visit https://support.google.com/mail/?p=MaxSizeError" + gsmtp
}
