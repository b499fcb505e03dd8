package graph

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"postern/relay/message"
	"postern/relay/upstream/transport"
	"postern/relay/upstream/webapi"
)

// Files from minSession octets on are uploaded in a session, in chunks of
// maxChunk.
const (
	minSession = 3_000_000
	maxChunk   = 12 * 320 << 10
)

// maxResumed is how many times a session that broke is taken up again without
// having got further.
const maxResumed = 3

// upload adds a file by a session. The result is nil if that went well.
func (s *drafting) upload(f *file) (*transport.Result, error) {
	item := f.attributes()
	delete(item, "@odata.type")
	item["attachmentType"], item["size"] = "file", f.size
	doc := &document{}
	doc.literal("%s", quote(map[string]any{"AttachmentItem": item}))
	answer, err := s.delivery.Do(s.post(s.url+"/attachments/createUploadSession", doc.content()))
	if err != nil || answer.Status/100 != 2 {
		result, err := s.unsent(answer, err)
		return &result, err
	}
	var session struct {
		URL string `json:"uploadUrl"`
	}
	if err := json.Unmarshal(answer.Body, &session); err != nil || !s.mayUpload(session.URL) {
		result := transport.Own(message.Deferred, "4.5.0", "Microsoft Graph gave no address to upload an attachment to, or one without TLS")
		return &result, nil
	}
	return s.chunks(f, session.URL)
}

// mayUpload tells whether the content may go to that address, which is one of
// another host: by TLS, but for an API on the loopback interface that has none.
func (s *drafting) mayUpload(address string) bool {
	u, err := url.Parse(address)
	return err == nil && u.Host != "" && (u.Scheme == "https" || u.Scheme == "http" && strings.HasPrefix(s.api.Base(), "http:"))
}

// chunks sends what the session still wants until it has all of it.
func (s *drafting) chunks(f *file, address string) (*transport.Result, error) {
	resumed := 0
	for at := int64(0); ; {
		answer, err := s.delivery.Do(s.chunk(f, address, at))
		end := min(at+maxChunk, f.size)
		next, ok := wanted(answer, end)
		switch {
		case err == nil && end == f.size && done(answer):
			return nil, nil
		case err == nil && ok && next == end:
			at, resumed = next, 0
			continue
		}
		if resumed++; resumed > maxResumed || !mayResume(answer, err) {
			result, err := s.unsent(answer, err)
			return &result, err
		}
		state, _ := s.delivery.Do(webapi.Request{Method: http.MethodGet, URL: address, Foreign: true})
		if next, ok := wanted(state, end); ok {
			at = next
		}
	}
}

// done tells whether an answer to the last chunk says that nothing is missing.
func done(a webapi.Answer) bool {
	return a.Status == http.StatusCreated || a.Status == http.StatusOK && len(bytes.TrimSpace(a.Body)) == 0
}

// mayResume tells whether a chunk is worth another try at once: it broke off, or
// the server stumbled and does not ask for time.
func mayResume(a webapi.Answer, err error) bool {
	if err != nil {
		return errors.As(err, new(*webapi.Broken))
	}
	return (a.Status >= 500 || a.Status == http.StatusRequestedRangeNotSatisfiable || a.Status/100 == 2) && a.After == 0
}

// chunk is the request for the octets of f from at on.
func (s *drafting) chunk(f *file, address string, at int64) webapi.Request {
	size := min(maxChunk, f.size-at)
	return webapi.Request{
		Method: http.MethodPut, URL: address, Foreign: true,
		Header: map[string]string{"Content-Type": "application/octet-stream", "Content-Range": fmt.Sprintf("bytes %d-%d/%d", at, at+size-1, f.size)},
		Content: &webapi.Content{Size: size, Open: func() (io.ReadCloser, error) {
			return section(f, s.m.Body, at, size)
		}},
	}
}

// section reads a piece of the content of f.
func section(f *file, body message.Body, at, size int64) (io.ReadCloser, error) {
	r, err := f.content(body)
	if err != nil {
		return nil, err
	}
	if _, err := io.CopyN(io.Discard, r, at); err != nil {
		r.Close()
		return nil, err
	}
	return struct {
		io.Reader
		io.Closer
	}{io.LimitReader(r, size), r}, nil
}

// wanted is the first octet that a session still misses. One beyond those it was
// sent would leave a hole.
func wanted(a webapi.Answer, sent int64) (int64, bool) {
	var state struct {
		Next []string `json:"nextExpectedRanges"`
	}
	if a.Status/100 != 2 || json.Unmarshal(a.Body, &state) != nil || len(state.Next) == 0 {
		return 0, false
	}
	first, _, _ := strings.Cut(state.Next[0], "-")
	at, err := strconv.ParseInt(first, 10, 64)
	return at, err == nil && at >= 0 && at <= sent
}
