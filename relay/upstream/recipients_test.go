package upstream_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"io"
	"maps"
	"mime/quotedprintable"
	"net/http"
	"net/http/httptest"
	netmail "net/mail"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"postern/relay/message"
	"postern/relay/setting"
	"postern/relay/upstream"
	"postern/relay/upstream/transport"
	"postern/rewrite"
)

// arrived is a message as a provider got it, and whom it goes to.
type arrived struct {
	to      []string
	content []byte
}

// api is a provider whose recipients are those of the header: Microsoft Graph and
// the Gmail API at one address.
type api struct {
	*httptest.Server
	mu   sync.Mutex
	last *arrived
}

func newAPI(t *testing.T) *api {
	a := &api{}
	a.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		content, err := io.ReadAll(r.Body)
		if graph := strings.HasSuffix(r.URL.Path, "/sendMail"); graph && err == nil {
			content, err = base64.StdEncoding.DecodeString(string(content))
			defer w.WriteHeader(202)
		} else {
			defer io.WriteString(w, `{"id":"1"}`)
		}
		if err != nil {
			t.Error(err)
		}
		a.mu.Lock()
		defer a.mu.Unlock()
		a.last = &arrived{named(t, content), content}
	}))
	t.Cleanup(a.Close)
	return a
}

// named are the addresses in To, Cc and Bcc.
func named(t *testing.T, content []byte) []string {
	m, err := netmail.ReadMessage(bytes.NewReader(content))
	if err != nil {
		t.Error(err)
		return nil
	}
	var all []string
	for _, name := range []string{"To", "Cc", "Bcc"} {
		for _, value := range m.Header[name] {
			if value == "" || strings.HasSuffix(value, ":;") && !strings.Contains(value, "@") {
				continue
			}
			list, err := netmail.ParseAddressList(value)
			if err != nil {
				t.Errorf("%q: %v", value, err)
			}
			for _, a := range list {
				local, domain, _ := strings.Cut(a.Address, "@")
				all = append(all, message.Address{Local: local, Domain: domain}.String())
			}
		}
	}
	return all
}

func (a *api) take(t *rapid.T) arrived {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.last == nil {
		t.Fatal("nothing arrived")
	}
	got := *a.last
	a.last = nil
	return got
}

type anyToken struct{}

func (*anyToken) Token(context.Context) (string, error) { return "t", nil }
func (*anyToken) Reject(string)                         {}

// set folds addresses that mean one mailbox.
func set(addresses []string) map[string]bool {
	all := map[string]bool{}
	for _, a := range addresses {
		all[strings.ToLower(a)] = true
	}
	return all
}

// TestExactlyTheAcceptedRecipients sends any message to any recipients by every
// transport, dressed for it. Whoever the provider delivers to, by the envelope or
// by the header, are those who were accepted; and what they read is what was sent.
func TestExactlyTheAcceptedRecipients(t *testing.T) {
	smarthostServer, web := newServer(t), newAPI(t)
	o, _ := options(t)
	o.Tokens = map[string]transport.Tokens{"graph": &anyToken{}, "gmail": &anyToken{}}
	smart := smarthost(t, smarthostServer.listen(t))
	smart.Name = "smtp"
	much := upstream.Limits{Messages: setting.Rate{Count: 1_000_000, Per: time.Second}, Recipients: setting.Rate{Count: 1_000_000, Per: time.Second}}
	s := newSet(t, route(smart, upstream.Upstream{Name: "capture", Preset: "capture"},
		upstream.Upstream{Name: "graph", Preset: "microsoft365-graph", Address: web.URL, Mailbox: address("relay@example.com"), Limits: much},
		upstream.Upstream{Name: "gmail", Preset: "gmail-api", Address: web.URL, Mailbox: address("relay@example.com"), Limits: much}), o)
	get := map[string]func(*rapid.T) arrived{"graph": web.take, "gmail": web.take,
		"smtp": func(t *rapid.T) arrived {
			mails := smarthostServer.got()
			if len(mails) == 0 {
				t.Fatal("nothing arrived")
			}
			last := mails[len(mails)-1]
			var to []string
			for _, line := range last.to {
				_, rest, _ := strings.Cut(line, "<")
				a, _, _ := strings.Cut(rest, ">")
				to = append(to, a)
			}
			return arrived{to, last.content}
		},
		"capture": func(t *rapid.T) arrived { return captured(t, o.DataDir) },
	}
	rapid.Check(t, func(t *rapid.T) {
		m, body := anyMessage(t)
		var want []string
		for _, r := range m.To {
			want = append(want, r.Address.String())
		}
		for _, name := range slices.Sorted(maps.Keys(get)) {
			through(t, s, name, m)
			got := get[name](t)
			if !maps.Equal(set(got.to), set(want)) {
				t.Fatalf("by %s it goes to %q instead of %q:\n%s", name, got.to, want, got.content)
			}
			if read := decoded(t, got.content); strings.TrimRight(read, "\r\n") != strings.TrimRight(body, "\r\n") {
				t.Fatalf("by %s it reads %q instead of %q", name, read, body)
			}
		}
	})
}

// through sends m by one upstream, dressed for it.
func through(t *rapid.T, s *upstream.Set, name string, m *message.Message) {
	slot := s.TrySlot(message.PinnedLane(name))
	if slot == nil {
		t.Fatalf("no slot of %s", name)
	}
	defer slot.Release()
	d := rewrite.NewDressing(name, rewrite.Upstream{})
	results, err := slot.Send(context.Background(), m, func(o transport.Offer) (*message.Message, error) {
		dressed, _, err := d.Dress(m, rewrite.Offer{EightBit: o.EightBit, UTF8: o.UTF8, NoEnvelope: o.NoEnvelope, NoQuotedPrintable: o.NoQuotedPrintable})
		return dressed, err
	})
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	for _, r := range results {
		if r.Outcome != message.Delivered {
			t.Fatalf("%s: %v", name, r)
		}
	}
}

// captured reads the last file of the capture directory, and removes it.
func captured(t *rapid.T, dir string) arrived {
	files, err := filepath.Glob(filepath.Join(dir, "capture", "*"))
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	content, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(files[0]); err != nil {
		t.Fatal(err)
	}
	var to []string
	for line := range strings.Lines(string(content)) {
		if a, ok := strings.CutPrefix(line, "X-Envelope-To: "); ok {
			to = append(to, strings.Trim(a, "<>\r\n"))
		}
	}
	return arrived{to, content}
}

// anyMessage is one as it is accepted, and what a reader reads in it.
func anyMessage(t *rapid.T) (*message.Message, string) {
	mailbox := rapid.SampledFrom([]string{"a@example.org", "<b@example.org>", "Ann <A@Example.org>", `"C, x@example.net" <c@example.org>`,
		"x@example.net", "y@example.net (a comment)", `"odd one"@example.org`, "Team: a@example.org, x@example.net;", "Nobody:;", "not an address", `"`, "", "\r\n c@example.org"})
	field := rapid.Custom(func(t *rapid.T) string {
		return rapid.SampledFrom([]string{"To: ", "Cc: ", "cc : "}).Draw(t, "name") + strings.Join(rapid.SliceOfN(mailbox, 0, 5).Draw(t, "list"), ", ") + "\r\n"
	})
	text := "From: scan@example.com\r\n" + strings.Join(rapid.SliceOfN(field, 0, 3).Draw(t, "fields"), "")
	body := strings.Join(rapid.SliceOfN(rapid.SampledFrom([]string{"hello", "\r\n", ".\r\n", "\r\n.\r\n", "=", "=3D", "--", "ü", " ", "From x"}), 0, 20).Draw(t, "body"), "")
	made := body
	switch encoding := rapid.SampledFrom([]string{"7bit", "8bit", "quoted-printable", "base64"}).Draw(t, "encoding"); encoding {
	case "quoted-printable":
		text += "Content-Transfer-Encoding: quoted-printable\r\n"
		var b bytes.Buffer
		w := quotedprintable.NewWriter(&b)
		io.WriteString(w, body)
		w.Close()
		made = b.String()
	case "base64":
		text += "Content-Transfer-Encoding: base64\r\n"
		made = base64.StdEncoding.EncodeToString([]byte(body))
	}
	header, err := message.ParseHeader([]byte(text))
	if err != nil {
		t.Skip(err)
	}
	m := &message.Message{ID: "0123456789abcdef", Header: header, Body: message.Bytes(made)}
	m.From = address("scan@example.com")
	recipients := rapid.SampledFrom([]string{"a@example.org", "B@example.org", "c@EXAMPLE.org", "d@example.org", `"odd one"@example.org`})
	for _, r := range rapid.SliceOfNDistinct(recipients, 1, 5, rapid.ID).Draw(t, "recipients") {
		a, err := message.ParseAddress(r)
		if err != nil {
			t.Fatal(err)
		}
		m.To = append(m.To, message.Recipient{Address: a})
	}
	return m, body
}

// decoded is what a reader reads in a message of one part.
func decoded(t *rapid.T, content []byte) string {
	head, body, _ := strings.Cut(string(content), "\r\n\r\n")
	header, err := message.ParseHeader([]byte(head + "\r\n"))
	if err != nil {
		t.Fatal(err)
	}
	r := io.Reader(strings.NewReader(body))
	switch strings.ToLower(header.Get("Content-Transfer-Encoding")) {
	case "quoted-printable":
		r = quotedprintable.NewReader(r)
	case "base64":
		r = base64.NewDecoder(base64.StdEncoding, r)
	}
	read, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(read)
}
