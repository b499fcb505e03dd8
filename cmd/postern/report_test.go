//go:build linux

package main_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/mail"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// office is a Postfix with mailboxes for the people of example.com, and none for
// anybody else: what reports are about, and where they go.
type office struct {
	*postfix
	dir string
}

func needOffice(t testing.TB) *office {
	t.Helper()
	needs(t, "root", "postfix")
	dir := workDir(t)
	o := &office{dir: filepath.Join(dir, "mail")}
	mustMkdir(t, o.dir)
	mustRun(t, exec.Command("chown", "nobody", o.dir))
	o.postfix = startPostfix(t, dir, `
myhostname = mail.example.com
mynetworks = 127.0.0.0/8
virtual_mailbox_domains = example.com
virtual_mailbox_base = `+o.dir+`
virtual_mailbox_maps = inline:{ anna@example.com=anna/, it@example.com=it/ }
virtual_uid_maps = static:65534
virtual_gid_maps = static:65534
`)
	t.Cleanup(o.stop)
	return o
}

// serve runs a relay in front of the office; more is added to its account.
func (o *office) serve(t testing.TB, more string, over sections) *relay {
	t.Helper()
	all := sections{
		"postmaster": "it@example.com",
		"accounts":   fmt.Sprintf("\n  - {name: %s, password_hash: \"%s\", senders: [\"@example.com\"]%s}", user, needHash(t), more),
		"upstreams":  fmt.Sprintf("[{name: office, address: \"%s\", tls: none}]", o.address),
		"routes":     "[{name: default, upstreams: [office]}]",
	}
	return startRelay(t, o.address, all.with(over))
}

// mail is what lies in somebody's mailbox.
func (o *office) mail(t testing.TB, who string) (files []string) {
	t.Helper()
	for _, dir := range []string{"new", "cur"} {
		found, err := filepath.Glob(filepath.Join(o.dir, who, dir, "*"))
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, found...)
	}
	return files
}

// awaitMail waits for somebody's first mail.
func (o *office) awaitMail(t testing.TB, who string) (file string) {
	t.Helper()
	await(t, "mail for "+who, func() bool { return len(o.mail(t, who)) > 0 })
	return o.mail(t, who)[0]
}

// invoice is a letter of Anna's.
func invoice(to string) letter {
	id := newID()
	return letter{id: id, from: "anna@example.com", to: []string{to}, data: []byte("From: Anna <anna@example.com>\r\nTo: <" + to + ">\r\n" +
		"Date: Mon, 02 Mar 2026 09:00:00 +0100\r\nMessage-ID: <" + id + ">\r\nSubject: Invoice 4711 for M=?utf-8?q?=C3=BCller?=\r\n\r\nPlease pay.\r\n")}
}

// report is what testdata/report.py reads.
type report struct {
	Type          string
	ReportType    string `json:"report_type"`
	AutoSubmitted string `json:"auto_submitted"`
	From, To      string
	Words         string
	About         map[string]string
	Recipients    []map[string]string
	Original      string
	Subject       string
}

func readReport(t testing.TB, file string) (r report) {
	t.Helper()
	cmd := exec.Command("python3", "testdata/report.py")
	cmd.Stdin = bytes.NewReader(readFile(t, file))
	if err := json.Unmarshal([]byte(mustRun(t, cmd)), &r); err != nil {
		t.Fatal(err)
	}
	return r
}

func TestAnOfficeWorkerReadsWhatWentWrong(t *testing.T) {
	o := needOffice(t)
	needs(t, "python3", "mutt", "tmux")
	r := o.serve(t, "", nil)
	id, _, err := r.session().send(invoice("bob@example.com"))
	if err != nil {
		t.Fatal(err)
	}
	file := o.awaitMail(t, "anna")
	got := readReport(t, file)
	if !bytes.HasPrefix(readFile(t, file), []byte("Return-Path: <>\n")) || got.Type != "multipart/report" || got.ReportType != "delivery-status" ||
		got.AutoSubmitted != "auto-replied" || got.From != "it@example.com" || got.To != "anna@example.com" || got.About["X-Postern-Queue-Id"] != id {
		t.Errorf("%s\n%+v", readFile(t, file), got)
	}
	if len(got.Recipients) != 1 || got.Recipients[0]["Status"] != "5.1.1" || got.Recipients[0]["Final-Recipient"] != "rfc822; bob@example.com" ||
		!strings.Contains(got.Recipients[0]["Diagnostic-Code"], "smtp; 550 5.1.1 <bob@example.com>: Recipient address rejected: User unknown") {
		t.Errorf("the recipients are %v", got.Recipients)
	}
	if got.Original != "text/rfc822-headers" || got.Subject != "Invoice 4711 for M=?utf-8?q?=C3=BCller?=" {
		t.Errorf("of the original there is %s, %q", got.Original, got.Subject)
	}
	screen := inMutt(t, filepath.Join(o.dir, "anna"), "What you can do")
	t.Logf("in mutt:\n%s", screen)
	for _, want := range []string{"Subject: Your message could not be delivered", "Your message could not be delivered to:", "bob@example.com",
		"There is no mailbox with this address.", "Look for a typing error in the address", "Invoice 4711"} {
		if !strings.Contains(screen, want) {
			t.Errorf("the screen lacks %q", want)
		}
	}
	for _, jargon := range []string{"SMTP", "MTA", "DSN", "5.1.1", "550", "upstream", "relay"} {
		if strings.Contains(screen, jargon) {
			t.Errorf("the screen speaks of %q", jargon)
		}
	}
	mustTellOfReports(t, r, id)
}

// mustTellOfReports looks at what the queue commands say of a message and the
// report about it.
func mustTellOfReports(t *testing.T, r *relay, id string) {
	t.Helper()
	story, _, _ := postern(t, "queue", "show", id, "--config", r.config)
	list, _, _ := postern(t, "queue", "list", "--all", "--config", r.config)
	if !strings.Contains(story, "reported: to <anna@example.com> by message ") || !strings.Contains(list, "report about "+id) {
		t.Errorf("show says\n%s\nlist says\n%s", story, list)
	}
	_, after, _ := strings.Cut(story, "by message ")
	if story, _, _ := postern(t, "queue", "show", after[:16], "--config", r.config); !strings.Contains(story, "from here: report about "+id) {
		t.Errorf("of the report show says\n%s", story)
	}
}

// inMutt opens the first message of a Maildir in mutt, in a terminal of 80 columns
// and 24 lines, and returns the screen once that text is on it.
func inMutt(t *testing.T, maildir, text string) (screen string) {
	t.Helper()
	dir := workDir(t)
	rc := filepath.Join(dir, "muttrc")
	writeFile(t, rc, "set folder="+dir+" wait_key=no\nignore *\nunignore from: to: subject: date:\nhdr_order from to subject date\n")
	tmux := func(args ...string) *exec.Cmd {
		cmd := exec.Command("tmux", append([]string{"-S", filepath.Join(dir, "tmux"), "-f", "/dev/null"}, args...)...)
		cmd.Env = append(os.Environ(), "HOME="+dir, "LC_ALL=C.UTF-8", "TERM=xterm-256color")
		return cmd
	}
	mustRun(t, tmux("-u", "new-session", "-d", "-x", "80", "-y", "24", "mutt -n -R -F "+rc+" -f "+maildir+" -e 'push <display-message>'"))
	t.Cleanup(func() { tmux("kill-server").Run() })
	await(t, text+" in mutt", func() bool {
		screen = mustRun(t, tmux("capture-pane", "-p"))
		return strings.Contains(screen, text)
	})
	return screen
}

func TestTheWholeMessageComesBackIfAskedFor(t *testing.T) {
	o := needOffice(t)
	needs(t, "python3")
	r := o.serve(t, "", nil)
	s := r.session()
	for _, command := range []string{
		"MAIL FROM:<anna@example.com> RET=FULL ENVID=QQ314159",
		"RCPT TO:<bob@example.com> NOTIFY=FAILURE ORCPT=rfc822;Bob@example.com",
		"DATA",
		string(invoice("bob@example.com").data) + ".",
	} {
		if _, err := s.say("%s", command); err != nil {
			t.Fatalf("%s: %v", command, err)
		}
	}
	got := readReport(t, o.awaitMail(t, "anna"))
	if got.Original != "message/rfc822" || got.About["Original-Envelope-Id"] != "QQ314159" || got.Recipients[0]["Original-Recipient"] != "rfc822; Bob@example.com" {
		t.Errorf("%+v", got)
	}
}

func TestThePostmasterGetsOneDigest(t *testing.T) {
	o := needOffice(t)
	r := o.serve(t, ", bounce: digest", sections{"digest": "{every: 3s}"})
	var ids []string
	s := r.session()
	for range 3 {
		id, _, err := s.send(invoice("bob@example.com"))
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id)
	}
	await(t, "the failures", func() bool { return r.log.count("failed") == 3 })
	r.kill() // what is left to a digest is not forgotten
	r.start()
	file := o.awaitMail(t, "it")
	text := string(readFile(t, file))
	for _, want := range append(ids, "Subject: 3 messages could not be delivered", "3 x There is no mailbox with this address. (upstream office)") {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in\n%s", want, text)
		}
	}
	if n := len(o.mail(t, "anna")); n > 0 {
		t.Errorf("anna got %d reports", n)
	}
}

// Whenever the process dies, each failure has its report, and one only.
func TestKillNineLeavesOneReportPerFailure(t *testing.T) {
	o := needOffice(t)
	r := o.serve(t, "", nil)
	rounds := 10
	if testing.Short() {
		rounds = 3
	}
	var ids []string
	for range rounds {
		failed := r.log.count("failed")
		id, _, err := r.session().send(invoice("bob@example.com"))
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id)
		await(t, "the failure", func() bool { return r.log.count("failed") > failed })
		r.kill()
		r.start()
	}
	await(t, "an empty queue", func() bool { return len(r.queue()) == 0 })
	out, _, _ := postern(t, "queue", "list", "--all", "--json", "--config", r.config)
	var entries []struct{ ID, About string }
	if err := json.Unmarshal([]byte(out), &entries); err != nil {
		t.Fatal(err)
	}
	reports := map[string][]string{} // by what they are about
	for _, e := range entries {
		reports[e.About] = append(reports[e.About], e.ID)
	}
	arrived := map[string]int{}
	for _, file := range o.mail(t, "anna") {
		m, err := mail.ReadMessage(bytes.NewReader(readFile(t, file)))
		if err != nil {
			t.Fatal(err)
		}
		arrived[strings.Trim(m.Header.Get("Message-Id"), "<>")]++
	}
	for _, id := range ids {
		if len(reports[id]) != 1 {
			t.Errorf("%s has %d reports", id, len(reports[id]))
			continue
		}
		report := reports[id][0]
		copies, interrupted := arrived[report+"@relay.example.com"], strings.Count(r.show(report), `"what": "interrupted"`)
		if copies == 0 || copies > 1+interrupted {
			t.Errorf("the report %s arrived %d times, interrupted %d times", report, copies, interrupted)
		}
	}
}
