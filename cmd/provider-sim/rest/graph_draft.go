package rest

import (
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/mail"
	"os"
	"strings"
	"time"

	"postern/cmd/provider-sim/world"
)

// draft is a message that is built step by step. As with Graph, of its header
// only what JSON knows is left, and five fields whose names begin with x-.
type draft struct {
	mailbox string
	json    draftJSON
	parts   []*attachment
}

type draftJSON struct {
	Subject string
	Body    struct{ ContentType, Content string }
	From    *recipient
	Sender  *recipient
	ReplyTo []recipient

	ToRecipients, CcRecipients, BccRecipients []recipient
	InternetMessageID                         string `json:"internetMessageId"`
	InternetMessageHeaders                    []struct{ Name, Value string }
	Attachments                               []attachmentJSON
}

type recipient struct {
	EmailAddress struct{ Name, Address string } `json:"emailAddress"`
}

type attachmentJSON struct {
	Type         string `json:"@odata.type"`
	Name         string
	ContentType  string
	ContentBytes []byte
	ContentID    string `json:"contentId"`
	IsInline     bool
	Size         int64 // of an upload session
}

// attachment has its content in a file.
type attachment struct {
	attachmentJSON
	file *os.File
	got  int64
}

func (d *draft) drop() {
	for _, a := range d.parts {
		a.file.Close()
		os.Remove(a.file.Name())
	}
}

// maxFields is how many fields of a header Graph lets one set.
const maxFields = 5

// create makes a draft from JSON.
func (g *Graph) create(w http.ResponseWriter, r *http.Request, mailbox world.Mailbox) *graphError {
	d := &draft{mailbox: mailbox.Address}
	if failed := readJSON(r, &d.json); failed != nil {
		return failed
	}
	for _, h := range d.json.InternetMessageHeaders {
		if !strings.HasPrefix(strings.ToLower(h.Name), "x-") {
			return &graphError{status: 400, code: "InvalidInternetMessageHeader", text: "The internet message header name '" + h.Name + "' should start with 'x-' or 'X-'."}
		}
	}
	if len(d.json.InternetMessageHeaders) > maxFields {
		return &graphError{status: 400, code: "InvalidInternetMessageHeaderCollection", text: "Maximum number of headers in one message should be less than or equal to 5."}
	}
	for _, a := range d.json.Attachments {
		if err := g.add(d, a); err != nil {
			return &graphError{status: 503, code: "ErrorServerBusy", text: err.Error()}
		}
	}
	g.mu.Lock()
	g.last++
	id := fmt.Sprintf("AAMkSim%06d=", g.last)
	g.drafts[id] = d
	g.mu.Unlock()
	reply(w, http.StatusCreated, map[string]any{"id": id, "isDraft": true, "internetMessageId": d.json.InternetMessageID})
	return nil
}

// add keeps an attachment whose content came with it.
func (g *Graph) add(d *draft, a attachmentJSON) error {
	part, err := g.newPart(a)
	if err != nil {
		return err
	}
	_, err = part.file.Write(a.ContentBytes)
	d.parts = append(d.parts, part)
	return err
}

func (g *Graph) newPart(a attachmentJSON) (*attachment, error) {
	f, err := os.CreateTemp(g.World.Dir, ".attachment-*")
	a.ContentBytes = nil
	return &attachment{attachmentJSON: a, file: f}, err
}

var errNoDraft = &graphError{status: 404, code: "ErrorItemNotFound", text: "The specified object was not found in the store."}

func (g *Graph) draft(r *http.Request, mailbox world.Mailbox) *draft {
	g.mu.Lock()
	defer g.mu.Unlock()
	d := g.drafts[r.PathValue("id")]
	if d == nil || !strings.EqualFold(d.mailbox, mailbox.Address) {
		return nil
	}
	return d
}

// maxAttachment is how large one may be that comes within JSON.
const maxAttachment = 3 << 20

func (g *Graph) attach(w http.ResponseWriter, r *http.Request, mailbox world.Mailbox) *graphError {
	d := g.draft(r, mailbox)
	if d == nil {
		return errNoDraft
	}
	var a attachmentJSON
	if failed := readJSON(r, &a); failed != nil {
		return failed
	}
	if len(a.ContentBytes) > maxAttachment {
		return tooLong
	}
	if err := g.add(d, a); err != nil {
		return &graphError{status: 503, code: "ErrorServerBusy", text: err.Error()}
	}
	reply(w, http.StatusCreated, map[string]any{"id": fmt.Sprintf("attachment-%d", len(d.parts)), "name": a.Name})
	return nil
}

// session begins an upload; what it answers with is a URL that needs no token.
func (g *Graph) session(w http.ResponseWriter, r *http.Request, mailbox world.Mailbox) *graphError {
	d := g.draft(r, mailbox)
	if d == nil {
		return errNoDraft
	}
	var asked struct{ AttachmentItem attachmentJSON }
	if failed := readJSON(r, &asked); failed != nil {
		return failed
	}
	a := asked.AttachmentItem
	if a.Size <= 0 || a.Size > g.World.Microsoft.Limits.GraphAttachment {
		return &graphError{status: 413, code: "ErrorAttachmentSizeLimitExceeded", text: "The attachment is larger than 150 MB."}
	}
	part, err := g.newPart(a)
	if err != nil {
		return &graphError{status: 503, code: "ErrorServerBusy", text: err.Error()}
	}
	d.parts = append(d.parts, part)
	reply(w, http.StatusCreated, map[string]any{
		"uploadUrl":          fmt.Sprintf("https://%s/upload/%s/%d?authtoken=sim", r.Host, r.PathValue("id"), len(d.parts)-1),
		"expirationDateTime": time.Now().Add(time.Hour).UTC().Format(time.RFC3339), "nextExpectedRanges": []string{"0-"},
	})
	return nil
}

// upload takes the next octets of an attachment, which must follow those before.
func (g *Graph) upload(w http.ResponseWriter, r *http.Request) {
	g.mu.Lock()
	d := g.drafts[r.PathValue("id")]
	g.mu.Unlock()
	var number int
	if _, err := fmt.Sscan(r.PathValue("name"), &number); err != nil || d == nil || number < 0 || number >= len(d.parts) {
		g.refuse(w, errNoDraft)
		return
	}
	part := d.parts[number]
	var from, to, size int64
	_, err := fmt.Sscanf(r.Header.Get("Content-Range"), "bytes %d-%d/%d", &from, &to, &size)
	switch {
	case r.Header.Get("Authorization") != "":
		g.refuse(w, &graphError{status: 401, code: "InvalidAuthenticationToken", text: "An upload URL is authenticated by itself; leave the Authorization header out."})
	case err != nil || from != part.got || size != part.Size || to < from || to >= size:
		g.refuse(w, &graphError{status: 416, code: "InvalidRange", text: fmt.Sprintf("The range must begin at %d.", part.got)})
	case to-from+1 > g.World.Microsoft.Limits.GraphRequest:
		g.refuse(w, tooLong)
	default:
		g.next(w, r, part, to-from+1)
	}
}

func (g *Graph) next(w http.ResponseWriter, r *http.Request, part *attachment, octets int64) {
	n, err := io.Copy(part.file, io.LimitReader(r.Body, octets))
	part.got += n
	switch {
	case err != nil || n < octets:
		g.refuse(w, &graphError{status: 400, code: "InvalidContentLength", text: "The body is shorter than its range."})
	case part.got == part.Size:
		w.Header().Set("Location", "https://"+r.Host+"/attachments")
		w.WriteHeader(http.StatusCreated)
	default:
		reply(w, http.StatusOK, map[string]any{"nextExpectedRanges": []string{fmt.Sprintf("%d-", part.got)}})
	}
}

func (g *Graph) remove(w http.ResponseWriter, r *http.Request, mailbox world.Mailbox) *graphError {
	d := g.draft(r, mailbox)
	if d == nil {
		return errNoDraft
	}
	g.forget(r.PathValue("id"), d)
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (g *Graph) forget(id string, d *draft) {
	g.mu.Lock()
	delete(g.drafts, id)
	g.mu.Unlock()
	d.drop()
}

// Drafts is how many are neither sent nor deleted.
func (g *Graph) Drafts() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.drafts)
}

// send makes a message of a draft.
func (g *Graph) send(w http.ResponseWriter, r *http.Request, mailbox world.Mailbox) *graphError {
	d := g.draft(r, mailbox)
	if d == nil {
		return errNoDraft
	}
	for _, a := range d.parts {
		if a.Size > 0 && a.got < a.Size {
			return &graphError{status: 400, code: "ErrorInvalidAttachment", text: "The upload of an attachment is not complete."}
		}
	}
	content, size := io.Pipe()
	go func() { size.CloseWithError(d.write(size, mailbox)) }()
	letter, err := g.World.Receive(content, g.World.Microsoft.Limits.Size*2)
	content.Close()
	if err != nil {
		return &graphError{status: 503, code: "ErrorServerBusy", text: err.Error()}
	}
	if failed := g.accept(mailbox, letter); failed != nil {
		return failed
	}
	g.forget(r.PathValue("id"), d)
	w.WriteHeader(http.StatusAccepted)
	return nil
}

// write renders the draft as Exchange would send it.
func (d *draft) write(w io.Writer, mailbox world.Mailbox) error {
	from := mailbox.Address
	if d.json.From != nil {
		from = d.json.From.EmailAddress.Address
	}
	fmt.Fprintf(w, "From: %s\r\nSubject: %s\r\n", (&mail.Address{Address: from}).String(), d.json.Subject)
	for name, list := range map[string][]recipient{"To": d.json.ToRecipients, "Cc": d.json.CcRecipients, "Bcc": d.json.BccRecipients} {
		for i, to := range list {
			if i == 0 {
				fmt.Fprintf(w, "%s: ", name)
			} else {
				fmt.Fprint(w, ",\r\n ")
			}
			fmt.Fprint(w, (&mail.Address{Name: to.EmailAddress.Name, Address: to.EmailAddress.Address}).String())
		}
		if len(list) > 0 {
			fmt.Fprint(w, "\r\n")
		}
	}
	for _, h := range d.json.InternetMessageHeaders {
		fmt.Fprintf(w, "%s: %s\r\n", h.Name, h.Value)
	}
	if d.json.InternetMessageID != "" {
		fmt.Fprintf(w, "Message-ID: %s\r\n", d.json.InternetMessageID)
	}
	return d.writeBody(w)
}

const boundary = "=_simulated_by_exchange"

func (d *draft) writeBody(w io.Writer) error {
	kind := "text/plain"
	if strings.EqualFold(d.json.Body.ContentType, "html") {
		kind = "text/html"
	}
	fmt.Fprintf(w, "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=\"%s\"\r\n\r\n--%s\r\nContent-Type: %s; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\n%s\r\n",
		boundary, boundary, kind, base64.StdEncoding.EncodeToString([]byte(d.json.Body.Content)))
	for _, a := range d.parts {
		fmt.Fprintf(w, "--%s\r\nContent-Type: %s\r\nContent-Disposition: attachment; filename=\"%s\"\r\nContent-Transfer-Encoding: base64\r\n\r\n", boundary, a.ContentType, a.Name)
		if _, err := a.file.Seek(0, io.SeekStart); err != nil {
			return err
		}
		encoder := base64.NewEncoder(base64.StdEncoding, w)
		if _, err := io.Copy(encoder, a.file); err != nil {
			return err
		}
		if err := encoder.Close(); err != nil {
			return err
		}
		fmt.Fprint(w, "\r\n")
	}
	_, err := fmt.Fprintf(w, "--%s--\r\n", boundary)
	return err
}
