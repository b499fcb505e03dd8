package bearer

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"
)

const (
	// patience is how long an issuer may take to tell its keys, or to answer one
	// question. Clients wait so long for AUTH.
	patience = 10 * time.Second
	// maxDocument bounds discovery documents and key sets, in octets; maxAnswer
	// what is said of one token, as thousands of those are remembered.
	maxDocument = 1 << 20
	maxAnswer   = 16 << 10
)

// fetcher speaks HTTP with issuers.
type fetcher struct {
	client   *http.Client
	patience time.Duration
}

func newFetcher(roots *x509.CertPool) *fetcher {
	return &fetcher{patience: patience, client: &http.Client{
		Transport: &http.Transport{
			Proxy:                  http.ProxyFromEnvironment,
			TLSClientConfig:        &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
			ForceAttemptHTTP2:      true,
			MaxIdleConnsPerHost:    maxQuestions,
			IdleConnTimeout:        30 * time.Second,
			MaxResponseHeaderBytes: 64 << 10,
		},
		CheckRedirect: sameHost,
	}}
}

// sameHost follows redirects within the host asked, and no further: another one
// is not who the administrator trusts.
func sameHost(next *http.Request, before []*http.Request) error {
	first := before[0].URL
	switch {
	case next.URL.Scheme != first.Scheme || next.URL.Host != first.Host:
		return fmt.Errorf("redirected to another host, %s", next.URL.Host)
	case len(before) > 3:
		return errors.New("redirected again and again")
	}
	return nil
}

// get reads a JSON document into v.
func (f *fetcher) get(ctx context.Context, address string, v any) (http.Header, error) {
	if err := checkURL(address); err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	resp, err := f.do(req, maxDocument, v)
	switch {
	case err != nil:
		return nil, err
	case resp.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("%s answered %s", address, resp.Status)
	}
	return resp.Header, nil
}

// do asks, and reads the answer into v if it is 200. The errors name the URL
// without its query, which may hold a token.
func (f *fetcher) do(req *http.Request, max int64, v any) (*http.Response, error) {
	where := *req.URL
	where.RawQuery = ""
	req.Header.Set("Accept", "application/json")
	resp, err := f.client.Do(req)
	if err != nil {
		var inner *url.Error
		if errors.As(err, &inner) {
			err = inner.Err
		}
		return nil, fmt.Errorf("%s: %w", where.String(), err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return resp, nil
	}
	b, err := io.ReadAll(io.LimitReader(resp.Body, max+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("%s: %w", where.String(), err)
	case int64(len(b)) > max:
		return nil, fmt.Errorf("%s answered with more than %d KiB", where.String(), max>>10)
	case json.Unmarshal(b, v) != nil:
		return nil, fmt.Errorf("%s answered with something that is not the JSON expected (Content-Type %q)", where.String(), resp.Header.Get("Content-Type"))
	}
	return resp, nil
}
