package webapi_test

import (
	"fmt"
	"io"
	"log"
	"net/http"
	"strings"
	"testing"
	"time"

	"postern/relay/message"
	"postern/relay/upstream/transport"
	"postern/relay/upstream/webapi"
)

func discard() *log.Logger { return log.New(io.Discard, "", 0) }

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	for value, want := range map[string]time.Duration{
		"": 0, "30": 30 * time.Second, "0": time.Second, "-1": 0, "soon": 0, "1.5": 0,
		"99999999999999999999999": 24 * time.Hour, "9223372036854775807": 24 * time.Hour,
		"Sun, 22 Nov 2026 12:05:00 GMT":  5 * time.Minute,
		"Sunday, 22-Nov-26 12:05:00 GMT": 5 * time.Minute,
		"Sun, 22 Nov 2026 11:00:00 GMT":  time.Second,
		"Sun, 22 Nov 2099 11:00:00 GMT":  24 * time.Hour,
	} {
		if got := webapi.Wait(value, now); got != want {
			t.Errorf("%q: %v, want %v", value, got, want)
		}
	}
	for text, want := range map[string]time.Duration{
		"User-rate limit exceeded.  Retry after 2026-11-22T12:00:30.000Z": 30 * time.Second,
		"retry after 2026-11-22T12:01:00Z (Mail sending)":                 time.Minute,
		"Retry after 2026-99-22T12:01:00Z":                                0,
		"Retry after a while":                                             0,
	} {
		if got := webapi.WaitInText([]byte(text), now); got != want {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
	}
}

// answer is one of that status and body.
func answer(status int, body string) webapi.Answer {
	return webapi.ReadAnswer(&http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body))}, "canary")
}

func TestErrorsAreRead(t *testing.T) {
	for _, c := range []struct{ name, body, want string }{
		{"Graph", `{"error":{"code":"ErrorSendAsDenied","message":"The user account may not.","innerError":{"date":"x"}}}`, "403 ErrorSendAsDenied: The user account may not."},
		{"Google", `{"error":{"code":403,"message":"Rate Limit Exceeded","errors":[{"message":"x","domain":"usageLimits","reason":"rateLimitExceeded"}],"status":"PERMISSION_DENIED"}}`, "403 rateLimitExceeded: Rate Limit Exceeded"},
		{"Google, without a reason", `{"error":{"code":403,"message":"No.","status":"PERMISSION_DENIED"}}`, "403 PERMISSION_DENIED: No."},
		{"OAuth", `{"error":"invalid_token","error_description":"Expired."}`, "403 invalid_token: Expired."},
		{"HTML", "<html>\n<title>Blocked</title>", `403 Forbidden (not in the form of the API: "<html>\n<title>Blocked</title>")`},
		{"nothing", "", "403 Forbidden"},
		{"a list", `[1,2]`, "403 Forbidden (not in the form of the API: \"[1,2]\")"},
		{"an error of another kind", `{"error":[1]}`, "403 Forbidden (not in the form of the API: \"{\\\"error\\\":[1]}\")"},
		{"our token", `{"error":{"code":"X","message":"Bearer canary"}}`, "403 X: Bearer ..."},
		{"control characters", "{\"error\":{\"code\":\"X\",\"message\":\"a\\r\\nb\\u0000c\\u2028\"}}", "403 X: a  b?c?"},
	} {
		if got := answer(403, c.body).Reply().String(); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

func TestUsual(t *testing.T) {
	for _, c := range []struct {
		status int
		text   string
		want   message.Outcome
		advice transport.Action
	}{
		{400, "ErrorInvalidRecipients: x", message.Failed, ""},
		{400, `Bad Request (not in the form of the API: "x: y")`, message.Deferred, ""},
		{401, "x", message.Deferred, transport.Reauth},
		{403, "x", message.Deferred, transport.Configure},
		{404, "x", message.Deferred, transport.Configure},
		{408, "x", message.Deferred, ""},
		{413, "x", message.Failed, transport.Failover},
		{418, "x", message.Deferred, ""},
		{429, "x", message.Deferred, transport.Slow},
		{501, "x", message.Deferred, ""},
		{503, "x", message.Deferred, transport.Slow},
	} {
		got := transport.Usual(transport.AtRequest, message.Reply{Code: c.status, Text: c.text})
		if got.Outcome != c.want || got.Advice.Action != c.advice {
			t.Errorf("%d %s: %v %q", c.status, c.text, got.Outcome, got.Advice.Action)
		}
	}
}

func FuzzAnswer(f *testing.F) {
	for _, s := range []string{`{"error":{"code":"X","message":"y"}}`, `{"error":{"code":1,"errors":[{"reason":"z"}]}}`, `{"error":"x","error_description":"y"}`,
		`{"error":{"code":{},"message":1}}`, `{"error":null}`, "<html>canary", `{"error":{"code":"canary","message":"Retry after 2026-11-22T12:00:30.000Z"}}`} {
		f.Add(403, s, "5")
	}
	f.Fuzz(func(t *testing.T, status int, body, after string) {
		a := webapi.ReadAnswer(&http.Response{StatusCode: status, Header: http.Header{"Retry-After": {after}}, Body: io.NopCloser(strings.NewReader(body))}, "canary")
		reply := a.Reply()
		if len(reply.Text) > 400 || strings.Contains(reply.Text, "canary") || strings.ContainsFunc(reply.Text, func(r rune) bool { return r < ' ' || r > '~' }) {
			t.Fatalf("%q", reply.Text)
		}
		if a.After < 0 || a.After > 24*time.Hour {
			t.Fatal(fmt.Sprint(a.After))
		}
		transport.Usual(transport.AtRequest, reply)
	})
}
