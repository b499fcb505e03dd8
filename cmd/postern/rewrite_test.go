//go:build linux

package main_test

import (
	"bytes"
	"fmt"
	"net"
	"os/exec"
	"strings"
	"testing"
)

const boss = "ceo@example.com"

// fromTheBoss is a letter that a device writes in a name that is not its own,
// in a field folded and with a comment.
func fromTheBoss(envelope string) letter {
	l := newLetter("Pay this.\r\n")
	l.from = envelope
	l.data = bytes.Replace(l.data, []byte("From: Scanner 3F <"+sender+">"), []byte("From: \"The Boss\"\r\n <"+boss+"> (CEO)"), 1)
	return l
}

// A device that may send as scan@ and writes ceo@ is refused, or sends as
// scan@ where a rule says so; swaks is the device, Postfix the smarthost.
func TestADeviceThatMaySendAsScanNeverSendsAsTheBoss(t *testing.T) {
	needs(t, "swaks")
	host := needSmarthost(t)
	own := fmt.Sprintf("[{name: %s, password_hash: %q, senders: [%s]}]", user, needHash(t), sender)
	relay := startRelay(t, host.address, sections{"accounts": own})
	_, port, _ := net.SplitHostPort(relay.address.submission)
	device := func(l letter) *exec.Cmd {
		return swaks(submission{host: "localhost", port: port, ca: needKeys(t).ca, letter: l}, "-tls", "PLAIN")
	}

	for _, envelope := range []string{boss, sender} {
		out, err := device(fromTheBoss(envelope)).CombinedOutput()
		if err == nil || !bytes.Contains(out, []byte("550 5.7.1 account "+user+" may not send as <"+boss+">")) {
			t.Fatalf("from %s: %v\n%s", envelope, err, out)
		}
	}

	relay.write(usualConfig(t, relay, host.address).with(sections{"accounts": own, "rewrite": `
  - {account: printer, from: if_unauthorized, address: scan@example.com, keep_display_name: true, original_to: reply-to}
  - {recipient: "root@*", to: ` + recipient + `}`}))
	relay.reload("reloaded")
	l := fromTheBoss(boss)
	l.to = []string{"root@nas.local"}
	mustRun(t, device(l))
	a := host.mail.await(t, l.id)
	if a.returnPath != sender || a.recipient != recipient {
		t.Errorf("it came from %s to %s", a.returnPath, a.recipient)
	}
	want := strings.Replace(string(l.data), boss, sender, 1)
	want = strings.Replace(want, "\r\n\r\n", "\r\nReply-To: \"The Boss\"\r\n <"+boss+"> (CEO)\r\n\r\n", 1)
	if string(a.data) != want {
		t.Errorf("it arrived otherwise: %s", difference([]byte(want), a.data))
	}
	if n := len(host.mail.copies(t, l.id)); n != 1 {
		t.Errorf("%d copies arrived", n)
	}
}
