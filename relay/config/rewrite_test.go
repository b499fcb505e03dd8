package config

import (
	"reflect"
	"strings"
	"testing"
)

const soundRules = `
rewrite:                               # in order; each says which addresses and where
  - {match: "*@*.local", fields: [envelope, from, sender], to: "%u@example.com"}
  - {match: "/^(.+)@old\\.example$/", to: "$1@example.com"}
  - {account: erp, from: force, address: "noreply@example.com", keep_display_name: true, original_to: reply-to}
  - {name: moved, domains: {older.example: example.com, oldest.example: example.com}}
  - {listeners: [submission], networks: [10.0.0.0/8], recipient: "root@*", to: it@example.com}
  - {recipient: "@competitor.example", deny: "no mail to them from here"}
headers: {remove: [X-Originating-IP], hide_client: true, add: [{name: X-Site, value: "%{listener}"}]}
`

func TestRewriteRulesAreReadAndPrinted(t *testing.T) {
	text := withFiles(t, strings.Replace(sound, "name: printer, senders: [scan@example.com]", `name: erp, senders: ["@example.com"]`, 1)+soundRules)
	c, err := Parse("config.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	if got := c.Rewrite[3].Domains; !reflect.DeepEqual(got, map[string]string{"older.example": "example.com", "oldest.example": "example.com"}) {
		t.Errorf("domains are %v", got)
	}
	if own := c.Rewriting()["erp"].Senders.String(); own != "@example.com" {
		t.Errorf("rewrite is told that erp may send as %s", own)
	}
	printed, err := c.YAML()
	if err != nil {
		t.Fatal(err)
	}
	again, err := Parse("printed.yaml", printed)
	if err != nil {
		t.Fatalf("%v in\n%s", err, printed)
	}
	if twice, err := again.YAML(); err != nil || string(twice) != string(printed) || len(again.Rewrite) != len(c.Rewrite) {
		t.Errorf("what was printed reads as another, %v:\n%s\nbefore:\n%s", err, twice, printed)
	}
}
