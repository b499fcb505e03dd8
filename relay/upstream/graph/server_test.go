package graph_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/mail"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

const (
	mailbox = "relay@example.com"
	token   = "canary-t0ken"
)

// delivered is one message as Exchange would deliver it.
type delivered struct {
	to     []string
	header mail.Header // of MIME
	body   []byte
	draft  *draft // of one that was no MIME
}

// draft is a message of the resource type "message".
type draft struct {
	ID         string `json:"-"`
	Subject    string `json:"subject"`
	From       *who   `json:"from"`
	Sender     *who   `json:"sender"`
	ReplyTo    []who  `json:"replyTo"`
	To         []who  `json:"toRecipients"`
	Cc         []who  `json:"ccRecipients"`
	Bcc        []who  `json:"bccRecipients"`
	MessageID  string `json:"internetMessageId"`
	Importance string `json:"importance"`
	Headers    []struct {
		Name  string `json:"name"`
		Value string `json:"value"`
	} `json:"internetMessageHeaders"`
	Body struct {
		Type    string `json:"contentType"`
		Content string `json:"content"`
	} `json:"body"`
	Attachments []*attachment `json:"attachments"`
}

type who struct {
	Address struct {
		Name    string `json:"name"`
		Address string `json:"address"`
	} `json:"emailAddress"`
}

type attachment struct {
	OData     string `json:"@odata.type"`
	Type      string `json:"attachmentType"`
	Name      string `json:"name"`
	Media     string `json:"contentType"`
	ContentID string `json:"contentId"`
	Inline    bool   `json:"isInline"`
	Size      int64  `json:"size"`
	Bytes     []byte `json:"contentBytes"`
}

// session is an upload under way.
type session struct {
	draft *draft
	file  *attachment
}

// server is Microsoft Graph for one mailbox, as far as mail is sent by it.
type server struct {
	*httptest.Server
	// uploads is the host that content is uploaded to.
	uploads *httptest.Server
	// fault is asked at each request, by its step (sendMail, draft, attach, session,
	// chunk, state, send, delete) and how often that came; true: it has answered.
	fault func(step string, n int, w http.ResponseWriter, r *http.Request) bool

	t        *testing.T
	mu       sync.Mutex
	steps    []string
	drafts   map[string]*draft
	sessions map[string]*session
	sent     []delivered
	refused  []string // what a client of ours should never do
}

func newServer(t *testing.T) *server {
	s := &server{t: t, drafts: map[string]*draft{}, sessions: map[string]*session{},
		fault: func(string, int, http.ResponseWriter, *http.Request) bool { return false }}
	s.Server = httptest.NewServer(http.HandlerFunc(s.serve))
	s.uploads = httptest.NewServer(http.HandlerFunc(s.serveUpload))
	t.Cleanup(func() {
		s.Server.Close()
		s.uploads.Close()
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, text := range s.refused {
			t.Error(text)
		}
	})
	return s
}

func (s *server) never(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refused = append(s.refused, fmt.Sprintf(format, args...))
}

// step notes a step and tells whether a fault has answered it.
func (s *server) step(step string, w http.ResponseWriter, r *http.Request) bool {
	s.mu.Lock()
	s.steps = append(s.steps, step)
	n := 0
	for _, before := range s.steps {
		if before == step {
			n++
		}
	}
	s.mu.Unlock()
	return s.fault(step, n, w, r)
}

func (s *server) heard() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.steps)
}

func (s *server) got() []delivered {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.sent)
}

func (s *server) left() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.drafts)
}

func fail(w http.ResponseWriter, status int, code, text string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(map[string]any{"error": map[string]any{"code": code, "message": text}})
}

func (s *server) serve(w http.ResponseWriter, r *http.Request) {
	path, ok := strings.CutPrefix(r.URL.EscapedPath(), "/v1.0/users/"+mailbox+"/")
	if !ok {
		fail(w, 404, "ErrorInvalidUser", "The requested user is invalid.")
		return
	}
	if r.Header.Get("Authorization") != "Bearer "+token {
		fail(w, 401, "InvalidAuthenticationToken", "Access token has expired or is not yet valid.")
		return
	}
	if r.ContentLength > 4<<20 {
		s.never("a request of %d octets", r.ContentLength)
		fail(w, 413, "BadRequest", "The maximum request length supported is 4MB.")
		return
	}
	parts := strings.Split(path, "/")
	if len(parts) > 1 {
		parts[1], _ = url.PathUnescape(parts[1])
	}
	switch {
	case r.Method == "POST" && path == "sendMail":
		s.sendMail(w, r)
	case r.Method == "POST" && path == "messages":
		s.create(w, r)
	case len(parts) < 2 || parts[0] != "messages":
		s.never("%s %s", r.Method, path)
		fail(w, 400, "BadRequest", "Resource not found.")
	case r.Method == "DELETE":
		if !s.step("delete", w, r) {
			s.mu.Lock()
			delete(s.drafts, parts[1])
			s.mu.Unlock()
			w.WriteHeader(204)
		}
	default:
		s.mu.Lock()
		d := s.drafts[parts[1]]
		s.mu.Unlock()
		if d == nil {
			fail(w, 404, "ErrorItemNotFound", "The specified object was not found in the store.")
			return
		}
		s.onDraft(w, r, d, strings.Join(parts[2:], "/"))
	}
}

func (s *server) sendMail(w http.ResponseWriter, r *http.Request) {
	if s.step("sendMail", w, r) {
		return
	}
	if t := r.Header.Get("Content-Type"); t != "text/plain" {
		s.never("sendMail of type %q", t)
	}
	encoded, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	content, err := base64.StdEncoding.Strict().DecodeString(string(encoded))
	if err != nil {
		fail(w, 400, "ErrorMimeContentInvalidBase64String", "Invalid base64 string for MIME content.")
		return
	}
	d, err := parse(content)
	if err != nil {
		fail(w, 400, "ErrorMimeContentInvalid", err.Error())
		return
	}
	if len(d.to) == 0 {
		fail(w, 400, "ErrorInvalidRecipients", "At least one recipient is not valid., A message can't be sent because it contains no recipients.")
		return
	}
	s.take(d)
	w.WriteHeader(202)
}

// parse reads MIME as Exchange does: recipients are those of To, Cc and Bcc.
func parse(content []byte) (delivered, error) {
	if bytes.Contains(bytes.ReplaceAll(content, []byte("\r\n"), nil), []byte("\n")) {
		return delivered{}, fmt.Errorf("a bare LF")
	}
	m, err := mail.ReadMessage(bytes.NewReader(content))
	if err != nil {
		return delivered{}, err
	}
	d := delivered{header: m.Header}
	for _, name := range []string{"To", "Cc", "Bcc"} {
		for _, value := range m.Header[name] {
			if strings.HasSuffix(value, ":;") {
				continue
			}
			list, err := mail.ParseAddressList(value)
			if err != nil {
				return delivered{}, err
			}
			for _, a := range list {
				d.to = append(d.to, strings.ToLower(a.Address))
			}
		}
	}
	delete(m.Header, "Bcc")
	d.body, err = io.ReadAll(m.Body)
	return d, err
}

func (s *server) take(d delivered) {
	slices.Sort(d.to)
	d.to = slices.Compact(d.to)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sent = append(s.sent, d)
}

func (s *server) create(w http.ResponseWriter, r *http.Request) {
	if s.step("draft", w, r) {
		return
	}
	d := &draft{}
	if !s.decode(w, r, d) {
		return
	}
	s.mu.Lock()
	d.ID = fmt.Sprintf("AAMk+%d/=", len(s.drafts)+1)
	s.drafts[d.ID] = d
	s.mu.Unlock()
	w.WriteHeader(201)
	echo, _ := json.Marshal(d)
	fmt.Fprintf(w, `{"@odata.context":"...","@odata.etag":"W/\"x\"","id":%q,%s`, d.ID, echo[1:])
}

// decode reads JSON in the words of Graph, and no others.
func (s *server) decode(w http.ResponseWriter, r *http.Request, v any) bool {
	if t := r.Header.Get("Content-Type"); t != "application/json" {
		s.never("JSON of type %q", t)
	}
	decoder := json.NewDecoder(r.Body)
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(v); err != nil {
		s.never("%s: %v", r.URL.Path, err)
		fail(w, 400, "BadRequest", err.Error())
		return false
	}
	return true
}

func (s *server) onDraft(w http.ResponseWriter, r *http.Request, d *draft, what string) {
	switch what {
	case "attachments":
		a := &attachment{}
		if s.step("attach", w, r) || !s.decode(w, r, a) {
			return
		}
		if len(a.Bytes) > 3<<20 {
			s.never("an attachment of %d octets in one request", len(a.Bytes))
		}
		d.Attachments = append(d.Attachments, a)
		w.WriteHeader(201)
	case "attachments/createUploadSession":
		var request struct{ AttachmentItem attachment }
		if s.step("session", w, r) || !s.decode(w, r, &request) {
			return
		}
		if request.AttachmentItem.Size < 3_000_000 {
			s.never("a session for %d octets", request.AttachmentItem.Size)
		}
		s.mu.Lock()
		key := strconv.Itoa(len(s.sessions) + 1)
		s.sessions[key] = &session{d, &request.AttachmentItem}
		s.mu.Unlock()
		w.WriteHeader(201)
		json.NewEncoder(w).Encode(map[string]any{"uploadUrl": s.uploads.URL + "/up?authtoken=canary-upload&session=" + key,
			"expirationDateTime": "2026-12-01T00:00:00Z", "nextExpectedRanges": []string{"0-"}})
	case "send":
		if s.step("send", w, r) {
			return
		}
		s.dispatch(d)
		w.WriteHeader(202)
	default:
		s.never("%s of a draft", what)
	}
}

// dispatch sends a draft.
func (s *server) dispatch(d *draft) {
	out := delivered{draft: d}
	for _, r := range slices.Concat(d.To, d.Cc, d.Bcc) {
		out.to = append(out.to, strings.ToLower(r.Address.Address))
	}
	s.mu.Lock()
	delete(s.drafts, d.ID)
	s.mu.Unlock()
	s.take(out)
}

func (s *server) serveUpload(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Authorization") != "" {
		s.never("the token was sent to the host of uploads")
	}
	q, _ := url.ParseQuery(r.URL.RawQuery)
	s.mu.Lock()
	up := s.sessions[q.Get("session")]
	s.mu.Unlock()
	if up == nil {
		w.WriteHeader(404)
		return
	}
	if r.Method == "GET" {
		if !s.step("state", w, r) {
			s.next(w, up)
		}
		return
	}
	if s.step("chunk", w, r) {
		return
	}
	var from, to, size int64
	if _, err := fmt.Sscanf(r.Header.Get("Content-Range"), "bytes %d-%d/%d", &from, &to, &size); err != nil || size != up.file.Size || r.ContentLength != to-from+1 || r.ContentLength > 4<<20 {
		s.never("a chunk %q of %d octets", r.Header.Get("Content-Range"), r.ContentLength)
	}
	if from != int64(len(up.file.Bytes)) {
		fail(w, 416, "InvalidRange", "The uploaded fragment has already been received.")
		return
	}
	chunk, err := io.ReadAll(r.Body)
	if err != nil {
		return // of one that broke off nothing is kept
	}
	up.file.Bytes = append(up.file.Bytes, chunk...)
	if int64(len(up.file.Bytes)) < size {
		s.next(w, up)
		return
	}
	up.draft.Attachments = append(up.draft.Attachments, up.file)
	w.Header().Set("Location", s.URL+"/attachments/x")
	w.WriteHeader(201)
}

func (s *server) next(w http.ResponseWriter, up *session) {
	json.NewEncoder(w).Encode(map[string]any{"expirationDateTime": "2026-12-01T00:00:00Z", "nextExpectedRanges": []string{strconv.Itoa(len(up.file.Bytes)) + "-"}})
}
