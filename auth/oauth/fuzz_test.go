package oauth_test

import (
	"strings"
	"testing"

	"postern/auth/oauth"
)

// FuzzAnswer holds that no response makes a token of what no token is, or an error
// of more than one line.
func FuzzAnswer(f *testing.F) {
	for _, seed := range []string{
		`{"access_token":"a","token_type":"Bearer","expires_in":3600,"refresh_token":"r"}`, `{"access_token":"a","expires_in":"-1e9"}`,
		`{"error":"invalid_grant","error_description":"AADSTS70008: x\r\nTrace ID: 1"}`, `{"access_token":"\u0001"}`, `<html>`, `null`, `[]`, `{"expires_in":1e999}`,
	} {
		f.Add(200, "application/json", []byte(seed))
		f.Add(400, "text/html; charset", []byte(seed))
	}
	f.Fuzz(func(t *testing.T, status int, contentType string, body []byte) {
		access, refresh, err := oauth.ReadAnswer(status, contentType, body)
		strange := func(r rune) bool { return r <= ' ' || r > '~' }
		if err == nil && (access == "" || strings.ContainsFunc(access, strange)) || strings.ContainsFunc(refresh, strange) {
			t.Errorf("the token is %q, the refresh token %q", access, refresh)
		}
		if err != nil && strings.ContainsAny(err.Error(), "\r\n\x00\x1b") {
			t.Errorf("the error is %q", err)
		}
	})
}

// FuzzPasted holds that a code comes only with the state of the visit.
func FuzzPasted(f *testing.F) {
	for _, seed := range []string{"", "http://127.0.0.1/?code=a&state=STATE", "?state=STATE&error=x%0A", "http://[::1", "code=a&state=STATE", "http://127.0.0.1/#code=a&state=STATE"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, pasted string) {
		p := &provider{t: t, url: "https://login.example.com"}
		s, err := oauth.New([]oauth.Credential{{Upstream: "m365", Config: p.visits()}}, oauth.Options{}, nil)
		if err != nil {
			t.Fatal(err)
		}
		login, err := s.Login("m365")
		if err != nil {
			t.Fatal(err)
		}
		visit, err := login.Visit(true)
		if err != nil {
			t.Fatal(err)
		}
		pasted = strings.ReplaceAll(pasted, "STATE", visit.State())
		code, err := visit.Code(pasted)
		if err == nil && (!strings.Contains(pasted, visit.State()) || code == "") {
			t.Errorf("%q gives the code %q", pasted, code)
		}
		if err != nil && strings.ContainsAny(err.Error(), "\r\n\x00\x1b") {
			t.Errorf("the error is %q", err)
		}
	})
}
