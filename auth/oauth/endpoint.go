package oauth

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

const (
	// patience is how long an endpoint may take for one request.
	patience = 30 * time.Second
	// maxAnswer bounds what it says, in octets.
	maxAnswer = 256 << 10
)

// endpoint is how we speak with the provider of one credential.
type endpoint struct {
	client *http.Client
}

func newEndpoint(roots *x509.CertPool) endpoint {
	return endpoint{&http.Client{
		Timeout: patience,
		Transport: &http.Transport{
			Proxy:                  http.ProxyFromEnvironment,
			TLSClientConfig:        &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
			ForceAttemptHTTP2:      true,
			DisableKeepAlives:      true, // once an hour
			MaxResponseHeaderBytes: 64 << 10,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// response is what an endpoint answered.
type response struct {
	status      int
	contentType string
	retryAfter  time.Duration
	body        []byte
}

// post sends a form. No redirect is followed: what the form holds is for the
// address of the configuration alone. Errors name the host, and nothing of the
// form.
func (e endpoint) post(ctx context.Context, address string, form url.Values, identity *url.Userinfo) (response, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, address, strings.NewReader(form.Encode()))
	if err != nil {
		return response{}, errors.New("the address of the endpoint cannot be used")
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	request.Header.Set("Accept", "application/json")
	if identity != nil {
		secret, _ := identity.Password()
		request.SetBasicAuth(url.QueryEscape(identity.Username()), url.QueryEscape(secret)) // RFC 6749, section 2.3.1
	}
	answered, err := e.client.Do(request)
	if err != nil {
		return response{}, fmt.Errorf("%s: %w", request.URL.Host, unreached(err))
	}
	defer answered.Body.Close()
	if to := answered.Header.Get("Location"); answered.StatusCode/100 == 3 {
		return response{status: answered.StatusCode}, fmt.Errorf("%s redirects to %s, where nothing secret is sent", request.URL.Host, hostOf(to))
	}
	r := response{status: answered.StatusCode, contentType: answered.Header.Get("Content-Type"), retryAfter: retryAfter(answered.Header)}
	r.body, err = io.ReadAll(io.LimitReader(answered.Body, maxAnswer+1))
	switch {
	case err != nil:
		return r, fmt.Errorf("%s: %w", request.URL.Host, unreached(err))
	case len(r.body) > maxAnswer:
		return r, fmt.Errorf("%s answered with more than %d KiB", request.URL.Host, maxAnswer>>10)
	}
	return r, nil
}

// unreached is err without the address, whose host is named already, and in plain
// words where time ran out.
func unreached(err error) error {
	var outer *url.Error
	if errors.As(err, &outer) {
		if outer.Timeout() {
			return fmt.Errorf("no answer within %s", patience)
		}
		return outer.Err
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("no whole answer within %s", patience)
	}
	return err
}

// hostOf names where a redirect leads, for a person.
func hostOf(address string) string {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" {
		return "another address"
	}
	return oneLine(u.Host, 100)
}

// retryAfter is how long we are asked to wait, 0 when we are not (RFC 9110,
// section 10.2.3). Dates count as not.
func retryAfter(h http.Header) time.Duration {
	seconds, err := strconv.ParseUint(h.Get("Retry-After"), 10, 16)
	if err != nil {
		return 0
	}
	return time.Duration(seconds) * time.Second
}
