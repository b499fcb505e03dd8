package submission

import (
	"encoding/base64"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"postern/relay/message"
	"postern/relay/setting"
)

func b64(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

// TestDialogues plays the dialogues of testdata, each over a real listener.
// Their lines are
//
//	# what it shows
//	mechanisms LIST   are offered from here on
//	connect NAME      to the listener of that name; reads the greeting
//	tls               the client begins TLS
//	login             EHLO and AUTH PLAIN
//	envelope          MAIL and RCPT
//	c: TEXT           the client says a line; lines up to the next s: leave together
//	q: "OCTETS"       the same without CRLF, with the escapes of Go
//	s: REGEXP         the server says, its lines joined by \n
//	end               the server closes the connection
//	m: "OCTETS"       the Gateway has accepted this message, and no other
//	m: none           the Gateway has accepted nothing
//	log: REGEXP       the log says
//
// and in c: and s:, base64(TEXT) stands for its encoding.
func TestDialogues(t *testing.T) {
	files, err := filepath.Glob("testdata/*.dialogue")
	if err != nil || len(files) == 0 {
		t.Fatal("no dialogues", err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for i, part := range strings.Split("\n"+string(text), "\n# ")[1:] {
			title, script, _ := strings.Cut(part, "\n")
			t.Run(fmt.Sprintf("%s/%d %s", strings.TrimSuffix(filepath.Base(file), ".dialogue"), i, title), func(t *testing.T) {
				t.Parallel()
				(&dialogue{t: t, post: open(t, forDevices)}).play(script)
			})
		}
	}
}

// forDevices adds listeners for old devices: devices (STARTTLS) is lenient and
// repairs, outdated (no TLS) adds what the oldest need.
func forDevices(p *post) {
	p.maxSize = 1000
	p.config.Listeners = append(p.config.Listeners,
		Listener{Name: "devices", Address: "127.0.0.1:0", TLS: startTLS, Profile: "devices"},
		Listener{Name: "outdated", Address: "127.0.0.1:0", TLS: noTLS, Networks: home, PlaintextAuth: true, Profile: "outdated"})
	p.config.Profiles = []Profile{
		{Name: "devices", LenientSyntax: true, LineEndings: "repair"},
		{Name: "outdated", LenientSyntax: true, LineEndings: "repair", AuthEquals: true, Hide: []string{"CHUNKING", "SMTPUTF8", "DSN", "LIMITS"}},
	}
}

// home is where tests come from.
var home = setting.Networks{setting.Network(netip.MustParsePrefix("127.0.0.0/8"))}

type dialogue struct {
	t      *testing.T
	post   *post
	client *wireClient
	unsent strings.Builder
	heard  int // messages
}

func (d *dialogue) play(script string) {
	for line := range strings.Lines(script) {
		line = strings.TrimRight(line, "\n")
		if line == "" {
			continue
		}
		verb, arg, _ := strings.Cut(line, " ")
		d.step(verb, base64Call.ReplaceAllStringFunc(arg, func(s string) string {
			inner, err := strconv.Unquote(`"` + s[len("base64("):len(s)-1] + `"`)
			if err != nil {
				d.t.Fatal(s, err)
			}
			return b64(inner)
		}))
	}
}

var base64Call = regexp.MustCompile(`base64\([^)]*\)`)

func (d *dialogue) step(verb, arg string) {
	d.t.Helper()
	switch verb {
	case "mechanisms":
		d.post.config.Mechanisms = strings.Fields(arg)
		if err := d.post.Reload(d.post.config); err != nil {
			d.t.Fatal(err)
		}
	case "connect":
		d.client = d.post.dial(d.t, arg)
		d.client.expect("220 relay.example.com")
	case "tls":
		d.client.startTLS(nil)
	case "login":
		d.client.login()
	case "envelope":
		d.client.envelope()
	case "c:":
		d.unsent.WriteString(arg + "\r\n")
	case "q:":
		d.unsent.WriteString(d.unquote(arg))
	case "s:":
		d.flush()
		got := d.client.reply()
		if !regexp.MustCompile(`^(?s:` + arg + `)$`).MatchString(got) {
			d.t.Fatalf("the server said %q, want %q", got, arg)
		}
	case "end":
		d.flush()
		d.client.ended()
	case "m:":
		d.message(arg)
	case "log:":
		if !regexp.MustCompile(arg).MatchString(d.post.log.String()) {
			d.t.Errorf("the log does not say %s:\n%s", arg, d.post.log)
		}
	default:
		d.t.Fatalf("unknown step %q", verb)
	}
}

func (d *dialogue) flush() {
	d.client.send(d.unsent.String())
	d.unsent.Reset()
}

func (d *dialogue) unquote(s string) string {
	d.t.Helper()
	u, err := strconv.Unquote(s)
	if err != nil {
		d.t.Fatal(s, err)
	}
	return u
}

func (d *dialogue) message(want string) {
	d.t.Helper()
	got := d.post.accepted()[d.heard:]
	if want == "none" {
		if len(got) != 0 {
			d.t.Errorf("the Gateway accepted %d messages, want none", len(got))
		}
		return
	}
	if len(got) != 1 {
		d.t.Fatalf("the Gateway accepted %d more messages, want one", len(got))
	}
	d.heard++
	if text := whole(d.t, got[0]); text != d.unquote(want) {
		d.t.Errorf("the Gateway got %q, want %s", text, want)
	}
}

func whole(t testing.TB, m *message.Message) string {
	t.Helper()
	r, err := m.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
