//go:build linux

package main_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/textproto"
	"strings"
	"testing"
	"time"
)

// dialogue is one SMTP session, command by command. Its methods return errors:
// what a test expects may be a refusal or a dead connection.
type dialogue struct {
	conn net.Conn
	text *textproto.Conn
	ehlo []string // what the last EHLO offered
}

// dial connects and reads the greeting.
func dial(address string) (*dialogue, error) {
	conn, err := net.DialTimeout("tcp", address, 10*time.Second)
	if err != nil {
		return nil, err
	}
	return greet(conn)
}

// dialTLS is dial for a port with implicit TLS.
func dialTLS(address string, roots *x509.CertPool) (*dialogue, error) {
	d := net.Dialer{Timeout: 10 * time.Second}
	conn, err := tls.DialWithDialer(&d, "tcp", address, &tls.Config{ServerName: "localhost", RootCAs: roots})
	if err != nil {
		return nil, err
	}
	return greet(conn)
}

func greet(conn net.Conn) (*dialogue, error) {
	d := &dialogue{conn: conn, text: textproto.NewConn(conn)}
	conn.SetDeadline(time.Now().Add(patience))
	if _, err := d.reply(); err != nil {
		conn.Close()
		return nil, err
	}
	return d, nil
}

// logIn makes a session that is ready for MAIL.
func logIn(address string, roots *x509.CertPool) (*dialogue, error) {
	d, err := dial(address)
	if err != nil {
		return nil, err
	}
	for _, step := range []func() error{
		d.hello,
		func() error { return d.startTLS(roots) },
		d.hello,
		func() error { return d.auth(user, password) },
	} {
		if err := step(); err != nil {
			d.close()
			return nil, err
		}
	}
	return d, nil
}

// reply reads one; anything but 2yz and 3yz is an error of type
// *textproto.Error.
func (d *dialogue) reply() (string, error) {
	code, text, err := d.text.ReadResponse(0)
	if err == nil && code >= 400 {
		err = &textproto.Error{Code: code, Msg: text}
	}
	return text, err
}

// say sends a command and reads the reply.
func (d *dialogue) say(format string, args ...any) (string, error) {
	if err := d.text.PrintfLine(format, args...); err != nil {
		return "", err
	}
	return d.reply()
}

func (d *dialogue) hello() error {
	text, err := d.say("EHLO client.example.com")
	d.ehlo = strings.Split(text, "\n")[1:]
	return err
}

// offers tells whether the last EHLO listed a line that begins with keyword.
func (d *dialogue) offers(keyword string) bool {
	for _, line := range d.ehlo {
		if line == keyword || strings.HasPrefix(line, keyword+" ") {
			return true
		}
	}
	return false
}

func (d *dialogue) startTLS(roots *x509.CertPool) error {
	if _, err := d.say("STARTTLS"); err != nil {
		return err
	}
	conn := tls.Client(d.conn, &tls.Config{ServerName: "localhost", RootCAs: roots})
	d.conn, d.text = conn, textproto.NewConn(conn)
	return conn.Handshake()
}

func (d *dialogue) auth(name, secret string) error {
	_, err := d.say("AUTH PLAIN %s", base64.StdEncoding.EncodeToString([]byte("\x00"+name+"\x00"+secret)))
	return err
}

// send hands over a letter and returns the queue id of the 250. With sent set,
// an error came after the final dot: the relay may have accepted it.
func (d *dialogue) send(l letter) (id string, sent bool, err error) {
	if _, err = d.say("MAIL FROM:<%s> BODY=8BITMIME", l.from); err != nil {
		return "", false, err
	}
	for _, to := range l.to {
		if _, err = d.say("RCPT TO:<%s>", to); err != nil {
			return "", false, err
		}
	}
	if _, err = d.say("DATA"); err != nil {
		return "", false, err
	}
	return d.data(l.data)
}

// data sends what follows the 354, up to and with the final dot.
func (d *dialogue) data(b []byte) (id string, sent bool, err error) {
	w := d.text.DotWriter()
	if _, err = w.Write(b); err != nil {
		return "", false, err
	}
	if err = w.Close(); err != nil {
		return "", true, err
	}
	text, err := d.reply()
	if err != nil {
		return "", true, err
	}
	if _, id, ok := strings.Cut(text, "queued as "); ok {
		return strings.TrimSpace(id), true, nil
	}
	return "", true, fmt.Errorf("the 250 names no queue id: %q", text)
}

func (d *dialogue) close() { d.conn.Close() }

// quit ends the session in order.
func (d *dialogue) quit() error {
	_, err := d.say("QUIT")
	d.close()
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// code is the SMTP code of a refusal; 0 for any other error, 200 for none.
func code(err error) int {
	var refused *textproto.Error
	switch {
	case err == nil:
		return 200
	case errors.As(err, &refused):
		return refused.Code
	}
	return 0
}

// trust makes the pool of the one CA in a file.
func trust(t testing.TB, ca string) *x509.CertPool {
	t.Helper()
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(readFile(t, ca)) {
		t.Fatalf("%s holds no certificate", ca)
	}
	return pool
}

// session is a logged-in session with the relay for the length of the test.
func (r *relay) session() *dialogue {
	r.t.Helper()
	d, err := logIn(r.address.submission, trust(r.t, needKeys(r.t).ca))
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(d.close)
	return d
}
