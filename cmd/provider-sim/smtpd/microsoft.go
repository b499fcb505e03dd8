package smtpd

import (
	"fmt"
	"slices"
	"time"

	"postern/cmd/provider-sim/identity"
	"postern/cmd/provider-sim/world"
)

// Microsoft is smtp.office365.com, client submission of Exchange Online.
type Microsoft struct {
	World    *world.World
	Identity *identity.Servers
}

// microsoftUser is who is logged in.
type microsoftUser struct {
	mailbox world.Mailbox
}

func (Microsoft) Name() string { return world.MicrosoftSMTP }

func (m Microsoft) Greeting() string {
	return "220 " + m.World.Microsoft.Host + " Microsoft ESMTP MAIL Service ready at " + time.Now().UTC().Format(time.RFC1123Z)
}

// Extensions are those seen after STARTTLS, which LOGIN and XOAUTH2 need.
func (m Microsoft) Extensions(s *Session) []string {
	offer := "STARTTLS"
	if s.Secured {
		offer = "AUTH LOGIN XOAUTH2"
	}
	return []string{
		m.World.Microsoft.Host + " Hello [127.0.0.1]", fmt.Sprintf("SIZE %d", m.World.Microsoft.Limits.Size),
		"PIPELINING", "DSN", "ENHANCEDSTATUSCODES", offer, "8BITMIME", "BINARYMIME", "CHUNKING", "SMTPUTF8",
	}
}

func (m Microsoft) in() string { return " [" + m.World.Microsoft.Host + "]" }

// Unknown is what a client reads that sends without AUTH.
func (m Microsoft) Unknown() string {
	return "530 5.7.57 Client not authenticated to send mail." + m.in()
}

// Login knows passwords by LOGIN, and tokens by XOAUTH2: of a person who may send
// by SMTP, or of an app that may open the mailbox.
func (m Microsoft) Login(s *Session, c Credentials) (challenge, reply string) {
	unsuccessful := "535 5.7.3 Authentication unsuccessful" + m.in()
	t, mailbox, ok := m.find(c.User)
	refused := ""
	switch {
	case !ok:
		return "", unsuccessful
	case t.SMTPAuth == "off":
		return "", "535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled for the Tenant. Visit https://aka.ms/smtp_auth_disabled for more information." + m.in()
	case mailbox.SMTPAuth == "off":
		return "", "535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled for the Mailbox. Visit https://aka.ms/smtp_auth_disabled for more information." + m.in()
	case c.Mechanism == "LOGIN":
		refused = m.basic(mailbox, c.Password, unsuccessful)
	case !m.maySend(t, mailbox, c.Token):
		refused = unsuccessful
	}
	if refused != "" {
		return "", refused
	}
	s.Mailbox, s.User = mailbox.Address, microsoftUser{mailbox}
	return "", "235 2.7.0 Authentication successful"
}

// basic is why a password is refused, or "".
func (m Microsoft) basic(mailbox world.Mailbox, password, unsuccessful string) string {
	switch {
	case mailbox.Basic == "off":
		return "535 5.7.139 Authentication unsuccessful, basic authentication is disabled." + m.in()
	case mailbox.Basic == "blocked":
		return "535 5.7.139 Authentication unsuccessful, the request did not meet the criteria to be authenticated successfully. Contact your administrator." + m.in()
	case mailbox.Basic == "retired":
		return "550 5.7.30 Basic authentication is not supported for Client Submission."
	case mailbox.Password == "" || password != mailbox.Password:
		return unsuccessful
	}
	return ""
}

// maySend tells whether the token opens the mailbox for SMTP.
func (m Microsoft) maySend(t world.Tenant, mailbox world.Mailbox, token string) bool {
	a, err := m.Identity.CheckMicrosoft(token, identity.Exchange, identity.ExchangeDelegate)
	if err != nil || a.Tenant != t.ID {
		return false
	}
	if a.Mailbox != "" {
		return slices.Contains(a.Rights, "SMTP.Send") && mailbox.OpensFor(a.Mailbox)
	}
	i := slices.IndexFunc(t.Apps, func(app world.App) bool { return app.ClientID == a.Client })
	return i >= 0 && slices.Contains(a.Rights, "SMTP.SendAsApp") && world.Lists(t.Apps[i].Mailboxes, mailbox.Address)
}

func (m Microsoft) find(address string) (world.Tenant, world.Mailbox, bool) {
	for _, t := range m.World.Microsoft.Tenants {
		if mailbox, ok := world.Find(t.Mailboxes, address); ok {
			return t, mailbox, true
		}
	}
	return world.Tenant{}, world.Mailbox{}, false
}

// Sender takes one of the few places a mailbox has for sending. Exchange says at
// the final dot that there was none.
func (m Microsoft) Sender(s *Session, from string, size int64) string {
	if size > m.MaxSize() {
		return m.TooLarge()
	}
	leave, ok := m.World.Enter(world.MicrosoftSMTP+" "+s.Mailbox, m.World.Microsoft.Limits.Connections)
	if !ok {
		s.Late = "432 4.3.2 STOREDRV.ClientSubmit; sender thread limit exceeded [Hostname=" + m.World.Microsoft.Host + "]"
		return ""
	}
	s.OnReset(leave)
	return ""
}

// Recipient counts those of one message.
func (m Microsoft) Recipient(s *Session, _ string) string {
	if len(s.To) >= m.World.Microsoft.Limits.RecipientsPerMessage {
		return "452 4.5.3 Too many recipients"
	}
	return ""
}

// Content is where Exchange hands over to the mailbox, which has its own mind.
func (m Microsoft) Content(s *Session, l *world.Letter) string {
	mailbox := s.User.(microsoftUser).mailbox
	if refused := m.mayBe(mailbox, s.From, l); refused != "" {
		l.Drop()
		return refused
	}
	if refused := m.hasRoom(s, mailbox, len(s.To)); refused != "" {
		l.Drop()
		return refused
	}
	id := l.Get("Message-ID")
	if id == "" {
		id = fmt.Sprintf("<%d@%s>", time.Now().UnixNano(), m.World.Microsoft.Host)
		l.Set("Message-ID", id)
	}
	if _, err := m.World.Keep(world.Message{Provider: world.MicrosoftSMTP, Mailbox: mailbox.Address, From: s.From, To: s.To, SentItems: true}, l); err != nil {
		return "451 4.7.0 Temporary server error. Please try again later. PRX2"
	}
	return "250 2.0.0 OK " + id + " [Hostname=" + m.World.Microsoft.Host + "]"
}

// mayBe is why the mailbox may not send under that name, or "".
func (m Microsoft) mayBe(mailbox world.Mailbox, from string, l *world.Letter) string {
	authors, err := l.Addresses("From")
	if err != nil || len(authors) == 0 {
		return "550 5.7.512 Access denied, message must be RFC 5322 section 3.6.2 compliant and include a valid From address"
	}
	if len(authors) > 1 && l.Get("Sender") == "" {
		return "550 5.1.20 Multiple From addresses are not allowed without Sender address"
	}
	if from != "" {
		authors = append(authors, from)
	}
	for _, a := range authors {
		if !mailbox.MaySend(a) {
			return fmt.Sprintf("554 5.2.252 SendAsDenied; %s not allowed to send as %s; STOREDRV.Submission.Exception:SendAsDeniedException.MapiExceptionSendAsDenied; Failed to process message due to a permanent exception [Hostname=%s]",
				mailbox.Address, a, m.World.Microsoft.Host)
		}
	}
	return ""
}

// hasRoom is which limit the mailbox has come to, or "". What is too much in a
// minute waits for its turn, unless the world says that it is refused.
func (m Microsoft) hasRoom(s *Session, mailbox world.Mailbox, recipients int) string {
	limits, host := m.World.Microsoft.Limits, " [Hostname="+m.World.Microsoft.Host+"]"
	if mailbox.Quota > 0 && m.World.Sent(world.MicrosoftSMTP, mailbox.Address) >= mailbox.Quota {
		return "554 5.2.2 mailbox full; STOREDRV.Submission.Exception:QuotaExceededException; Failed to process message due to a permanent exception" + host
	}
	for {
		wait, ok := m.World.Take("messages "+mailbox.Address, 1, limits.Messages, m.World.Minute)
		if ok {
			break
		}
		m.World.Count(world.MicrosoftSMTP, "over the rate")
		if limits.Excess == "refuse" {
			return "432 4.3.2 STOREDRV.ClientSubmit; sender submission rate exceeded" + host // no words of Microsoft, who delays
		}
		s.Wait(wait)
	}
	if _, ok := m.World.Take("recipients "+mailbox.Address, recipients, limits.Recipients, m.World.Day()); !ok {
		return "554 5.2.0 STOREDRV.Submission.Exception:SubmissionQuotaExceededException; Failed to process message due to a permanent exception with message The message can't be submitted because the sender's submission quota was exceeded." + host
	}
	return ""
}

// MaxSize is what EHLO says.
func (m Microsoft) MaxSize() int64 { return m.World.Microsoft.Limits.Size }

// TooLarge is at MAIL or at the final dot.
func (Microsoft) TooLarge() string {
	return "552 5.3.4 Message size exceeds fixed maximum message size"
}
