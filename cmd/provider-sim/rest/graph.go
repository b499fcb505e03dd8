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
	"sync"
	"time"

	"postern/cmd/provider-sim/identity"
	"postern/cmd/provider-sim/world"
)

// Graph is what of Microsoft Graph sends mail.
type Graph struct {
	World    *world.World
	Identity *identity.Servers

	mu     sync.Mutex
	drafts map[string]*draft // by id
	last   int
}

// graphError is what Graph says when it does not do what was asked for.
type graphError struct {
	status     int
	code, text string
	wait       time.Duration
}

// Handler answers requests for mailboxes.
func (g *Graph) Handler() http.Handler {
	g.drafts = map[string]*draft{}
	mux := http.NewServeMux()
	for _, user := range []string{"/v1.0/users/{user}", "/v1.0/me"} {
		mux.HandleFunc("GET "+user, g.of("", g.profile))
		mux.HandleFunc("POST "+user+"/sendMail", g.of("Mail.Send", g.sendMail))
		mux.HandleFunc("POST "+user+"/messages", g.of("Mail.ReadWrite", g.create))
		mux.HandleFunc("DELETE "+user+"/messages/{id}", g.of("Mail.ReadWrite", g.remove))
		mux.HandleFunc("POST "+user+"/messages/{id}/attachments", g.of("Mail.ReadWrite", g.attach))
		mux.HandleFunc("POST "+user+"/messages/{id}/attachments/createUploadSession", g.of("Mail.ReadWrite", g.session))
		mux.HandleFunc("POST "+user+"/messages/{id}/send", g.of("Mail.Send", g.send))
	}
	mux.HandleFunc("PUT /upload/{id}/{name}", g.upload)
	mux.HandleFunc("DELETE /upload/{id}/{name}", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		g.refuse(w, &graphError{status: 404, code: "BadRequest", text: "Resource not found for the segment of " + r.URL.Path})
	})
	return patient(mux)
}

// action is done for a mailbox that the caller may use.
type action func(w http.ResponseWriter, r *http.Request, mailbox world.Mailbox) *graphError

// of checks the token, the right and the limits before the action.
func (g *Graph) of(right string, do action) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		mailbox, app, failed := g.who(r, right)
		if failed == nil {
			var leave func()
			if leave, failed = g.room(app, mailbox); failed == nil {
				defer leave()
				r.Body = http.MaxBytesReader(w, r.Body, g.World.Microsoft.Limits.GraphRequest)
				failed = do(w, r, mailbox)
			}
		}
		if failed != nil {
			g.refuse(w, failed)
		}
	}
}

func (g *Graph) refuse(w http.ResponseWriter, e *graphError) {
	g.World.Count(world.Graph, strconv.Itoa(e.status))
	g.World.Log().Info("refused", "provider", world.Graph, "status", e.status, "code", e.code, "text", e.text)
	if e.wait > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(e.wait.Seconds()))))
	}
	reply(w, e.status, map[string]any{"error": map[string]any{
		"code": e.code, "message": e.text,
		"innerError": map[string]string{"date": time.Now().UTC().Format("2006-01-02T15:04:05"), "request-id": "sim", "client-request-id": "sim"},
	}})
}

func reply(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(body)
}

// who is the mailbox of a request, and the app that makes it.
func (g *Graph) who(r *http.Request, right string) (world.Mailbox, string, *graphError) {
	token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	a, err := g.Identity.CheckMicrosoft(token, identity.GraphResource)
	if err != nil {
		return world.Mailbox{}, "", &graphError{status: 401, code: "InvalidAuthenticationToken", text: "Access token validation failure: " + err.Error()}
	}
	denied := &graphError{status: 403, code: "ErrorAccessDenied", text: "Access is denied. Check credentials and try again."}
	if right != "" && !slices.Contains(a.Rights, right) {
		return world.Mailbox{}, "", denied
	}
	user := r.PathValue("user")
	if user == "" {
		user = a.Mailbox
	}
	for _, t := range g.World.Microsoft.Tenants {
		mailbox, ok := world.Find(t.Mailboxes, user)
		if t.ID != a.Tenant || !ok {
			continue
		}
		i := slices.IndexFunc(t.Apps, func(app world.App) bool { return app.ClientID == a.Client })
		if a.Mailbox == "" && !world.Lists(t.Apps[i].Mailboxes, user) || a.Mailbox != "" && !mailbox.OpensFor(a.Mailbox) {
			return mailbox, "", denied
		}
		return mailbox, a.Client, nil
	}
	return world.Mailbox{}, "", &graphError{status: 404, code: "ErrorInvalidUser", text: "The requested user '" + user + "' is invalid."}
}

// room is one of the requests an app may have for a mailbox at the same time, and
// one of those in ten minutes.
func (g *Graph) room(app string, mailbox world.Mailbox) (leave func(), failed *graphError) {
	limits := g.World.Microsoft.Limits
	key := world.Graph + " " + app + " " + mailbox.Address
	leave, ok := g.World.Enter(key, limits.GraphConcurrency)
	if !ok {
		return nil, &graphError{status: 429, code: "ApplicationThrottled", text: "Application is over its MailboxConcurrency limit.", wait: g.World.Minute / 60}
	}
	if wait, ok := g.World.Take(key, 1, limits.GraphRequests, 10*g.World.Minute); !ok {
		leave()
		return nil, &graphError{status: 429, code: "ApplicationThrottled", text: "Application is over its request limit.", wait: wait}
	}
	return leave, nil
}

// profile is seen only with a right that sending does not need.
func (g *Graph) profile(w http.ResponseWriter, r *http.Request, mailbox world.Mailbox) *graphError {
	token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	a, err := g.Identity.CheckMicrosoft(token, identity.GraphResource)
	if err != nil || !slices.Contains(a.Rights, "User.Read.All") && a.Mailbox == "" {
		return &graphError{status: 403, code: "Authorization_RequestDenied", text: "Insufficient privileges to complete the operation."}
	}
	reply(w, http.StatusOK, map[string]string{"id": mailbox.Address, "mail": mailbox.Address, "userPrincipalName": mailbox.Address})
	return nil
}

// sendMail takes the MIME form: the whole message in base64.
func (g *Graph) sendMail(w http.ResponseWriter, r *http.Request, mailbox world.Mailbox) *graphError {
	if !strings.HasPrefix(r.Header.Get("Content-Type"), "text/plain") {
		return &graphError{status: 415, code: "RequestBodyRead", text: "This simulation takes sendMail only as MIME: Content-Type text/plain."}
	}
	letter, failed := g.receive(r)
	if failed != nil {
		return failed
	}
	if failed := g.accept(mailbox, letter); failed != nil {
		return failed
	}
	w.WriteHeader(http.StatusAccepted)
	return nil
}

// receive reads a message in base64.
func (g *Graph) receive(r *http.Request) (*world.Letter, *graphError) {
	letter, err := g.World.Receive(base64.NewDecoder(base64.StdEncoding, r.Body), g.World.Microsoft.Limits.GraphRequest)
	switch {
	case errors.As(err, new(*http.MaxBytesError)):
		return nil, tooLong
	case err != nil:
		return nil, &graphError{status: 400, code: "ErrorMimeContentInvalidBase64String", text: "Invalid base64 string for MIME content."}
	}
	return letter, nil
}

var tooLong = &graphError{status: 413, code: "RequestEntityTooLarge", text: "The request body is too large. The maximum request length supported is 4MB."}

// accept sends a letter to whom its header names; that is all there is to say who
// gets it.
func (g *Graph) accept(mailbox world.Mailbox, l *world.Letter) *graphError {
	failed, to := g.judge(mailbox, l)
	if failed != nil {
		l.Drop()
		return failed
	}
	l.Remove("Bcc")
	if _, err := g.World.Keep(world.Message{Provider: world.Graph, Mailbox: mailbox.Address, From: mailbox.Address, To: to, SentItems: true}, l); err != nil {
		return &graphError{status: 503, code: "ErrorServerBusy", text: err.Error(), wait: time.Second}
	}
	return nil
}

func (g *Graph) judge(mailbox world.Mailbox, l *world.Letter) (failed *graphError, to []string) {
	limits := g.World.Microsoft.Limits
	to, err := l.Addresses("To", "Cc", "Bcc")
	if err != nil || len(to) == 0 {
		return &graphError{status: 400, code: "ErrorInvalidRecipients", text: "At least one recipient is not valid., A message can't be sent because it contains no recipients."}, nil
	}
	if len(to) > limits.RecipientsPerMessage {
		return &graphError{status: 400, code: "ErrorTooManyRecipients", text: fmt.Sprintf("The message has more than %d recipients.", limits.RecipientsPerMessage)}, nil
	}
	authors, err := l.Addresses("From")
	if err != nil || slices.ContainsFunc(authors, func(a string) bool { return !mailbox.MaySend(a) }) {
		return &graphError{status: 403, code: "ErrorSendAsDenied", text: "The user account which was used to submit this request does not have the right to send mail on behalf of the specified sending account., Cannot submit message."}, nil
	}
	if mailbox.Quota > 0 && g.World.Sent(world.Graph, mailbox.Address) >= mailbox.Quota {
		return &graphError{status: 507, code: "ErrorQuotaExceeded", text: "The mailbox has exceeded its quota."}, nil
	}
	if wait, ok := g.World.Take("recipients "+mailbox.Address, len(to), limits.Recipients, g.World.Day()); !ok {
		return &graphError{status: 429, code: "ErrorExceededMessageLimit", text: "The message limit was exceeded.", wait: wait}, nil
	}
	return nil, to
}

func readJSON(r *http.Request, into any) *graphError {
	b, err := io.ReadAll(r.Body)
	if errors.As(err, new(*http.MaxBytesError)) {
		return tooLong
	}
	if err == nil {
		err = json.Unmarshal(b, into)
	}
	if err != nil {
		return &graphError{status: 400, code: "RequestBodyRead", text: "Unable to read JSON request payload: " + err.Error()}
	}
	return nil
}
