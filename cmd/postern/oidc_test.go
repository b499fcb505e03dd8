//go:build linux

package main_test

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

const (
	jwtResource         = "api://postern"
	opaqueResource      = "urn:opaque:postern"
	introspectionSecret = "canary-introspection-61c8" // as in testdata/oidc/server.mjs
)

// authServer is the npm package oidc-provider, an authorization server
// certified for OpenID Connect.
type authServer struct {
	t       testing.TB
	dir     string
	address string
	log     *logbook
	cmd     *exec.Cmd
	ended   chan struct{} // closed when it has
	tokens  []string      // all that were issued

	certificate string // of the client "signer", if it is needed
}

// startAuthServer runs one that signs with a key called kid.
func startAuthServer(t testing.TB, kid string) *authServer {
	t.Helper()
	return startAuthServerFor(t, kid, "")
}

// startAuthServerFor runs one that knows the certificate of the client "signer".
func startAuthServerFor(t testing.TB, kid, certificate string) *authServer {
	t.Helper()
	needs(t, "node", "oidc-provider")
	s := &authServer{t: t, dir: workDir(t), address: freeAddress(t), log: new(logbook), certificate: certificate}
	s.start(kid)
	t.Cleanup(func() {
		s.stop()
		if t.Failed() {
			t.Logf("the authorization server said:\n%s", s.log)
		}
	})
	return s
}

func (s *authServer) issuer() string { return "http://" + s.address }

// start runs the server with a new key, the only one it has.
func (s *authServer) start(kid string) {
	s.t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		s.t.Fatal(err)
	}
	jwks, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key, KeyID: kid, Algorithm: "RS256", Use: "sig"}}})
	if err != nil {
		s.t.Fatal(err)
	}
	file := filepath.Join(s.dir, kid+".json")
	writeFile(s.t, file, string(jwks))
	_, port, _ := net.SplitHostPort(s.address)
	s.cmd = exec.Command("node", "testdata/oidc/server.mjs", port, file, s.certificate)
	s.cmd.Stdout, s.cmd.Stderr = s.log, s.log
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	ended := make(chan struct{})
	go func(cmd *exec.Cmd) { cmd.Wait(); close(ended) }(s.cmd)
	s.ended = ended
	await(s.t, "the authorization server to listen", func() bool {
		select {
		case <-ended:
			s.t.Fatalf("the authorization server has ended:\n%s", s.log)
		default:
		}
		return listening(s.address)
	})
}

// stop ends the server; to be stopped already is well.
func (s *authServer) stop() {
	if s.cmd != nil {
		s.cmd.Process.Kill()
		<-s.ended
		s.cmd = nil
	}
}

// rotate gives the server another key.
func (s *authServer) rotate(kid string) {
	s.t.Helper()
	s.stop()
	s.start(kid)
}

// token gets one by the client credentials grant (RFC 6749, section 4.4).
func (s *authServer) token(client, resource, scope string) string {
	s.t.Helper()
	form := url.Values{"grant_type": {"client_credentials"}, "resource": {resource}, "scope": {scope}}
	req, err := http.NewRequest(http.MethodPost, s.issuer()+"/token", strings.NewReader(form.Encode()))
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.SetBasicAuth(client, client+"-secret")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	var answer struct {
		Token string `json:"access_token"`
		Error string `json:"error_description"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil || answer.Token == "" {
		s.t.Fatalf("no token: %s, %v, %s", resp.Status, err, answer.Error)
	}
	s.tokens = append(s.tokens, answer.Token)
	return answer.Token
}

// sections make a relay take the server's tokens: JWTs, and others by
// introspection. The account lists the client "erp" and, by its name, "brief".
func (s *authServer) sections(t testing.TB) sections {
	return sections{
		"auth": fmt.Sprintf(`
  mechanisms: [PLAIN, XOAUTH2, OAUTHBEARER]
  issuers:
    - {issuer: "%[1]s", audience: "%[2]s", scopes: [smtp.send], clock_skew: 1ms}
    - {introspection_url: "%[1]s/token/introspection", client_id: postern, client_secret: %[3]s, audience: "%[4]s", scopes: [smtp.send]}`,
			s.issuer(), jwtResource, introspectionSecret, opaqueResource),
		"accounts": fmt.Sprintf(`
  - name: %s
    aliases: [brief]
    password_hash: "%s"
    subjects: [{issuer: "%[3]s", subject: erp}, {issuer: "%[3]s/token/introspection", subject: erp}]
    senders: ["@example.com"]`, user, needHash(t), s.issuer()),
	}
}

// mustHideTokens fails the test when the relay's log shows a token or the
// secret for introspection.
func (s *authServer) mustHideTokens(r *relay) {
	s.t.Helper()
	for _, secret := range append(s.tokens, introspectionSecret) {
		if r.log.contains(secret) || r.log.contains(base64.StdEncoding.EncodeToString([]byte(secret))) {
			s.t.Error("the relay's log shows a token, or the secret for introspection")
		}
	}
}

// expiry is when a JWT expires.
func expiry(t testing.TB, token string) time.Time {
	t.Helper()
	var c struct{ Exp int64 }
	b, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[1])
	if err == nil {
		err = json.Unmarshal(b, &c)
	}
	if err != nil {
		t.Fatal(err)
	}
	return time.Unix(c.Exp, 0)
}
