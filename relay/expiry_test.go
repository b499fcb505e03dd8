package relay_test

import (
	"fmt"
	"testing"

	"github.com/emersion/go-smtp"
)

// Of one message to two, who is reached by a route with an expiry of its own is
// given up by that, and the sender told; the other waits as the queue says, also
// after a reload that takes the expiry away again.
func TestARouteGivesUpByItsOwnTime(t *testing.T) {
	busy, home := newSmarthost(t, "127.0.0.1:0"), newSmarthost(t, "127.0.0.1:0")
	busy.rcpt = func([]string, string) error { return &smtp.SMTPError{Code: 451, Message: "later"} }
	config := func(own string) string {
		return fmt.Sprintf(`
upstreams: [{name: busy, address: %q, tls: none}, {name: home, address: %q, tls: none}]
routes:
  - {name: codes, recipients: ["@codes.example"], upstreams: [busy]%s}
  - {name: home, recipients: ["@example.com"], upstreams: [home]}
  - {name: default, upstreams: [busy]}
`, busy.address, home.address, own)
	}
	r := start(t, config(", retry: [1s], expire: 2s"))
	if err := r.submitTo("Subject: two\n\n", "a@codes.example", "b@example.org"); err != nil {
		t.Fatal(err)
	}
	r.log.await(t, `"a@codes.example"`, "not delivered within 2s")
	home.receive(t, "a@codes.example")
	r.log.await(t, `"deferred"`, "b@example.org")
	r.configure(config(""))
	if err := r.Reload(r.configFile()); err != nil {
		t.Fatal(err)
	}
	if err := r.submitTo("Subject: three\n\n", "c@codes.example"); err != nil {
		t.Fatal(err)
	}
	r.log.await(t, `"deferred"`, "c@codes.example", `"attempts":3`)
}
