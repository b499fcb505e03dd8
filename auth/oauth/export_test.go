package oauth

import (
	"errors"
	"net/http"
)

// Through lets every request of s go through t.
func (s *Set) Through(t http.RoundTripper) {
	for _, tokens := range s.all {
		tokens.endpoint.client.Transport = t
	}
}

// ReadAnswer tells whether a response holds a token that can be used, and the
// refresh token in it; errors are as they are shown.
func ReadAnswer(status int, contentType string, body []byte) (access, refresh string, err error) {
	a, err := readAnswer(status, contentType, body)
	if no := new(refusal); errors.As(err, &no) {
		no.tame(func(s string) string { return s })
	}
	return a.access, a.refresh, err
}

// State is what the provider has to send back.
func (v *Visit) State() string { return v.state }

// Renew is what follows new consent.
func (t *Tokens) Renew() { t.renew() }

// HandOver gives a file to the owner of another.
func HandOver(path, like string) error { return handOver(path, like) }
