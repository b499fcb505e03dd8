package relay_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/emersion/go-smtp"
)

// Mail that only the second upstream takes goes there at the first attempt,
// however much of it there is.
func TestABacklogForTheNextUpstreamIsNotPutOff(t *testing.T) {
	picky, other := newSmarthost(t, "127.0.0.1:0"), newSmarthost(t, "127.0.0.1:0")
	config := strings.Replace(through(picky.address, other.address), "tls: none}", `tls: none, senders: [boss@example.com], otherwise: next}`, 1)
	config = strings.Replace(config, "tls: none}", "tls: none, limits: {connections: 1}}", 1)
	all := make(chan struct{}) // have been submitted; until then the second one is busy with the first
	other.fault = func(string, *smtp.Conn) error { <-all; return nil }
	r := start(t, config)
	const letters = 10
	for i := range letters {
		if err := r.submit(fmt.Sprintf(scan, fmt.Sprintf("page %d.", i))); err != nil {
			t.Fatal(err)
		}
	}
	close(all)
	seen := map[string]bool{}
	for range letters {
		seen[other.receive(t, "Subject: page")] = true
	}
	if len(seen) != letters {
		t.Errorf("%d of %d arrived", len(seen), letters)
	}
	for range letters {
		r.log.await(t, `"msg":"delivered"`, `"upstream":"two"`, `"attempts":1`)
	}
}
