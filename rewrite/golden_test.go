package rewrite_test

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"postern/relay/message"
	"postern/rewrite"
)

var update = flag.Bool("update", false, "write what Complete does into testdata")

// TestGolden completes the header in.eml of every file under testdata. The
// file's first lines say what it shows; config has "key: value" lines; what
// must come of it is either out.eml and changes, or refused. Line ends are LF
// in the files and CRLF in the messages.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			golden, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			results := complete(t, part(golden, "config"), part(golden, "in.eml"))
			if *update {
				golden.Files = append(golden.Files[:2], results...)
				if err := os.WriteFile(file, txtar.Format(golden), 0o666); err != nil {
					t.Fatal(err)
				}
				return
			}
			if len(golden.Files) != 2+len(results) {
				t.Errorf("%d results, want %d", len(results), len(golden.Files)-2)
			}
			for _, r := range results {
				if want := part(golden, r.Name); want != string(r.Data) {
					t.Errorf("%s is\n%s\nwant\n%s", r.Name, r.Data, want)
				}
			}
		})
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

// complete runs one golden file and returns the parts that show what came of it.
func complete(t *testing.T, config, in string) []txtar.File {
	t.Helper()
	m := submitted(t, "")
	var cfg rewrite.Config
	var account rewrite.Account
	for line := range strings.Lines(config) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
		switch key {
		case "sender":
			if err := m.From.UnmarshalText([]byte(value)); err != nil {
				t.Fatal(err)
			}
		case "default_from":
			account.DefaultFrom = value
		case "own_addresses":
			account.OwnAddresses = value == "true"
		case "addresses":
			for own := range strings.FieldsSeq(value) {
				a, err := message.ParseAddress(own)
				if err != nil {
					t.Fatal(err)
				}
				m.Client.Addresses = append(m.Client.Addresses, a)
			}
		case "remove":
			cfg.Remove = strings.Fields(value)
		case "hide_client":
			cfg.HideClient = value == "true"
		case "smtputf8":
			m.SMTPUTF8 = value == "true"
		default:
			t.Fatalf("config has the unknown key %q", key)
		}
	}
	h, err := message.ParseHeader([]byte(strings.ReplaceAll(in, "\n", "\r\n")))
	if err != nil {
		t.Fatal(err)
	}
	m.Header = h
	r, err := rewrite.New(cfg, map[string]rewrite.Account{"printer": account}, "relay.example.com")
	if err != nil {
		t.Fatal(err)
	}
	changes, err := r.Complete(m, noon)
	if err != nil {
		checkRefused(t, err, m, h)
		return []txtar.File{{Name: "refused", Data: []byte(err.Error() + "\n")}}
	}
	var told strings.Builder
	lines := json.NewEncoder(&told)
	lines.SetEscapeHTML(false)
	for _, c := range changes {
		if err := lines.Encode(c); err != nil {
			t.Fatal(err)
		}
	}
	return []txtar.File{
		{Name: "out.eml", Data: []byte(strings.ReplaceAll(string(m.Header.Bytes()), "\r\n", "\n"))},
		{Name: "changes", Data: []byte(told.String())},
	}
}
