package preset

import (
	"net"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestEveryPresetIsSound reads every file, in every cloud.
func TestEveryPresetIsSound(t *testing.T) {
	for _, name := range Names() {
		t.Run(name, func(t *testing.T) {
			p, err := Find(name, "", "")
			if err != nil {
				t.Fatal(err)
			}
			soundPreset(t, p)
			for cloud := range p.Clouds {
				in, err := Find(name, cloud, "")
				if err != nil {
					t.Fatalf("cloud %s: %v", cloud, err)
				}
				soundPreset(t, in)
				if in.Address == p.Address && in.API == p.API {
					t.Errorf("cloud %s has the servers of the worldwide one", cloud)
				}
			}
		})
	}
}

var sentence = regexp.MustCompile(`^[A-Z][^\n]*[.)]$`)

func soundPreset(t *testing.T, p *Preset) {
	t.Helper()
	if !sentence.MatchString(p.About) {
		t.Errorf("about is not a sentence: %q", p.About)
	}
	for _, note := range p.Notes {
		if !strings.HasSuffix(note, ".") {
			t.Errorf("a note that is not a sentence: %q", note)
		}
	}
	oneOf(t, "transport", p.Transport, SMTP, Graph, Gmail, Capture)
	oneOf(t, "null_sender", p.NullSender, "", Passes, Refused)
	oneOf(t, "content", p.Content, "", "kept", "rebuilt")
	oneOf(t, "password_from", p.PasswordFrom, "", IAM)
	for _, m := range p.Mechanisms {
		oneOf(t, "mechanisms", m, "PLAIN", "LOGIN", "XOAUTH2", "OAUTHBEARER")
	}
	for _, r := range p.Rewrites {
		oneOf(t, "rewrites", r, "from", "message-id", "date", "return-path")
	}
	if p.PasswordsEnd != "" {
		if _, err := time.Parse(time.DateOnly, p.PasswordsEnd); err != nil {
			t.Errorf("passwords_end: %v", err)
		}
	}
	for _, url := range []string{p.API, p.OAuth.TokenURL, p.OAuth.AuthorizeURL, p.OAuth.DeviceURL} {
		if url != "" && !strings.HasPrefix(url, "https://") {
			t.Errorf("%s is not safe to ask", url)
		}
	}
	switch p.Transport {
	case SMTP:
		soundServer(t, p)
	case Graph, Gmail:
		if p.API == "" || p.OAuth.TokenURL == "" || p.Username != UserMailbox {
			t.Errorf("an API needs its address, tokens and a mailbox")
		}
	}
	soundRules(t, p)
}

// soundServer checks addresses. RFC 8314, section 3.3 has 465 for implicit TLS.
func soundServer(t *testing.T, p *Preset) {
	t.Helper()
	if p.Username == "" {
		t.Error("username is missing")
	}
	all := append([]Alternative{{Address: p.Address, TLS: p.TLS}}, p.Alternatives...)
	if p.Address == "" {
		all = append(all[1:], Alternative{Address: p.Example, TLS: p.TLS})
	}
	for _, a := range all {
		_, port, err := net.SplitHostPort(a.Address)
		if err != nil {
			t.Errorf("%v", err)
		}
		if implicit := port == "465" || port == "2465"; implicit != (a.TLS == "implicit") || !implicit && a.TLS != "starttls" {
			t.Errorf("%s with tls %q", a.Address, a.TLS)
		}
	}
	if strings.Contains(p.Address, "{region}") != (p.Region != "") {
		t.Errorf("%s, and region: %q", p.Address, p.Region)
	}
}

// soundRules finds rules that are wrong, or never reached as one before them
// fits whatever they do.
func soundRules(t *testing.T, p *Preset) {
	t.Helper()
	for i, r := range p.Replies {
		r.Check(func(key, format string, args ...any) {
			t.Errorf("replies[%d] (%v): %s: "+format, append([]any{i, r, key}, args...)...)
		})
		if r.Meaning == "" {
			t.Errorf("replies[%d] (%v) does not say what it means", i, r)
		}
		for _, before := range p.Replies[:i] {
			if covers(before.At, r.At) && covers(before.Code, r.Code) && covers(before.Enhanced, r.Enhanced) && covers(before.Text, r.Text) {
				t.Errorf("replies[%d] (%v) is never reached: %v", i, r, before)
			}
		}
	}
}

// covers tells whether what fits the narrow words fits the wide ones.
func covers(wide, narrow Words) bool {
	return len(wide) == 0 || len(narrow) > 0 && !slices.ContainsFunc(narrow, func(n string) bool {
		return !slices.ContainsFunc(wide, func(w string) bool {
			return w == n || strings.HasSuffix(w, "xx") && w[0] == n[0] && len(n) == 3
		})
	})
}

func oneOf(t *testing.T, key, value string, allowed ...string) {
	t.Helper()
	if !slices.Contains(allowed, value) {
		t.Errorf("%s: %q is none of %q", key, value, allowed)
	}
}

func TestEveryProviderIsThere(t *testing.T) {
	want := strings.Fields(`azure brevo capture cloudflare fastmail gmail gmail-api icloud mailgun mailjet mailtrap microsoft365
		microsoft365-connector microsoft365-graph microsoft365-hve outlook postmark resend sendgrid ses smtp2go socketlabs sparkpost
		workspace-relay yahoo zeptomail zoho`)
	if got := Names(); !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

func TestTheRulesForEverybodyAreSound(t *testing.T) {
	p, err := Find("", "", "")
	if err != nil || len(p.generic) == 0 {
		t.Fatalf("%d rules, %v", len(p.generic), err)
	}
	soundRules(t, &Preset{Replies: p.generic})
}

func TestStrangeKeysOfAFileAreRefused(t *testing.T) {
	for _, text := range []string{"abuot: typo", "limits: {conections: 2}", "replies: [{cod: 550}]", "about: a\nabout: b"} {
		if err := strictly([]byte(text), &Preset{}); err == nil {
			t.Errorf("%q was read", text)
		}
	}
}
