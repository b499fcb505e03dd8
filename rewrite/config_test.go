package rewrite_test

import (
	"fmt"
	"strings"
	"testing"

	"postern/relay/message"
	"postern/rewrite"
)

func TestConfigCheck(t *testing.T) {
	for _, tt := range []struct {
		name   string
		config interface {
			Check(func(key, format string, args ...any))
		}
		want string // part of the one problem; "" for none
	}{
		{"nothing to remove", rewrite.Config{}, ""},
		{"fields to remove", rewrite.Config{Remove: []string{"X-Originating-IP", "sender"}}, ""},
		{"a field with its colon", rewrite.Config{Remove: []string{"X-Mailer", "X-Ip:"}}, `remove[1]: "X-Ip:" is not the name of a header field`},
		{"a field with a space", rewrite.Config{Remove: []string{"X Ip"}}, "remove[0]"},
		{"a field outside ASCII", rewrite.Config{Remove: []string{"X-Ü"}}, "remove[0]"},
		{"an empty field", rewrite.Config{Remove: []string{""}}, "remove[0]"},
		{"From cannot be removed", rewrite.Config{Remove: []string{"FROM"}}, "remove[0]: From must stay"},
		{"nor Date", rewrite.Config{Remove: []string{"Date"}}, "Date must stay"},
		{"nor Message-ID", rewrite.Config{Remove: []string{"Message-Id"}}, "Message-ID must stay"},
		{"nor Received", rewrite.Config{Remove: []string{"received"}}, "Received must stay"},
		{"no default", rewrite.Account{}, ""},
		{"a bare address", rewrite.Account{DefaultFrom: "scan@example.com"}, ""},
		{"a name and an address", rewrite.Account{DefaultFrom: "Büro, 3. Stock <scan@example.com>"}, `default_from: "Büro, 3. Stock <scan@example.com>": it is not a mailbox`},
		{"a quoted name and an address", rewrite.Account{DefaultFrom: `"Büro, 3. Stock" <scan@example.com>`}, ""},
		{"no address", rewrite.Account{DefaultFrom: "Scanner"}, "it is not a mailbox; write one mailbox, such as"},
		{"two addresses", rewrite.Account{DefaultFrom: "a@example.com, b@example.com"}, "it is not a mailbox"},
		{"a group", rewrite.Account{DefaultFrom: "x: a@example.com;"}, ""},
		{"an address outside ASCII", rewrite.Account{DefaultFrom: "dörte@example.com"}, "must be ASCII"},
		{"an address some read otherwise", rewrite.Account{DefaultFrom: `"a@b"@example.com`}, "unusual"},
		{"a name that hides an address", rewrite.Account{DefaultFrom: `"ü@b" <a@example.com>`}, "hides an address"},
		{"an endless name", rewrite.Account{DefaultFrom: strings.Repeat("Scanner ", 200) + "<a@example.com>"}, "too long"},
		{"a line end", rewrite.Account{DefaultFrom: "Scanner\r\nBcc: x <a@example.com>"}, "not a mailbox"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var problems []string
			tt.config.Check(func(key, format string, args ...any) {
				problems = append(problems, key+": "+fmt.Sprintf(format, args...))
			})
			got := strings.Join(problems, "; ")
			if !strings.Contains(got, tt.want) || (tt.want == "") != (got == "") || len(problems) > 1 {
				t.Errorf("problems %q, want %q", problems, tt.want)
			}
			account, ok := tt.config.(rewrite.Account)
			if !ok {
				return
			}
			_, err := rewrite.New(rewrite.Config{}, nil, map[string]rewrite.Account{"printer": account}, "relay.example.com")
			if (err != nil) != (tt.want != "") || err != nil && !strings.Contains(err.Error(), "account printer: default_from") {
				t.Errorf("New: %v", err)
			}
		})
	}
}

// A long name outside ASCII still makes a line that fits.
func TestDefaultFromFitsALine(t *testing.T) {
	m := submitted(t, "")
	r, err := rewrite.New(rewrite.Config{}, nil, map[string]rewrite.Account{"printer": {DefaultFrom: strings.Repeat("ü", 100) + " <scan@example.com>"}}, "relay.example.com")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Complete(m, noon); err != nil {
		t.Fatal(err)
	}
	from := m.Header.All("From")[0]
	if a, err := message.ParseMailboxes(from.Value()); err != nil || len(a) != 1 || a[0].String() != "scan@example.com" {
		t.Errorf("%q names %v, %v", from.Raw(), a, err)
	}
	if len(from.Raw()) > 998 || strings.ContainsFunc(from.Value(), func(r rune) bool { return r >= 0x80 }) {
		t.Errorf("the field is %q", from.Raw())
	}
}
