package graph

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"postern/relay/message"
	"postern/relay/upstream/transport"
	"postern/relay/upstream/webapi"
)

// drafting is one message being sent as a draft.
type drafting struct {
	*Client
	delivery *webapi.Delivery
	m        *message.Message
	d        *draft
	url      string // of the draft, once it is there
}

// sendDraft sends m as a draft, or says why it cannot be one.
func (c *Client) sendDraft(ctx context.Context, l transport.Letter, m *message.Message) (transport.Result, error) {
	d, err := newDraft(m)
	if why := unfit(""); errors.As(err, &why) {
		return c.unfit(l, m, string(why))
	}
	if err != nil {
		return transport.Own(message.Deferred, "4.3.0", "the stored message cannot be read: %v", err), nil
	}
	doc, rest := d.document(m)
	if doc.size > maxRequest {
		return c.unfit(l, m, "its text and header alone are larger than one request")
	}
	s := &drafting{Client: c, delivery: c.api.Begin(ctx), m: m, d: d}
	result, err := s.run(doc, rest)
	if s.url != "" && (err != nil || result.Outcome == message.Deferred || result.Outcome == message.Failed) {
		s.discard()
	}
	return result, err
}

// unfit is the end of a message that cannot be a draft: another upstream may take
// it as it is.
func (c *Client) unfit(l transport.Letter, m *message.Message, why string) (transport.Result, error) {
	reply := message.Refuse(552, "5.6.3", "the message has %d octets, and Microsoft Graph takes at most %d in one piece; "+
		"it cannot be sent as a draft either: %s", m.Size(), maxMIME, why)
	if l.Elsewhere(transport.LoadOf(m)) {
		return transport.Result{}, c.api.Unfit(reply)
	}
	return transport.Own(message.Failed, reply.Enhanced, "%s", reply.Text), nil
}

// run makes the draft, adds what has no room in it, and has it sent.
func (s *drafting) run(doc *document, rest []*file) (transport.Result, error) {
	answer, err := s.delivery.Do(s.post(s.user+"/messages", doc.content()))
	if err != nil || answer.Status != http.StatusCreated {
		return s.unsent(answer, err)
	}
	id := draftID(answer.Body)
	if id == "" {
		return transport.Own(message.Deferred, "4.5.0", "Microsoft Graph made a draft and did not name it"), nil
	}
	s.url = s.user + "/messages/" + url.PathEscape(id)
	for _, f := range rest {
		attach := s.attach
		if f.size >= minSession {
			attach = s.upload
		}
		if failed, err := attach(f); err != nil || failed != nil {
			return s.failed(failed, err)
		}
	}
	answer, err = s.delivery.Do(webapi.Request{Method: http.MethodPost, URL: s.url + "/send"})
	result, err := s.api.Sent(answer, err, accepted)
	if result.Outcome == message.Delivered {
		result.Reply.Text += s.told()
	}
	return result, err
}

func (s *drafting) failed(result *transport.Result, err error) (transport.Result, error) {
	if err != nil {
		return transport.Result{}, err
	}
	return *result, nil
}

// told is what the history is to know of a message that was built anew.
func (s *drafting) told() string {
	text := fmt.Sprintf(", built anew as a draft (it has more than %d octets)", maxMIME)
	if len(s.d.lost) > 0 {
		text += "; left out: " + strings.Join(s.d.lost, ", ")
	}
	return text
}

// post is a request that carries JSON.
func (s *drafting) post(url string, content *webapi.Content) webapi.Request {
	return webapi.Request{Method: http.MethodPost, URL: url, Content: content,
		Header: map[string]string{"Content-Type": "application/json"}}
}

// attach adds a file in one request. The result is nil if that went well.
func (s *drafting) attach(f *file) (*transport.Result, error) {
	doc := &document{}
	f.add(doc, s.m.Body)
	answer, err := s.delivery.Do(s.post(s.url+"/attachments", doc.content()))
	if err == nil && answer.Status == http.StatusCreated {
		return nil, nil
	}
	result, err := s.unsent(answer, err)
	return &result, err
}

// unsent is the outcome of a step before the last. A mailbox that may send, but
// write no drafts, is no reason to send nothing through it.
func (s *drafting) unsent(answer webapi.Answer, err error) (transport.Result, error) {
	result, err := s.api.Unsent(answer, err)
	if err == nil && slices.Contains([]int{http.StatusForbidden, http.StatusNotFound}, answer.Status) {
		result.Outcome = message.Deferred
		result.Advice = transport.Advice{Action: transport.Failover,
			Hint: "mail over 3 MiB needs the permission Mail.ReadWrite; grant it, or lead large mail through another upstream"}
	}
	return result, err
}

// discard deletes the draft, as far as that is possible.
func (s *drafting) discard() {
	last, cancel := s.delivery.Farewell()
	defer cancel()
	last.Do(webapi.Request{Method: http.MethodDelete, URL: s.url})
}

// draftID reads the id of a draft from the beginning of the answer, which repeats
// the whole draft.
func draftID(body []byte) string {
	decoder := json.NewDecoder(strings.NewReader(string(body)))
	if open, err := decoder.Token(); err != nil || open != json.Delim('{') {
		return ""
	}
	for decoder.More() {
		name, err := decoder.Token()
		if err != nil {
			return ""
		}
		if name == "id" {
			var id string
			if decoder.Decode(&id) != nil {
				return ""
			}
			return id
		}
		if decoder.Decode(new(json.RawMessage)) != nil {
			return ""
		}
	}
	return ""
}
