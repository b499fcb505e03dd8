package oauth

import (
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// What a token endpoint says of a token's life is believed within these.
const (
	usualLife = 10 * time.Minute // when it does not say (RFC 6749, section 5.1)
	mostLife  = 24 * time.Hour
)

// maxToken is the largest token taken, in octets. Longer ones do not fit into
// AUTH.
const maxToken = 16 << 10

// answer is what can be used of a successful response of a token endpoint.
type answer struct {
	access string
	life   time.Duration
	// refresh is the refresh token for the next time; "" when the one before
	// stays. It is there although the error says that the rest is of no use.
	refresh string
}

// refusal is an error response of a token endpoint (RFC 6749, section 5.2).
type refusal struct {
	status int
	// code is the value of error, text of error_description: as they came.
	code, text string
}

// tame makes of r what a log may show, without what hide takes out of it.
func (r *refusal) tame(hide func(string) string) {
	r.code, r.text = oneLine(hide(r.code), 60), oneLine(hide(r.text), 300)
}

func (r *refusal) Error() string {
	if r.text == "" {
		return r.code
	}
	return r.code + ": " + r.text
}

// readAnswer reads a response. The error is a *refusal, or a sentence about what
// else came.
func readAnswer(status int, contentType string, body []byte) (answer, error) {
	var said map[string]json.RawMessage
	if json.Unmarshal(body, &said) != nil || said == nil {
		return answer{}, notJSON(status, contentType)
	}
	if code := text(said["error"]); code != "" {
		return answer{}, &refusal{status, code, text(said["error_description"])}
	}
	if status != http.StatusOK {
		return answer{}, fmt.Errorf("answered %d", status)
	}
	a := answer{access: text(said["access_token"])}
	if refresh := text(said["refresh_token"]); wellFormed(refresh) {
		a.refresh = refresh
	}
	if kind := text(said["token_type"]); kind != "" && !strings.EqualFold(kind, "Bearer") {
		return a, errors.New("gave a token of another type than Bearer")
	}
	switch {
	case a.access == "":
		return a, errors.New("gave no token")
	case len(a.access) > maxToken:
		return a, fmt.Errorf("gave a token of more than %d KiB", maxToken>>10)
	case !wellFormed(a.access):
		return a, errors.New("gave a token with characters that no token has")
	}
	var err error
	a.life, err = readLife(said["expires_in"])
	return a, err
}

func notJSON(status int, contentType string) error {
	kind, _, _ := mime.ParseMediaType(contentType)
	what := "something that is not the JSON expected"
	if kind == "text/html" {
		what = "a web page"
	}
	if status != http.StatusOK {
		return fmt.Errorf("answered %d with %s", status, what)
	}
	return fmt.Errorf("answered with %s", what)
}

// text is a string of JSON, "" for anything else.
func text(raw json.RawMessage) string {
	var s string
	if json.Unmarshal(raw, &s) != nil {
		return ""
	}
	return s
}

// wellFormed tells whether s is not empty and of visible ASCII alone, as tokens
// are (RFC 6750, section 2.1).
func wellFormed(s string) bool {
	return s != "" && len(s) <= maxToken && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' })
}

// readLife reads expires_in: seconds, as a number or, as some do, a string.
func readLife(raw json.RawMessage) (time.Duration, error) {
	if raw == nil || string(raw) == "null" {
		return usualLife, nil
	}
	digits := string(raw)
	if s := text(raw); s != "" {
		digits = s
	}
	seconds, err := strconv.ParseFloat(digits, 64)
	switch {
	case err != nil:
		return 0, errors.New("gave a token with an expires_in that is no number")
	case !(seconds > 0):
		return 0, errors.New("gave a token that has ended already: its expires_in is not above 0")
	case seconds > mostLife.Seconds():
		return mostLife, nil
	}
	return time.Duration(seconds * float64(time.Second)), nil
}

// oneLine makes what others wrote fit for a log and a terminal: the first line of
// it, without control characters, of at most n octets.
func oneLine(s string, n int) string {
	s, _, _ = strings.Cut(strings.TrimSpace(strings.ToValidUTF8(s, "")), "\n")
	s = strings.Map(func(r rune) rune {
		if !strconv.IsPrint(r) {
			return -1
		}
		return r
	}, s)
	if len(s) > n {
		s = strings.ToValidUTF8(s[:n], "") + "..."
	}
	return traces.ReplaceAllString(s, "")
}

// traces are what Microsoft adds for its support, different each time.
var traces = regexp.MustCompile(` *(Trace ID|Correlation ID|Timestamp): .*$`)
