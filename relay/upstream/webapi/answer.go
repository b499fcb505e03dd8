package webapi

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"

	"postern/relay/message"
)

// Bounds of what is read of an answer, and of what is kept of its text, in octets.
const (
	maxAnswer = 64 << 10
	maxText   = 400
)

// Answer is what the API said.
type Answer struct {
	Status int
	// After is how long it wants to be left alone; 0: it says nothing of that.
	After time.Duration
	// Body is the beginning of the content, up to 64 KiB.
	Body []byte
	// host is where a redirect leads.
	host string
	// secret is what the text is not to repeat.
	secret string
}

// readAnswer reads what is wanted of a response. Should it break off, that is
// the answer.
func readAnswer(r *http.Response, secret string) Answer {
	a := Answer{Status: r.StatusCode, secret: secret}
	if to, err := r.Location(); err == nil && r.StatusCode/100 == 3 {
		a.host = to.Host
	}
	a.Body, _ = io.ReadAll(io.LimitReader(r.Body, maxAnswer))
	a.After = wait(r.Header.Get("Retry-After"), time.Now())
	if a.After == 0 && r.StatusCode != http.StatusOK {
		a.After = waitInText(a.Body, time.Now())
	}
	return a
}

// maxWait bounds how long an API is left alone because it asks for it.
const maxWait = 24 * time.Hour

// wait reads a Retry-After field, of seconds or a date (RFC 9110, section
// 10.2.3); 0 if there is nothing to be understood. What has passed is a second.
func wait(value string, now time.Time) time.Duration {
	if value == "" {
		return 0
	}
	if seconds, err := strconv.ParseUint(value, 10, 64); err == nil || errors.Is(err, strconv.ErrRange) {
		return min(max(time.Duration(min(seconds, uint64(maxWait/time.Second)))*time.Second, time.Second), maxWait)
	}
	at, err := http.ParseTime(value)
	if err != nil {
		return 0
	}
	return min(max(at.Sub(now), time.Second), maxWait)
}

// retryAfter is how the Gmail API writes it into its text.
var retryAfter = regexp.MustCompile(`(?i)retry after (\d{4}-\d\d-\d\dT[\d:.]{8,18}Z)`)

func waitInText(body []byte, now time.Time) time.Duration {
	found := retryAfter.FindSubmatch(body)
	if found == nil {
		return 0
	}
	at, err := time.Parse(time.RFC3339Nano, string(found[1]))
	if err != nil {
		return 0
	}
	return min(max(at.Sub(now), time.Second), maxWait)
}

// Reply is the answer as a reply: the status, and what went wrong in the words
// of the API, as in "403 ErrorSendAsDenied: The user account ...".
func (a Answer) Reply() message.Reply {
	code, text := a.fault()
	if code != "" && text != "" {
		text = code + ": " + text
	} else if text = code + text; text == "" {
		text = strings.TrimSpace(http.StatusText(a.Status) + " " + a.excerpt())
	}
	return message.Reply{Code: a.Status, Text: a.printable(text)}
}

// excerpt is the beginning of what has no such form, as an HTML page.
func (a Answer) excerpt() string {
	if len(a.Body) == 0 {
		return ""
	}
	return fmt.Sprintf("(not in the form of the API: %.100q)", a.Body[:min(len(a.Body), 200)])
}

// printable is text in one line of printable characters, without the secret.
func (a Answer) printable(text string) string {
	if a.secret != "" {
		text = strings.ReplaceAll(text, a.secret, "...")
	}
	text = strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\r' || r == '\t':
			return ' '
		case r < ' ' || r > '~':
			return '?'
		}
		return r
	}, text)
	if len(text) > maxText {
		text = text[:maxText-3] + "..."
	}
	return text
}

// fault reads the error of Microsoft Graph (code and message), of Google
// (a reason, or a status, and message) and of OAuth (RFC 6750, a word alone).
func (a Answer) fault() (code, text string) {
	var body struct {
		Error       json.RawMessage `json:"error"`
		Description string          `json:"error_description"`
	}
	if json.Unmarshal(a.Body, &body) != nil {
		return "", ""
	}
	if json.Unmarshal(body.Error, &code) == nil {
		return code, body.Description
	}
	var fault struct {
		Code    any    `json:"code"`
		Message string `json:"message"`
		Status  string `json:"status"`
		Errors  []struct {
			Reason string `json:"reason"`
		} `json:"errors"`
	}
	if json.Unmarshal(body.Error, &fault) != nil {
		return "", ""
	}
	code, _ = fault.Code.(string) // a number says no more than the status
	if len(fault.Errors) > 0 && fault.Errors[0].Reason != "" {
		return fault.Errors[0].Reason, fault.Message
	}
	if code == "" {
		code = fault.Status
	}
	return code, fault.Message
}
