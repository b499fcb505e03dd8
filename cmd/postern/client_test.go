//go:build linux

package main_test

import (
	"bytes"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// submitter is a mail client as found on devices and servers. It is given a
// file to submit (CRLF line ends) and stands for one way to do so.
type submitter struct {
	does     string
	program  string
	implicit bool
	eightBit bool // it can be given a body with octets over 127
	command  func(c submission) *exec.Cmd
}

// submission is what a client is told.
type submission struct {
	host, port string
	ca, file   string
	letter
}

var submitters = []submitter{
	{"swaks with STARTTLS and AUTH PLAIN", "swaks", false, false, func(c submission) *exec.Cmd { return swaks(c, "-tls", "PLAIN") }},
	{"swaks with STARTTLS and AUTH LOGIN", "swaks", false, false, func(c submission) *exec.Cmd { return swaks(c, "-tls", "LOGIN") }},
	{"swaks with implicit TLS", "swaks", true, false, func(c submission) *exec.Cmd { return swaks(c, "-tlsc", "PLAIN") }},
	{"msmtp with STARTTLS and AUTH PLAIN", "msmtp", false, true, func(c submission) *exec.Cmd { return msmtp(c, "on", "plain") }},
	{"msmtp with implicit TLS and AUTH LOGIN", "msmtp", true, true, func(c submission) *exec.Cmd { return msmtp(c, "off", "login") }},
	{"curl with STARTTLS and AUTH PLAIN", "curl", false, true, func(c submission) *exec.Cmd { return curl(c, "smtp", "PLAIN") }},
	{"curl with STARTTLS and AUTH LOGIN", "curl", false, true, func(c submission) *exec.Cmd { return curl(c, "smtp", "LOGIN") }},
	{"curl with implicit TLS", "curl", true, true, func(c submission) *exec.Cmd { return curl(c, "smtps", "PLAIN") }},
	{"smtplib with STARTTLS", "python3", false, true, func(c submission) *exec.Cmd { return smtplib(c, "starttls") }},
	{"smtplib with implicit TLS", "python3", true, true, func(c submission) *exec.Cmd { return smtplib(c, "implicit") }},
}

func swaks(c submission, tls, mechanism string) *exec.Cmd {
	cmd := exec.Command("swaks", "--server", c.host, "--port", c.port, tls, "--tls-verify", "--tls-ca-path", c.ca,
		"--auth", mechanism, "--auth-user", user, "--auth-password", password,
		"--from", c.from, "--to", c.to[0], "--data", "-")
	// It adds a line end of its own.
	cmd.Stdin = bytes.NewReader(bytes.TrimSuffix(c.letter.data, []byte("\r\n")))
	return cmd
}

func msmtp(c submission, starttls, mechanism string) *exec.Cmd {
	cmd := exec.Command("msmtp", "--file=/dev/null", "--host="+c.host, "--port="+c.port, "--tls=on", "--tls-starttls="+starttls, "--tls-trust-file="+c.ca,
		"--auth="+mechanism, "--user="+user, "--passwordeval=echo "+password, "--from="+c.from, "--", c.to[0])
	// It reads a text file, as sendmail does, and ends lines itself.
	cmd.Stdin = bytes.NewReader(bytes.ReplaceAll(c.letter.data, []byte("\r\n"), []byte("\n")))
	return cmd
}

func curl(c submission, scheme, mechanism string) *exec.Cmd {
	return exec.Command("curl", "--silent", "--show-error", "--ssl-reqd", "--cacert", c.ca, "--user", user+":"+password,
		"--login-options", "AUTH="+mechanism, "--mail-from", c.from, "--mail-rcpt", c.to[0],
		"--upload-file", c.file, scheme+"://"+net.JoinHostPort(c.host, c.port)+"/client.example.com")
}

func smtplib(c submission, mode string) *exec.Cmd {
	cmd := exec.Command("python3", "testdata/send.py", mode, c.host, c.port, c.ca, user, password, c.from, c.to[0])
	cmd.Stdin = bytes.NewReader(c.letter.data)
	return cmd
}

func TestMailOfEveryClientArrivesUnchanged(t *testing.T) {
	host := needSmarthost(t)
	relay := startRelay(t, host.address, nil)
	for _, s := range submitters {
		t.Run(s.does, func(t *testing.T) {
			needs(t, s.program)
			l := oddLetter(s.eightBit)
			file := filepath.Join(workDir(t), "letter.eml")
			writeFile(t, file, string(l.data))
			address := relay.address.submission
			if s.implicit {
				address = relay.address.submissions
			}
			_, port, _ := net.SplitHostPort(address)
			mustRun(t, s.command(submission{host: "localhost", port: port, ca: needKeys(t).ca, file: file, letter: l}))
			a := host.mail.await(t, l.id)
			mustBeIntact(t, l, a)
			for _, want := range []string{"by relay.example.com with ESMTPSA", "id " + a.relayID, "for <" + recipient + ">"} {
				if !strings.Contains(a.received, want) {
					t.Errorf("Received says %q, want %q in it", a.received, want)
				}
			}
		})
	}
}

// A server whose own Postfix sends everything through Postern.
func TestPostfixNullClientRelaysThroughUs(t *testing.T) {
	host := needSmarthost(t)
	needs(t, "sendmail")
	relay := startRelay(t, host.address, nil)
	_, port, _ := net.SplitHostPort(relay.address.submission)
	next := "[localhost]:" + port
	dir := workDir(t)
	writeFile(t, filepath.Join(dir, "passwords"), next+" "+user+":"+password+"\n")
	client := startPostfix(t, dir, `
myhostname = erp.example.com
relayhost = `+next+`
smtp_tls_security_level = verify
smtp_tls_verify_cert_match = hostname
smtp_tls_CAfile = `+needKeys(t).ca+`
smtp_sasl_auth_enable = yes
smtp_sasl_password_maps = texthash:`+dir+`/passwords
smtp_sasl_security_options = noanonymous
`)
	t.Cleanup(client.stop)

	l := oddLetter(true)
	cmd := exec.Command("sendmail", "-C", filepath.Join(dir, "etc"), "-i", "-f", l.from, l.to[0])
	cmd.Stdin = bytes.NewReader(bytes.ReplaceAll(l.data, []byte("\r\n"), []byte("\n")))
	mustRun(t, cmd)
	a := host.mail.await(t, l.id)
	// Postfix rewrites the header of local mail; the body is what was given.
	_, want, _ := bytes.Cut(l.data, []byte("\r\n\r\n"))
	own, got, _ := bytes.Cut(a.data, []byte("\r\n\r\n"))
	if !bytes.Equal(got, want) {
		t.Errorf("the body arrived changed: %s", difference(want, got))
	}
	if !bytes.HasPrefix(own, []byte("Received: by erp.example.com (Postfix")) {
		t.Errorf("below Postern's Received stands %q, want the null client's", own[:min(len(own), 80)])
	}
}

func TestWhatIsMissingIsAdded(t *testing.T) {
	host := needSmarthost(t)
	relay := startRelay(t, host.address, nil)
	l := letter{from: sender, to: []string{recipient}, data: []byte("Subject: scan\r\nBcc: boss@example.com\r\n\r\nA page.\r\n")}
	queueID, _, err := relay.session().send(l)
	if err != nil {
		t.Fatal(err)
	}
	var a arrival
	await(t, "the message to arrive", func() bool {
		var found bool
		a, found = host.mail.relayed(t, queueID)
		return found
	})
	header, body, _ := bytes.Cut(a.data, []byte("\r\n\r\n"))
	if string(body) != "A page.\r\n" {
		t.Errorf("the body is %q", body)
	}
	fields := "\r\n" + string(header) + "\r\n"
	for _, want := range []string{"\r\nSubject: scan\r\n", "\r\nFrom: ", "\r\nDate: ", "\r\nMessage-ID: <", sender} {
		if !strings.Contains(fields, want) {
			t.Errorf("the header lacks %q:\n%s", want, header)
		}
	}
	if strings.Contains(strings.ToLower(fields), "\r\nbcc:") {
		t.Errorf("Bcc was passed on:\n%s", header)
	}
}
