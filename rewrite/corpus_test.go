package rewrite_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"postern/relay/message"
	"postern/rewrite"
)

// corpora are Go modules whose tests hold messages as they occur: folded and
// encoded in every way, broken by programs, in many languages.
var corpora = []string{"github.com/jhillyerd/enmime@v1.3.0", "github.com/mnako/letters@v0.2.3"}

// corpus is the messages of those modules, by file. They are fetched from the
// Go proxy into the module cache, and are no part of this module.
func corpus(t *testing.T) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	for _, module := range corpora {
		cmd := exec.Command("go", "mod", "download", "-json", module)
		cmd.Dir = t.TempDir() // outside of any module, so that none is changed
		out, err := cmd.Output()
		var got struct{ Dir, Error string }
		if json.Unmarshal(out, &got) != nil || got.Dir == "" {
			skip(t, fmt.Sprintf("needs the module %s from the Go proxy: %v %s", module, err, got.Error))
		}
		err = filepath.WalkDir(got.Dir, func(path string, d fs.DirEntry, err error) error {
			if kind := filepath.Ext(path); err != nil || d.IsDir() || kind != ".raw" && kind != ".txt" && kind != ".eml" {
				return err
			}
			name, _ := filepath.Rel(got.Dir, path)
			files[name], err = os.ReadFile(path)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return files
}

// skip leaves out a test for want of something; never so in CI.
func skip(t *testing.T, why string) {
	t.Helper()
	sentence := t.Name() + " NOT TESTED: " + why
	if os.Getenv("CI") == "true" {
		t.Fatal(sentence)
	}
	fmt.Fprintln(os.Stderr, "\n***", sentence)
	t.Skip(sentence)
}

// strange is a field of one of the corpora that no message may have: there are
// a tab and a space in its name.
var strange = regexp.MustCompile(`(?m)^X-Script/function/\t .*\n`)

// header is that of a file; line ends are those of a wire.
func header(file []byte) (message.Header, error) {
	lines := strange.ReplaceAll(bytes.ReplaceAll(file, []byte("\r\n"), []byte("\n")), nil)
	return message.ParseHeader(bytes.ReplaceAll(lines, []byte("\n"), []byte("\r\n")))
}

// Every domain of a real message is moved and moved back by rules: but for the
// fields we add, each octet is then as it was, and it was another in between.
func TestRealMessagesMoveAndComeBackWithEveryOctet(t *testing.T) {
	var read, passed, moved int
	for name, file := range corpus(t) {
		h, err := header(file)
		if err != nil || len(h) == 0 {
			continue
		}
		read++
		there, back, plain := mapsOf(h)
		m := submitted(t, "")
		m.Header = h
		if _, err := moving(t, nil).Complete(m, noon); err != nil {
			checkRefused(t, err, m, h)
			continue
		}
		passed++
		complete := m.Header[1:] // without Received
		if len(there) == 0 || !plain {
			continue
		}
		moved++
		m.Header = complete
		changes, err := moving(t, there).Complete(m, noon)
		if err != nil || len(changes) == 0 {
			t.Errorf("%s: moved with %d changes, %v", name, len(changes), err)
			continue
		}
		m.Header = m.Header[1:]
		if bytes.Equal(m.Header.Bytes(), complete.Bytes()) {
			t.Errorf("%s: nothing was moved", name)
		}
		if _, err := moving(t, back).Complete(m, noon); err != nil {
			t.Errorf("%s: %v", name, err)
		} else if got, want := m.Header[1:].Bytes(), complete.Bytes(); !bytes.Equal(got, want) {
			t.Errorf("%s came back as\n%s\nwant\n%s", name, got, want)
		}
	}
	t.Logf("%d headers read, %d complete, %d moved", read, passed, moved)
	if read < 200 || passed < 150 || moved < 100 {
		t.Errorf("only %d headers were read, %d of them completed and %d moved", read, passed, moved)
	}
}

// moving has the domains of addresses moved.
func moving(t *testing.T, domains map[string]string) *rewrite.Rewrite {
	t.Helper()
	var rules []rewrite.Rule
	if len(domains) > 0 {
		rules = []rewrite.Rule{{Domains: domains}}
	}
	r, err := rewrite.New(rewrite.Config{}, rules, map[string]rewrite.Account{"printer": {DefaultFrom: "scan@example.com"}}, "relay.example.com")
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// mapsOf lead every domain of the header to one of its own, and back. plain is
// set if all addresses are written as we would write them, so that they can
// come back: in ASCII, without comments inside, and each domain in one letter
// case.
func mapsOf(h message.Header) (there, back map[string]string, plain bool) {
	there, back, plain = map[string]string{}, map[string]string{}, true
	spelled := map[string]string{}
	for _, f := range h {
		switch strings.ToLower(f.Name()) {
		case "from", "sender", "reply-to", "to", "cc":
		default:
			continue
		}
		found, _ := f.Mailboxes()
		for _, m := range found {
			a := m.Address
			lower := strings.ToLower(a.Domain)
			if first, known := spelled[lower]; known && first != a.Domain || !a.IsASCII() || a.Domain[0] == '[' || string(f.Raw()[m.Start:m.End]) != a.String() {
				plain = false
			}
			if _, known := spelled[lower]; !known {
				spelled[lower] = a.Domain
				other := fmt.Sprintf("moved-%d.example", len(spelled))
				there[lower], back[other] = other, a.Domain
			}
		}
	}
	return there, back, plain
}
