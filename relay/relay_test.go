package relay_test

import (
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/emersion/go-smtp"

	"postern/relay/queue"
)

// through is a configuration's upstreams in order of preference, one route.
func through(hosts ...string) string {
	var upstreams, names []string
	for i, address := range hosts {
		name := []string{"one", "two"}[i]
		names = append(names, name)
		upstreams = append(upstreams, fmt.Sprintf(`{name: %s, address: "%s", tls: none}`, name, address))
	}
	return fmt.Sprintf("upstreams: [%s]\nroutes: [{name: default, upstreams: [%s]}]", strings.Join(upstreams, ", "), strings.Join(names, ", "))
}

const scan = "From: Scanner <scan@example.com>\nSubject: %s\nBcc: boss@example.net\n\n.A line that begins with a dot\n"

// away is an address nobody listens on.
const away = "127.0.0.1:1"

func TestAMessageFindsItsWay(t *testing.T) {
	host := newSmarthost(t, "127.0.0.1:0")
	r := start(t, through(host.address))
	if err := r.submit(fmt.Sprintf(scan, "first")); err != nil {
		t.Fatal(err)
	}
	got := host.receive(t, "Subject: first\r\n")
	if !strings.HasPrefix(got, "Received: from ") || strings.Contains(got, "Bcc") || !strings.HasSuffix(got, "\r\n\r\n.A line that begins with a dot\r\n") {
		t.Errorf("what arrived:\n%s", got)
	}
	r.log.await(t, `"msg":"delivered"`, `"upstream":"one"`, `"attempts":1`)
}

func TestAForeignAuthorIsRefusedAndNothingIsKept(t *testing.T) {
	host := newSmarthost(t, "127.0.0.1:0")
	r := start(t, through(host.address))
	err := r.submit("From: boss@example.net\nSubject: forged\n\nhello\n")
	if err == nil || !strings.HasPrefix(err.Error(), "550") || !strings.Contains(err.Error(), "account printer may not send as <boss@example.net>") {
		t.Errorf("the forged From was answered %v", err)
	}
	if err := r.submit(fmt.Sprintf(scan, "honest")); err != nil {
		t.Fatal(err)
	}
	if got := host.receive(t, "Subject:"); !strings.Contains(got, "honest") {
		t.Errorf("the refused message went out:\n%s", got)
	}
}

func TestTheNextUpstreamServesWhileTheFirstIsAway(t *testing.T) {
	second := newSmarthost(t, "127.0.0.1:0")
	r := start(t, through(away, second.address))
	if err := r.submit(fmt.Sprintf(scan, "detour")); err != nil {
		t.Fatal(err)
	}
	second.receive(t, "Subject: detour")
	r.log.await(t, `"msg":"delivered"`, `"upstream":"two"`, `"attempts":1`)
}

func TestMailWaitsForAnUpstreamThatIsAway(t *testing.T) {
	address := freeAddress(t)
	r := start(t, through(address))
	if err := r.submit(fmt.Sprintf(scan, "patient")); err != nil {
		t.Fatal(err)
	}
	r.log.await(t, `"msg":"deferred"`, `"next":`, "connection refused")
	newSmarthost(t, address).receive(t, "Subject: patient")
}

func TestWhatMayHaveBeenSentNeverTakesAnotherUpstream(t *testing.T) {
	var lost atomic.Bool
	first, second := newSmarthost(t, "127.0.0.1:0"), newSmarthost(t, "127.0.0.1:0")
	first.fault = func(_ string, c *smtp.Conn) error {
		if lost.CompareAndSwap(false, true) {
			c.Conn().Close() // it has the whole message, and we have no answer
		}
		return nil
	}
	r := start(t, through(first.address, second.address))
	if err := r.submit(fmt.Sprintf(scan, "twice")); err != nil {
		t.Fatal(err)
	}
	r.log.await(t, `"msg":"uncertain"`, `"upstream":"one"`)
	line := r.log.await(t, `"msg":"delivered"`)
	if !strings.Contains(line, `"upstream":"one"`) {
		t.Errorf("delivered through another upstream: %s", line)
	}
	a, b := first.receive(t, "Subject: twice"), first.receive(t, "Subject: twice")
	if a != b {
		t.Errorf("the second try differs, so its receiver cannot know it for the same:\n%s\n%s", a, b)
	}
	if len(second.got) != 0 {
		t.Errorf("the other upstream was sent it too")
	}
}

func TestStoppingFinishesWhatIsBeingSent(t *testing.T) {
	arrived, release := make(chan struct{}), make(chan struct{})
	host := newSmarthost(t, "127.0.0.1:0")
	host.fault = func(string, *smtp.Conn) error {
		close(arrived)
		<-release
		return nil
	}
	r := start(t, through(host.address))
	if err := r.submit(fmt.Sprintf(scan, "last")); err != nil {
		t.Fatal(err)
	}
	<-arrived
	r.stop()
	r.log.await(t, `"msg":"stopping"`)
	close(release)
	if err := r.end(); err != nil {
		t.Errorf("it did not stop in order: %v", err)
	}
	r.log.await(t, `"msg":"delivered"`, `"attempts":1`)
}

func TestReloadMovesWaitingMailToTheMendedRoute(t *testing.T) {
	r := start(t, through(away))
	if err := r.submit(fmt.Sprintf(scan, "stuck")); err != nil {
		t.Fatal(err)
	}
	r.log.await(t, `"msg":"deferred"`)
	host := newSmarthost(t, "127.0.0.1:0")
	r.configure(through(host.address))
	if err := r.Reload(r.configFile()); err != nil {
		t.Fatal(err)
	}
	host.receive(t, "Subject: stuck")
}

func TestABadReloadChangesNothing(t *testing.T) {
	host := newSmarthost(t, "127.0.0.1:0")
	r := start(t, through(host.address))
	for _, bad := range []struct{ name, upstreams, want string }{
		{"an unknown key", through(away) + "\nupstrems: []", "upstrems"},
		{"what needs a restart", through(away) + "\nmetrics: {address: \"127.0.0.1:0\"}", "metrics.address changed; that needs a restart"},
	} {
		r.configure(bad.upstreams)
		err := r.Reload(r.configFile())
		if err == nil || !strings.Contains(err.Error(), bad.want) {
			t.Errorf("%s: %v", bad.name, err)
		}
		if err := r.submit(fmt.Sprintf(scan, bad.name)); err != nil {
			t.Fatal(err)
		}
		host.receive(t, bad.name)
	}
}

func TestReloadNamesTheMailThatNoLaneIsLeftFor(t *testing.T) {
	first, second := newSmarthost(t, "127.0.0.1:0"), newSmarthost(t, "127.0.0.1:0")
	first.fault = func(_ string, c *smtp.Conn) error {
		return c.Conn().Close() // so that it is pinned to this upstream
	}
	r := start(t, through(first.address))
	if err := r.submit(fmt.Sprintf(scan, "pinned")); err != nil {
		t.Fatal(err)
	}
	r.log.await(t, `"msg":"uncertain"`)
	r.configure(strings.NewReplacer("name: one", "name: renamed", "upstreams: [one]", "upstreams: [renamed]").Replace(through(second.address)))
	if err := r.Reload(r.configFile()); err != nil {
		t.Fatal(err)
	}
	r.log.await(t, "mail waits for what the configuration does not have", `"lane":"upstream:one"`, `"deliveries":1`)
}

func TestStoppingDoesNotWaitForAnUpstreamThatNeverGreets(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	r := start(t, through(silent.Addr().String()))
	if err := r.submit(fmt.Sprintf(scan, "kept")); err != nil {
		t.Fatal(err)
	}
	conn, err := silent.Accept() // it has been called
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	r.stop()
	r.log.await(t, `"msg":"stopped"`)
	store, err := queue.OpenReadOnly(filepath.Join(r.dir, "data"))
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	waiting, err := store.List(t.Context(), queue.Filter{States: []queue.State{queue.Queued}})
	if err != nil || len(waiting) != 1 || waiting[0].Deliveries[0].Attempts != 0 {
		t.Errorf("the message does not wait as it did: %+v, %v", waiting, err)
	}
}
