//go:build linux

package main_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
)

func TestFaultsBySMTP(t *testing.T) {
	s := startSim(t, "1m", "")
	login := map[string]any{"mechanism": "LOGIN", "user": "relay@example.com", "secret": "sim-mailbox-5ac1e7"}
	send := func() (string, error) {
		r, err := s.python("smtp", s.letter("microsoft-smtp", login))
		return r.transcript(), err
	}
	for _, c := range []struct {
		fault string
		want  string // of the transcript
		kept  int    // messages
		fails bool   // the client sees a broken connection
	}{
		{`{"name":"432","times":1}`, "end 432 4.3.2", 0, false},
		{`{"name":"430","times":1}`, "end 430 4.2.0 STOREDRV; mailbox logon failure", 0, false},
		{`{"name":"535-5.7.139-tenant","times":1}`, "auth 535 5.7.139", 0, false},
		{`{"name":"451-4.7.500","times":1}`, "mail 451 4.7.500", 0, false},
		{`{"name":"421-4.3.2","times":1}`, "", 0, true},
		{`{"where":"microsoft-smtp","at":"rcpt","reply":"550 5.1.10 RESOLVER.ADR.RecipientNotFound","times":1}`, "rcpt 550 5.1.10", 0, false},
		{`{"name":"cut-after-dot","times":1}`, "rcpt 250", 1, true},
		{`{"where":"microsoft-smtp","at":"end","cut":{"octets":0},"times":1}`, "rcpt 250", 0, true},
		{`{"name":"truncated-tls","times":1}`, "ehlo 250", 0, true},
		{`{"where":"microsoft-smtp","cut":{"octets":20},"times":1}`, "", 0, true},
		{`{"where":"microsoft-smtp","cut":{"octets":10,"from":"client"},"times":1}`, "", 0, true},
		{`{"where":"microsoft-smtp","down":true,"times":1}`, "", 0, true},
		{`{"name":"432","times":1,"after":1}`, "end 250", 1, false},
	} {
		t.Run(c.fault, func(t *testing.T) {
			s.control("POST", "/reset", "", nil)
			s.control("POST", "/faults", c.fault, nil)
			said, err := send()
			if (err != nil) != c.fails {
				t.Errorf("the client ended with %v", err)
			}
			must(t, said, c.want)
			if n := len(s.messages()); n != c.kept {
				t.Errorf("%d messages were kept, want %d", n, c.kept)
			}
			s.control("DELETE", "/faults", "", nil)
			if said, err := send(); err != nil || !strings.Contains(said, "end 250") {
				t.Errorf("afterwards: %v\n%s", err, said)
			}
		})
	}
}

func TestFaultsByHTTP(t *testing.T) {
	s := startSim(t, "1m", "")
	token := s.appToken(graphTenant, graphApp, "sim-secret-for-graph", graphDefault)
	send := func() answer {
		return s.graph("POST", "relay@graph.example/sendMail", token, "text/plain", mime(letter))
	}
	ask := func() answer {
		return s.microsoft(tenant, "token", url.Values{"grant_type": {"client_credentials"}, "client_id": {gateway}, "client_secret": {secret}, "scope": {exchange}})
	}
	for _, c := range []struct {
		fault  string
		do     func() answer
		status int
		want   string
		kept   int
	}{
		{`{"name":"graph-429","times":1}`, send, 429, "ApplicationThrottled", 0},
		{`{"name":"graph-504-sent","times":1}`, send, 504, "UnknownError", 1},
		{`{"name":"graph-504","times":1}`, send, 504, "UnknownError", 0},
		{`{"name":"graph-200","times":1}`, send, 200, "", 0},
		{`{"name":"graph-202-retry-after","times":1}`, send, 202, "", 1},
		{`{"name":"graph-redirect","times":1}`, send, 307, "", 0},
		{`{"name":"token-html","times":1}`, ask, 200, "<html>", 0},
		{`{"name":"token-500","times":1}`, ask, 500, "Internal Server Error", 0},
		{`{"name":"token-empty","times":1}`, ask, 200, `"access_token":""`, 0},
		{`{"name":"expires-in-string","times":1}`, ask, 200, `"expires_in":"3599"`, 0},
		{`{"name":"expires-in-negative","times":1}`, ask, 200, `"expires_in":-1`, 0},
		{`{"name":"secret-expired","times":1}`, ask, 401, "AADSTS7000222", 0},
	} {
		t.Run(c.fault, func(t *testing.T) {
			s.control("POST", "/reset", "", nil)
			s.control("POST", "/faults", c.fault, nil)
			a := c.do()
			if a.Status != c.status {
				t.Errorf("status %d, want %d", a.Status, c.status)
			}
			must(t, a.Body, c.want)
			if n := len(s.messages()); n != c.kept {
				t.Errorf("%d messages were kept, want %d", n, c.kept)
			}
			if a := c.do(); a.Status != 200 && a.Status != 202 {
				t.Errorf("afterwards: %d %s", a.Status, a.Body)
			}
		})
	}
	if a := send(); a.Status != 202 {
		t.Errorf("%d %s", a.Status, a.Body)
	}
	for _, fault := range []string{`{"name":"token-down"}`, `{"where":"microsoft-login","at":"token","cut":{"octets":0}}`, `{"where":"microsoft-login","at":"token","cut":{"octets":100}}`} {
		s.control("POST", "/faults", fault, nil)
		args := map[string]any{"method": "POST", "url": "https://" + s.address["microsoft-login"] + "/" + tenant + "/oauth2/v2.0/token", "body": "grant_type=client_credentials"}
		if r, err := s.python("http", args); err == nil {
			t.Errorf("%s: the client got %+v", fault, r)
		}
		s.control("DELETE", "/faults", "", nil)
	}
}

func TestAHangLastsAsLongAsTheClient(t *testing.T) {
	s := startSim(t, "1m", "")
	s.control("POST", "/faults", `{"name":"graph-hang-sent","times":1}`, nil)
	token := s.appToken(graphTenant, graphApp, "sim-secret-for-graph", graphDefault)
	done := s.leave("http", map[string]any{"method": "POST", "url": "https://" + s.address["graph"] + "/v1.0/users/relay@graph.example/sendMail",
		"headers": map[string]string{"Authorization": "Bearer " + token, "Content-Type": "text/plain"}, "body": mime(letter)})
	await(t, "the message to be sent", func() bool { return len(s.messages()) == 1 })
	s.appToken(graphTenant, graphApp, "sim-secret-for-graph", graphDefault) // others are served meanwhile
	select {
	case err := <-done:
		t.Errorf("the client was answered: %v", err)
	default:
	}
}

func TestUnknownFaultsAreRefused(t *testing.T) {
	s := startSim(t, "1m", "")
	for body, want := range map[string]string{
		`{"name":"nonsense"}`:                           "no fault is called",
		`{"where":"elsewhere","hang":true}`:             "where is",
		`{"where":"graph"}`:                             "nothing goes wrong",
		`{"where":"graph","hang":true,"nonsense":true}`: "nonsense",
		`{"where":"graph","cut":{"from":"nobody"}}`:     "cut.from",
	} {
		resp, err := http.Post("http://"+s.address["control"]+"/faults", "application/json", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		text := make([]byte, 1000)
		n, _ := resp.Body.Read(text)
		resp.Body.Close()
		if resp.StatusCode != 400 || !strings.Contains(string(text[:n]), want) {
			t.Errorf("%s: %s %s, want %q", body, resp.Status, text[:n], want)
		}
	}
	var known map[string]map[string]any
	s.control("GET", "/faults/known", "", &known)
	for name := range known {
		s.control("POST", "/faults", `{"name":"`+name+`"}`, nil)
	}
}
