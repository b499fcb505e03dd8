//go:build linux

package main_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// graph makes a request for a mailbox.
func (s *sim) graph(method, path, token, kind, body string) answer {
	s.t.Helper()
	headers := map[string]string{"Content-Type": kind}
	if token != "" {
		headers["Authorization"] = "Bearer " + token
	}
	return s.http(method, "https://"+s.address["graph"]+"/v1.0/users/"+path, headers, body)
}

func mime(text string) string { return base64.StdEncoding.EncodeToString([]byte(text)) }

const letter = "From: relay@graph.example\r\nTo: a@example.org\r\nCc: b@example.org\r\nBcc: c@example.org\r\nSubject: a\r\n\r\nHello.\r\n"

func TestGraphSendMail(t *testing.T) {
	s := startSim(t, "1m", "")
	token := s.appToken(graphTenant, graphApp, "sim-secret-for-graph", graphDefault)
	a := s.graph("POST", "relay@graph.example/sendMail", token, "text/plain", mime(letter))
	if a.Status != 202 || a.Body != "" {
		t.Fatalf("%d %s, want 202 and nothing", a.Status, a.Body)
	}
	m := s.messages()[0]
	if !slices.Equal(m.To, []string{"a@example.org", "b@example.org", "c@example.org"}) || !m.SentItems {
		t.Errorf("sent as %+v", m)
	}
	if strings.Contains(s.content(m.ID), "Bcc") {
		t.Error("Bcc was sent on")
	}
	for _, c := range []struct {
		does, path, token, kind, body string
		status                        int
		want                          string
	}{
		{"wants a token", "relay@graph.example/sendMail", "", "text/plain", mime(letter), 401, "InvalidAuthenticationToken"},
		{"wants a token for Graph", "relay@graph.example/sendMail", s.appToken(graphTenant, graphApp, "sim-secret-for-graph", exchange), "text/plain", mime(letter), 401, "InvalidAuthenticationToken"},
		{"wants Mail.Send", "relay@example.com/sendMail", s.appToken(tenant, rightless, "sim-secret-without-rights", graphDefault), "text/plain", mime(letter), 403, "ErrorAccessDenied"},
		{"knows its mailboxes", "gone@graph.example/sendMail", token, "text/plain", mime(letter), 404, "ErrorInvalidUser"},
		{"knows only its tenant", "relay@example.com/sendMail", token, "text/plain", mime(letter), 404, "ErrorInvalidUser"},
		{"wants base64", "relay@graph.example/sendMail", token, "text/plain", letter, 400, "Invalid base64 string for MIME content."},
		{"wants recipients", "relay@graph.example/sendMail", token, "text/plain", mime("From: relay@graph.example\r\n\r\na\r\n"), 400, "ErrorInvalidRecipients"},
		{"denies another From", "relay@graph.example/sendMail", token, "text/plain", mime(strings.ReplaceAll(letter, "relay@", "boss@")), 403, "ErrorSendAsDenied"},
		{"takes 4 MB", "relay@graph.example/sendMail", token, "text/plain", mime(letter + strings.Repeat("0123456789abcdef", 200_000)), 413, "The maximum request length supported is 4MB."},
		{"shows a profile to whom may see it", "relay@graph.example", token, "GET", "", 403, "Authorization_RequestDenied"},
	} {
		t.Run(c.does, func(t *testing.T) {
			method := "POST"
			if c.kind == "GET" {
				method = "GET"
			}
			a := s.graph(method, c.path, c.token, c.kind, c.body)
			if a.Status != c.status {
				t.Errorf("status %d, want %d", a.Status, c.status)
			}
			must(t, a.Body, `{"error":`, c.want)
		})
	}
	if n := len(s.messages()); n != 1 {
		t.Errorf("%d messages were sent, want 1", n)
	}
}

func TestGraphDraft(t *testing.T) {
	s := startSim(t, "1m", "")
	token := s.appToken(graphTenant, graphApp, "sim-secret-for-graph", graphDefault)
	do := func(method, path, body string) answer {
		t.Helper()
		return s.graph(method, "relay@graph.example/messages"+path, token, "application/json", body)
	}
	draft := `{"subject":"scan","body":{"contentType":"text","content":"Hello."},"from":{"emailAddress":{"address":"relay@graph.example"}},` +
		`"toRecipients":[{"emailAddress":{"address":"a@example.org"}}],"bccRecipients":[{"emailAddress":{"address":"b@example.org"}}],"internetMessageHeaders":[%s]}`
	must(t, do("POST", "", fmt.Sprintf(draft, `{"name":"References","value":"<a@b>"}`)).Body, "InvalidInternetMessageHeader")
	must(t, do("POST", "", fmt.Sprintf(draft, strings.Repeat(`{"name":"x-a","value":"1"},`, 5)+`{"name":"x-a","value":"1"}`)).Body, "InvalidInternetMessageHeaderCollection")
	id := do("POST", "", fmt.Sprintf(draft, `{"name":"x-a","value":"1"}`)).json(t)["id"].(string)
	scan := strings.Repeat("0123456789abcdef", 300_000) // 4.8 MB
	session := do("POST", "/"+id+"/attachments/createUploadSession", fmt.Sprintf(`{"AttachmentItem":{"attachmentType":"file","name":"scan.pdf","contentType":"application/pdf","size":%d}}`, len(scan)))
	to := session.json(t)["uploadUrl"].(string)
	must(t, do("POST", "/"+id+"/send", "").Body, "ErrorInvalidAttachment")
	put := func(from, until int) answer {
		t.Helper()
		return s.http("PUT", to, map[string]string{"Content-Type": "application/octet-stream", "Content-Range": fmt.Sprintf("bytes %d-%d/%d", from, until-1, len(scan))}, scan[from:until])
	}
	half := 3 << 20
	must(t, put(half, len(scan)).Body, "InvalidRange")
	must(t, put(0, half).Body, fmt.Sprintf(`{"nextExpectedRanges":["%d-"]}`, half))
	if a := put(half, len(scan)); a.Status != 201 {
		t.Fatalf("the end of the upload: %d %s", a.Status, a.Body)
	}
	if a := do("POST", "/"+id+"/send", ""); a.Status != 202 {
		t.Fatalf("send: %d %s", a.Status, a.Body)
	}
	m := s.messages()[0]
	if slices.Sort(m.To); !slices.Equal(m.To, []string{"a@example.org", "b@example.org"}) {
		t.Errorf("sent to %v", m.To)
	}
	must(t, s.content(m.ID), "x-a: 1", `filename="scan.pdf"`, base64.StdEncoding.EncodeToString([]byte(scan[:300])))
	must(t, do("POST", "/"+id+"/send", "").Body, "ErrorItemNotFound")

	other := do("POST", "", fmt.Sprintf(draft, "")).json(t)["id"].(string)
	if a := do("DELETE", "/"+other, ""); a.Status != 204 {
		t.Errorf("delete: %d %s", a.Status, a.Body)
	}
	var stats struct{ Counts map[string]int }
	s.control("GET", "/stats", "", &stats)
	if n := stats.Counts["drafts left"]; n != 0 {
		t.Errorf("%d drafts are left", n)
	}
}

func TestGraphLimits(t *testing.T) {
	s := startSim(t, "10s", "microsoft: {limits: {graph_requests: 2, graph_concurrency: 1}}")
	token := s.appToken(graphTenant, graphApp, "sim-secret-for-graph", graphDefault)
	send := func() answer {
		t.Helper()
		return s.graph("POST", "relay@graph.example/sendMail", token, "text/plain", mime(letter))
	}
	send()
	send()
	a := send()
	if a.Status != 429 || a.Headers["Retry-After"] == "" {
		t.Errorf("the third request: %d, Retry-After %q", a.Status, a.Headers["Retry-After"])
	}
	must(t, a.Body, "ApplicationThrottled")
}

func TestGmailAPI(t *testing.T) {
	s := startSim(t, "1m", "google: {limits: {quota_units: 300, recipients_per_message: 3, upload: 100000}}")
	token := s.serviceToken("relay@workspace.example", "https://www.googleapis.com/auth/gmail.send")
	base := "https://" + s.address["gmail-api"]
	upload := func(token, text string) answer {
		t.Helper()
		return s.http("POST", base+"/upload/gmail/v1/users/me/messages/send?uploadType=media", map[string]string{"Authorization": "Bearer " + token, "Content-Type": "message/rfc822"}, text)
	}
	raw := func(text string) answer {
		t.Helper()
		body, _ := json.Marshal(map[string]string{"raw": base64.URLEncoding.EncodeToString([]byte(text))})
		return s.http("POST", base+"/gmail/v1/users/me/messages/send", map[string]string{"Authorization": "Bearer " + token, "Content-Type": "application/json"}, string(body))
	}
	if a := upload(token, letter); a.Status != 200 || a.json(t)["id"] == "" {
		t.Fatalf("media upload: %d %s", a.Status, a.Body)
	}
	if a := raw(strings.ReplaceAll(letter, "relay@graph.example", "scan@workspace.example")); a.Status != 200 {
		t.Fatalf("raw: %d %s", a.Status, a.Body)
	}
	list := s.messages()
	for _, m := range list {
		if !slices.Equal(m.To, []string{"a@example.org", "b@example.org", "c@example.org"}) || strings.Contains(s.content(m.ID), "\r\nBcc:") {
			t.Errorf("sent as %+v", m)
		}
	}
	must(t, list[0].HeaderFrom, "relay@workspace.example")
	must(t, list[1].HeaderFrom, "scan@workspace.example")
	must(t, upload("ya29.bad", letter).Body, "UNAUTHENTICATED")
	must(t, upload(token, strings.Repeat("x", 200_000)).Body, "Request is too large")
	profile := s.http("GET", base+"/gmail/v1/users/me/profile", map[string]string{"Authorization": "Bearer " + token}, "")
	must(t, profile.Body, "insufficientPermissions")
	a := upload(token, letter)
	if a.Status != 429 || a.Headers["Retry-After"] == "" {
		t.Errorf("beyond the quota: %d, Retry-After %q", a.Status, a.Headers["Retry-After"])
	}
	must(t, a.Body, "rateLimitExceeded")
	s.control("POST", "/reset", "", nil)
	must(t, upload(token, "From: relay@workspace.example\r\n\r\na\r\n").Body, "Recipient address required")
	must(t, upload(token, "From: relay@workspace.example\r\nTo: a@x.example, b@x.example, c@x.example, d@x.example\r\n\r\na\r\n").Body, "Too many recipients")
}
