package rewrite_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
	"gopkg.in/yaml.v3"

	"postern/relay/message"
	"postern/rewrite"
)

var update = flag.Bool("update", false, "write what Complete does into testdata")

// TestGolden takes the message in.eml of every file under testdata as a client
// of the account printer would submit it. The file's first lines say what it
// shows; config has "key: value" lines about the client, its account and what
// it said in MAIL and RCPT; rewrite and headers are those sections of a
// configuration. What must come of it is either envelope (where there are
// rules or recipients), out.eml and changes, or refused. Line ends are LF in
// the files and CRLF in the messages.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) < 60 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			golden, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			given := slices.IndexFunc(golden.Files, func(f txtar.File) bool { return f.Name == "in.eml" }) + 1
			compare(t, file, golden, given, newSubmission(t, golden).run(t))
		})
	}
}

// compare holds what came of a golden file against its parts after those that
// are given, or writes it there.
func compare(t *testing.T, file string, golden *txtar.Archive, given int, results []txtar.File) {
	t.Helper()
	if *update {
		golden.Files = append(golden.Files[:given], results...)
		if err := os.WriteFile(file, txtar.Format(golden), 0o666); err != nil {
			t.Fatal(err)
		}
		return
	}
	if len(golden.Files) != given+len(results) {
		t.Errorf("%d results, want %d", len(results), len(golden.Files)-given)
	}
	for _, r := range results {
		if want := part(golden, r.Name); want != string(r.Data) {
			t.Errorf("%s is\n%s\nwant\n%s", r.Name, r.Data, want)
		}
	}
}

func part(a *txtar.Archive, name string) string {
	for _, f := range a.Files {
		if f.Name == name {
			return string(f.Data)
		}
	}
	return ""
}

// submission is what a golden file gives.
type submission struct {
	rewrite    *rewrite.Rewrite
	rules      bool
	message    *message.Message
	recipients []message.Address
}

func newSubmission(t *testing.T, golden *txtar.Archive) *submission {
	t.Helper()
	s := &submission{message: submitted(t, strings.ReplaceAll(part(golden, "in.eml"), "\n", "\r\n")), rules: part(golden, "rewrite") != ""}
	var cfg rewrite.Config
	var rules []rewrite.Rule
	var own rewrite.Account
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	m := s.message
	for line := range strings.Lines(part(golden, "config")) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
		var err error
		switch key {
		case "sender":
			err = m.From.UnmarshalText([]byte(value))
		case "recipient":
			var a message.Address
			err = a.UnmarshalText([]byte(value))
			s.recipients = append(s.recipients, a)
		case "account":
			m.Client.Account = value
		case "user":
			m.Client.User = value
		case "client":
			m.Client.Address, err = netip.ParseAddrPort(value)
		case "listener":
			m.Client.Listener = value
		case "senders":
			own.Senders, err = message.ParsePatterns(strings.Fields(value)...)
		case "default_from":
			own.DefaultFrom = value
		case "null_sender":
			own.NullSender = value == "true"
		case "own_addresses":
			own.OwnAddresses = value == "true"
		case "addresses":
			for text := range strings.FieldsSeq(value) {
				a, err := message.ParseAddress(text)
				must(err)
				m.Client.Addresses = append(m.Client.Addresses, a)
			}
		case "remove":
			cfg.Remove = strings.Fields(value)
		case "hide_client":
			cfg.HideClient = value == "true"
		case "smtputf8":
			m.SMTPUTF8 = value == "true"
		case "repair":
			m.Client.Repair = repairs(t, value)
		default:
			t.Fatalf("config has the unknown key %q", key)
		}
		must(err)
	}
	must(yaml.Unmarshal([]byte(part(golden, "rewrite")), &rules))
	must(yaml.Unmarshal([]byte(part(golden, "headers")), &cfg))
	var err error
	accounts := map[string]rewrite.Account{m.Client.Account: own}
	rewrite.Check(rules, accounts, []string{"submission", "floor3"}, func(i int, key, format string, args ...any) {
		t.Errorf("rewrite[%d].%s: %s", i, key, fmt.Sprintf(format, args...))
	})
	s.rewrite, err = rewrite.New(cfg, rules, accounts, "relay.example.com")
	must(err)
	return s
}

// run leads the message through the rules as the relay does, and returns the
// parts that show what came of it.
func (s *submission) run(t *testing.T) []txtar.File {
	t.Helper()
	m := s.message
	refused := func(at string, err error) []txtar.File {
		return []txtar.File{{Name: "refused", Data: []byte(at + err.Error() + "\n")}}
	}
	from, changes, err := s.rewrite.Sender(m.Client, m.From)
	if err != nil {
		return refused("MAIL: ", err)
	}
	m.From, m.Changes = from, changes
	for _, a := range s.recipients {
		r, changes, err := s.rewrite.Recipient(m.Client, message.Recipient{Address: a})
		if err != nil {
			return refused("RCPT: ", err)
		}
		m.To, m.Changes = append(m.To, r), rewrite.Add(m.Changes, changes...)
	}
	m.To = rewrite.Collapse(m.To)
	before := m.Header
	if changes, err = s.rewrite.Complete(m, noon); err != nil {
		checkRefused(t, err, m, before)
		return refused("", err)
	}
	m.Changes = rewrite.Add(m.Changes, changes...)
	var results []txtar.File
	if s.rules || len(s.recipients) > 0 {
		results = append(results, txtar.File{Name: "envelope", Data: envelope(m)})
	}
	return append(results,
		txtar.File{Name: "out.eml", Data: []byte(strings.ReplaceAll(string(m.Header.Bytes()), "\r\n", "\n"))},
		txtar.File{Name: "changes", Data: told(t, m.Changes)})
}

// envelope is the commands a message would leave with.
func envelope(m *message.Message) []byte {
	text := fmt.Sprintf("MAIL FROM:<%s>\n", m.From)
	for _, r := range m.To {
		text += fmt.Sprintf("RCPT TO:<%s>", r.Address)
		if r.OriginalType != "" {
			text += fmt.Sprintf(" ORCPT=%s;%s", r.OriginalType, r.Original)
		}
		text += "\n"
	}
	return []byte(text)
}

// told are changes as the history has them.
func told(t *testing.T, changes []message.Change) []byte {
	t.Helper()
	var b strings.Builder
	lines := json.NewEncoder(&b)
	lines.SetEscapeHTML(false)
	for _, c := range changes {
		if err := lines.Encode(c); err != nil {
			t.Fatal(err)
		}
	}
	return []byte(b.String())
}

// repairs reads the names of what a profile mends.
func repairs(t *testing.T, names string) (r message.Repairs) {
	t.Helper()
	for name := range strings.FieldsSeq(names) {
		switch name {
		case "addresses":
			r.Addresses = true
		case "date":
			r.Date = true
		case "long_lines":
			r.LongLines = true
		default:
			t.Fatalf("there is no repair %q", name)
		}
	}
	return r
}
