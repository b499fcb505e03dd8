package oauth

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"golang.org/x/oauth2"
)

// Visit is a person's way through the provider's pages, and back with a code (RFC
// 6749, section 4.1, with PKCE, RFC 7636).
type Visit struct {
	// URL is the page to visit.
	URL string

	login    *Login
	redirect string
	state    string
	verifier string
	listener net.Listener // nil: the address is only pasted
}

// Visit begins one. Unless paste is set, and where the redirect leads to this
// machine, it listens there for the browser (RFC 8252, section 7.3).
func (l *Login) Visit(paste bool) (*Visit, error) {
	v := &Visit{login: l, redirect: l.t.redirect(), state: rand.Text(), verifier: oauth2.GenerateVerifier()}
	if u, err := url.Parse(v.redirect); err == nil && !paste && u.Scheme == "http" && isLoopback(u.Hostname()) {
		if err := v.listen(u); err != nil {
			return nil, err
		}
	}
	config := oauth2.Config{ClientID: l.t.ClientID, RedirectURL: v.redirect, Scopes: l.t.scopes(),
		Endpoint: oauth2.Endpoint{AuthURL: l.t.authorizeURL()}}
	options := []oauth2.AuthCodeOption{oauth2.S256ChallengeOption(v.verifier)}
	for name, value := range l.t.Provider.AuthorizeParams {
		options = append(options, oauth2.SetAuthURLParam(name, value))
	}
	v.URL = config.AuthCodeURL(v.state, options...)
	return v, nil
}

// listen opens the port of the redirect, or a free one that it gets.
func (v *Visit) listen(u *url.URL) (err error) {
	host := u.Hostname()
	if strings.EqualFold(host, "localhost") {
		host = "127.0.0.1"
	}
	port := u.Port()
	if port == "" {
		port = "0"
	}
	if v.listener, err = net.Listen("tcp", net.JoinHostPort(host, port)); err != nil {
		return fmt.Errorf("%w; end what listens there, or use --paste", err)
	}
	_, port, err = net.SplitHostPort(v.listener.Addr().String())
	u.Host = net.JoinHostPort(u.Hostname(), port)
	v.redirect = u.String()
	return err
}

// Listens tells whether a browser of this machine comes back by itself.
func (v *Visit) Listens() bool { return v.listener != nil }

// Close ends the listening.
func (v *Visit) Close() {
	if v.listener != nil {
		v.listener.Close()
	}
}

// Arrival waits for the browser, and returns the address it came back with: only
// one whose state is ours counts. The error is that of ctx, or that nobody
// listens.
func (v *Visit) Arrival(ctx context.Context) (address string, err error) {
	if v.listener == nil {
		<-ctx.Done()
		return "", ctx.Err()
	}
	came := make(chan string, 1)
	server := http.Server{ReadHeaderTimeout: 10 * time.Second, MaxHeaderBytes: 64 << 10,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) { v.greet(w, q, came) })}
	go server.Serve(v.listener)
	defer server.Shutdown(context.WithoutCancel(ctx)) // the browser reads our answer first
	select {
	case address = <-came:
		return address, nil
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

// greet answers a browser, and lets those go by that are not about this visit.
func (v *Visit) greet(w http.ResponseWriter, q *http.Request, came chan<- string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Connection", "close")
	if !v.sameState(q.URL.Query().Get("state")) {
		http.Error(w, "This is where a login of Postern ends; nothing is known of yours.", http.StatusNotFound)
		return
	}
	fmt.Fprintln(w, "Thank you. The rest is said in the terminal; this page may be closed.")
	select {
	case came <- q.URL.String():
	default: // the browser came twice
	}
}

func (v *Visit) sameState(s string) bool {
	return subtle.ConstantTimeCompare([]byte(s), []byte(v.state)) == 1
}

// maxAddress bounds what is pasted, in octets.
const maxAddress = 16 << 10

// Code finds the code in the address that the browser came back with, as it came
// or as it was pasted (RFC 6749, section 4.1.2). Errors repeat nothing of it but
// the provider's own words.
func (v *Visit) Code(address string) (code string, err error) {
	address = strings.TrimSpace(address)
	u, err := url.Parse(address)
	if err != nil || len(address) > maxAddress {
		return "", errors.New("that is not an address; paste the whole one from the browser's address bar")
	}
	query := u.Query()
	state, no := query.Get("state"), query.Get("error")
	switch code = query.Get("code"); {
	case code == "" && no == "":
		return "", errors.New("there is no code in it; paste the whole address to which the browser was sent at the end, though it shows an error page")
	case !v.sameState(state):
		return "", errors.New("it is not about this login, but an earlier one or somebody else's: begin anew, and visit the address shown here")
	case no != "":
		refused := &refusal{status: http.StatusBadRequest, code: no, text: query.Get("error_description")}
		return "", v.login.t.explain(hostOf(v.login.t.authorizeURL()), response{}, refused, nil)
	case !wellFormed(code):
		return "", errors.New("the code in it has characters that no code has; paste the address again")
	}
	return code, nil
}

// Redeem makes a refresh token of a code.
func (v *Visit) Redeem(ctx context.Context, code string) (refreshToken string, err error) {
	a, fault := v.login.t.ask(ctx, url.Values{"grant_type": {AuthorizationCode}, "code": {code},
		"redirect_uri": {v.redirect}, "code_verifier": {v.verifier}})
	if fault != nil {
		return "", explained(fault)
	}
	return v.login.consented(a)
}
