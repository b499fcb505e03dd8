package rest

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"postern/cmd/provider-sim/identity"
	"postern/cmd/provider-sim/smtpd"
	"postern/cmd/provider-sim/world"
)

// Gmail is what of the Gmail API sends mail.
type Gmail struct {
	World    *world.World
	Identity *identity.Servers
}

// unitsOfSend is what a message costs of the quota.
const unitsOfSend = 100

// googleError is what Google's APIs say when they do not do what was asked for.
type googleError struct {
	status                     int
	reason, word, domain, text string
	wait                       time.Duration
}

// Handler answers for "me" and for the mailbox by its address.
func (g Gmail) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /gmail/v1/users/{user}/profile", g.of([]string{identity.GmailScope}, g.profile))
	sending := []string{identity.GmailScope, identity.GmailSendScope}
	mux.HandleFunc("POST /gmail/v1/users/{user}/messages/send", g.of(sending, g.raw))
	mux.HandleFunc("POST /upload/gmail/v1/users/{user}/messages/send", g.of(sending, g.media))
	return patient(mux)
}

type googleAction func(w http.ResponseWriter, r *http.Request, mailbox world.Mailbox) *googleError

// of checks the token and its scope before the action.
func (g Gmail) of(scopes []string, do googleAction) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		mailbox, failed := g.who(r, scopes)
		if failed == nil {
			r.Body = http.MaxBytesReader(w, r.Body, g.World.Google.Limits.Upload)
			failed = do(w, r, mailbox)
		}
		if failed != nil {
			g.refuse(w, failed)
		}
	}
}

func (g Gmail) refuse(w http.ResponseWriter, e *googleError) {
	g.World.Count(world.GmailAPI, strconv.Itoa(e.status))
	g.World.Log().Info("refused", "provider", world.GmailAPI, "status", e.status, "reason", e.reason, "text", e.text)
	if e.wait > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(e.wait.Seconds()))))
	}
	reply(w, e.status, map[string]any{"error": map[string]any{
		"code": e.status, "message": e.text, "status": e.word,
		"errors": []map[string]string{{"message": e.text, "domain": e.domain, "reason": e.reason}},
	}})
}

func (g Gmail) who(r *http.Request, scopes []string) (world.Mailbox, *googleError) {
	token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	a, err := g.Identity.CheckGoogle(token)
	if err != nil {
		return world.Mailbox{}, &googleError{status: 401, reason: "authError", word: "UNAUTHENTICATED", domain: "global",
			text: "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other valid authentication credential."}
	}
	if !slices.ContainsFunc(scopes, func(s string) bool { return slices.Contains(a.Rights, s) }) {
		return world.Mailbox{}, &googleError{status: 403, reason: "insufficientPermissions", word: "PERMISSION_DENIED", domain: "global",
			text: "Request had insufficient authentication scopes."}
	}
	mailbox, ok := world.Find(g.World.Google.Mailboxes, a.Mailbox)
	if !ok {
		return mailbox, &googleError{status: 400, reason: "failedPrecondition", word: "FAILED_PRECONDITION", domain: "global", text: "Precondition check failed."}
	}
	if user := r.PathValue("user"); user != "me" && !strings.EqualFold(user, mailbox.Address) {
		return mailbox, &googleError{status: 403, reason: "forbidden", word: "PERMISSION_DENIED", domain: "global", text: "Delegation denied for " + mailbox.Address}
	}
	return mailbox, nil
}

func (g Gmail) profile(w http.ResponseWriter, _ *http.Request, mailbox world.Mailbox) *googleError {
	reply(w, http.StatusOK, map[string]any{"emailAddress": mailbox.Address, "messagesTotal": 0, "threadsTotal": 0})
	return nil
}

// raw is a message within JSON.
func (g Gmail) raw(w http.ResponseWriter, r *http.Request, mailbox world.Mailbox) *googleError {
	var asked struct{ Raw string }
	if err := json.NewDecoder(r.Body).Decode(&asked); err != nil {
		return tooLongOr(err, "Invalid JSON payload received.")
	}
	return g.send(w, mailbox, base64.NewDecoder(base64.URLEncoding, strings.NewReader(asked.Raw)))
}

// media is a message as it is.
func (g Gmail) media(w http.ResponseWriter, r *http.Request, mailbox world.Mailbox) *googleError {
	if r.URL.Query().Get("uploadType") != "media" || !strings.HasPrefix(r.Header.Get("Content-Type"), "message/") {
		return invalid("Media type '" + r.Header.Get("Content-Type") + "' is not supported. Valid media types: [message/*], with uploadType=media")
	}
	return g.send(w, mailbox, r.Body)
}

func invalid(text string) *googleError {
	return &googleError{status: 400, reason: "invalidArgument", word: "INVALID_ARGUMENT", domain: "global", text: text}
}

func tooLongOr(err error, text string) *googleError {
	if errors.As(err, new(*http.MaxBytesError)) || errors.Is(err, world.ErrTooLarge) {
		return &googleError{status: 413, reason: "uploadTooLarge", word: "INVALID_ARGUMENT", domain: "global", text: "Request is too large."}
	}
	return invalid(text)
}

// send sends to whom the header names, without Bcc, under a name of the account.
func (g Gmail) send(w http.ResponseWriter, mailbox world.Mailbox, r io.Reader) *googleError {
	if failed := g.room(mailbox); failed != nil {
		return failed
	}
	letter, err := g.World.Receive(r, g.World.Google.Limits.Upload)
	if err != nil {
		return tooLongOr(err, "Invalid value for ByteString")
	}
	to, err := letter.Addresses("To", "Cc", "Bcc")
	if failed := g.judge(mailbox, to, err); failed != nil {
		letter.Drop()
		return failed
	}
	letter.Remove("Bcc")
	smtpd.OwnFrom(mailbox, letter)
	id, err := g.World.Keep(world.Message{Provider: world.GmailAPI, Mailbox: mailbox.Address, From: mailbox.Address, To: to, SentItems: true}, letter)
	if err != nil {
		return &googleError{status: 503, reason: "backendError", word: "UNAVAILABLE", domain: "global", text: err.Error()}
	}
	reply(w, http.StatusOK, map[string]any{"id": "sim" + id, "threadId": "sim" + id, "labelIds": []string{"SENT"}})
	return nil
}

// room is the quota of a user in a minute.
func (g Gmail) room(mailbox world.Mailbox) *googleError {
	wait, ok := g.World.Take("units "+mailbox.Address, unitsOfSend, g.World.Google.Limits.QuotaUnits, g.World.Minute)
	if ok {
		return nil
	}
	until := time.Now().Add(wait).UTC().Format("2006-01-02T15:04:05.000Z")
	return &googleError{status: 429, reason: "rateLimitExceeded", word: "RESOURCE_EXHAUSTED", domain: "usageLimits",
		text: "User-rate limit exceeded.  Retry after " + until, wait: wait}
}

func (g Gmail) judge(mailbox world.Mailbox, to []string, err error) *googleError {
	limits := g.World.Google.Limits
	switch {
	case err != nil:
		return invalid("Invalid To header")
	case len(to) == 0:
		return invalid("Recipient address required")
	case len(to) > limits.RecipientsPerMessage:
		return invalid(fmt.Sprintf("Too many recipients: a message may have %d", limits.RecipientsPerMessage))
	}
	_, one := g.World.Take("messages "+mailbox.Address, 1, limits.Messages, g.World.Day())
	if _, all := g.World.Take("recipients "+mailbox.Address, len(to), limits.Recipients, g.World.Day()); !one || !all {
		return &googleError{status: 429, reason: "dailyLimitExceeded", word: "RESOURCE_EXHAUSTED", domain: "usageLimits", text: "Daily user sending limit exceeded."}
	}
	return nil
}
