package upstream_test

import (
	"bufio"
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"log"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// What the scripted server takes as a login.
const (
	username = "relay@example.com"
	password = "canary-s3cret"
)

// What a fault may ask of the server instead of a reply.
const (
	drop = "drop" // close the connection
	hang = "hang" // say nothing more
)

// mail is one transaction the server took to its end.
type mail struct {
	from    string // MAIL with its parameters
	to      []string
	content []byte
}

// server is a scripted SMTP server on the loopback interface.
type server struct {
	// ext is what EHLO offers.
	ext []string
	// fault is asked at each step: GREETING, TLS, a verb, BODY (354 is sent,
	// nothing more is read) and DOT (all is read). It returns "" for the usual reply,
	// drop, hang, or the reply's lines, the last of which may be drop.
	fault func(step, line string) string
	// implicit: TLS comes first.
	implicit bool
	// lump: commands of a transaction are answered only once DATA has come.
	lump bool
	// takes is asked of tokens; challenge explains a refused one, "" does not.
	takes     func(token string) bool
	challenge string
	// wrap stands between the server and each connection, below TLS.
	wrap func(net.Conn) net.Conn
	// injected is sent in clear right behind the reply to STARTTLS.
	injected string

	tls    *tls.Config
	closed chan struct{}
	wg     sync.WaitGroup

	mu       sync.Mutex
	conns    map[net.Conn]bool
	mails    []mail
	commands []string
	sessions int
	early    bool // a command came before the one before it was answered
	dotWaits bool // the next final dot is answered by dotReply once MAIL has come
	dotReply string
}

var fullExtensions = []string{"PIPELINING", "SIZE 10485760", "8BITMIME", "SMTPUTF8", "DSN", "ENHANCEDSTATUSCODES", "AUTH PLAIN LOGIN"}

func newServer(t *testing.T) *server {
	s := &server{ext: fullExtensions, closed: make(chan struct{}), conns: map[net.Conn]bool{},
		tls:   &tls.Config{Certificates: []tls.Certificate{authority().leaf}},
		fault: func(string, string) string { return "" }}
	t.Cleanup(s.close)
	return s
}

// listen serves on a port of its own and returns its address.
func (s *server) listen(t *testing.T) string {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	s.wg.Go(func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			s.serve(nc)
		}
	})
	t.Cleanup(func() { ln.Close() })
	return ln.Addr().String()
}

func (s *server) close() {
	close(s.closed)
	s.mu.Lock()
	for nc := range s.conns {
		nc.Close()
	}
	s.mu.Unlock()
}

// cut closes every connection that is open now.
func (s *server) cut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for nc := range s.conns {
		nc.Close()
	}
}

func (s *server) serve(nc net.Conn) {
	s.mu.Lock()
	s.conns[nc] = true
	s.sessions++
	s.mu.Unlock()
	s.wg.Go(func() {
		defer nc.Close()
		if s.wrap != nil {
			nc = s.wrap(nc)
		}
		(&session{server: s, nc: nc, r: bufio.NewReader(nc)}).run()
	})
}

func (s *server) got() []mail {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]mail(nil), s.mails...)
}

func (s *server) heard() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.commands...)
}

func (s *server) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sessions
}

// logins are the sessions that came as far as AUTH: a connection to our port may
// be one of anybody's on this machine.
func (s *server) logins() (n int) {
	for _, line := range s.heard() {
		if strings.HasPrefix(line, "AUTH ") {
			n++
		}
	}
	return n
}

type session struct {
	*server
	nc      net.Conn
	r       *bufio.Reader
	mail    mail
	pending []string // replies held back
}

// run speaks until the session is over.
func (s *session) run() {
	if s.implicit && !s.handshake() {
		return
	}
	if !s.answer("GREETING", "", "220 mx.example.com ready") {
		return
	}
	for {
		line, err := s.r.ReadString('\n')
		if err != nil {
			return
		}
		line = strings.TrimRight(line, "\r\n")
		s.server.mu.Lock()
		s.commands = append(s.commands, line)
		s.early = s.early || s.r.Buffered() > 0
		s.server.mu.Unlock()
		if !s.command(line) {
			return
		}
	}
}

func (s *session) command(line string) bool {
	verb, arg, _ := strings.Cut(line, " ")
	switch strings.ToUpper(verb) {
	case "EHLO":
		return s.answer("EHLO", line, s.offer())
	case "STARTTLS":
		if !s.answer("STARTTLS", line, "220 go on") {
			return false
		}
		return s.handshake()
	case "AUTH":
		return s.auth(line, arg)
	case "MAIL":
		s.mail = mail{from: line}
		return s.answer("MAIL", line, "250 2.1.0 ok")
	case "RCPT":
		return s.answer("RCPT", line, "250 2.1.5 ok")
	case "RSET":
		return s.answer("RSET", line, "250 2.0.0 ok")
	case "DATA":
		return s.data()
	case "QUIT":
		s.answer("QUIT", line, "221 2.0.0 bye")
		return false
	}
	return s.answer(strings.ToUpper(verb), line, "250 ok")
}

// answer sends the usual reply or what fault asks for; false ends the session.
func (s *session) answer(step, line, usual string) bool {
	reply := s.fault(step, line)
	if reply == "" {
		reply = usual
	}
	return s.say(step, line, reply)
}

func (s *session) say(step, line, reply string) bool {
	switch reply {
	case drop:
		return false
	case hang:
		<-s.closed
		return false
	}
	if step == "RCPT" && strings.HasPrefix(reply, "25") {
		s.mail.to = append(s.mail.to, line)
	}
	if s.lump && (step == "MAIL" || step == "RCPT") {
		s.pending = append(s.pending, reply)
		return true
	}
	out := strings.ReplaceAll(strings.Join(append(s.pending, reply), "\n"), "\n", "\r\n") + "\r\n"
	s.pending = nil
	if step == "STARTTLS" {
		out += s.injected
	}
	out, dropped := strings.CutSuffix(out, drop+"\r\n")
	_, err := s.nc.Write([]byte(out))
	return err == nil && !dropped
}

func (s *session) offer() string {
	lines := append([]string{"mx.example.com"}, s.ext...)
	if _, secured := s.nc.(*tls.Conn); !secured {
		lines = append(lines, "STARTTLS")
	}
	for i := range lines {
		lines[i] = "250-" + lines[i]
	}
	lines[len(lines)-1] = "250 " + lines[len(lines)-1][4:]
	return strings.Join(lines, "\n")
}

func (s *session) handshake() bool {
	switch s.fault("TLS", "") {
	case drop:
		return false
	case hang:
		<-s.closed
		return false
	}
	nc := tls.Server(s.nc, s.tls)
	if nc.Handshake() != nil {
		return false
	}
	s.nc = nc
	s.r = bufio.NewReader(nc)
	return true
}

// auth takes PLAIN, XOAUTH2, OAUTHBEARER and EXTERNAL, in one line or two, and
// LOGIN with odd prompts. Each line of an exchange is heard as a command.
func (s *session) auth(line, arg string) bool {
	mechanism, response, inline := strings.Cut(arg, " ")
	ask := func(prompt string) string {
		s.nc.Write([]byte("334 " + prompt + "\r\n"))
		answer, err := s.r.ReadString('\n')
		if err != nil {
			return ""
		}
		answer = strings.TrimRight(answer, "\r\n")
		s.server.mu.Lock()
		s.commands = append(s.commands, answer)
		s.server.mu.Unlock()
		return answer
	}
	if reply := s.fault("ASK", line); reply != "" { // a server that asks on and on
		for range 50 {
			ask(reply)
		}
	}
	if !inline && mechanism != "LOGIN" {
		if reply := s.fault("TWO STEPS", line); reply != "" {
			return s.say("AUTH", line, reply)
		}
		response = ask("")
	}
	plain, _ := base64.StdEncoding.DecodeString(response)
	var ok bool
	switch mechanism {
	case "LOGIN":
		user, _ := base64.StdEncoding.DecodeString(ask("VXNlciBOYW1lAA=="))
		pass, _ := base64.StdEncoding.DecodeString(ask("what else?"))
		ok = string(user) == username && strings.HasPrefix(string(pass), password)
	case "PLAIN":
		ok = strings.HasPrefix(string(plain), "\x00"+username+"\x00"+password)
	case "EXTERNAL":
		nc, secured := s.nc.(*tls.Conn)
		ok = secured && len(nc.ConnectionState().PeerCertificates) > 0
	case "XOAUTH2", "OAUTHBEARER":
		token, _, _ := strings.Cut(afterLast(string(plain), "auth=Bearer "), "\x01")
		if ok = s.takes != nil && s.takes(token); !ok && s.challenge != "" {
			ask(base64.StdEncoding.EncodeToString([]byte(s.challenge)))
		}
	}
	if ok {
		return s.answer("AUTH", line, "235 2.7.0 welcome")
	}
	return s.answer("AUTH", line, "535 5.7.8 no")
}

func afterLast(s, sep string) string { return s[strings.LastIndex(s, sep)+len(sep):] }

func (s *session) data() bool {
	usual := "354 go on"
	if len(s.mail.to) == 0 {
		usual = "554 5.5.1 no valid recipients"
	}
	reply := s.fault("DATA", "")
	if reply == "" {
		reply = usual
	}
	if ok := s.say("DATA", "", reply); !ok || !strings.HasPrefix(reply, "354") {
		return ok
	}
	if !s.answerBody() {
		return false
	}
	content, err := s.content()
	if err != nil {
		return false
	}
	s.mail.content = content
	s.server.mu.Lock()
	s.mails = append(s.mails, s.mail)
	s.server.mu.Unlock()
	s.mail = mail{}
	s.server.mu.Lock()
	waits := s.dotWaits
	s.dotWaits = false
	s.server.mu.Unlock()
	if waits {
		if next, err := s.r.Peek(4); err != nil || string(next) != "MAIL" {
			return false
		}
		return s.say("DOT", "", s.dotReply)
	}
	return s.answer("DOT", "", "250 2.0.0 Ok: queued as 4Xyz123")
}

// answerBody is where the server may break off before it reads the content.
func (s *session) answerBody() bool {
	switch reply := s.fault("BODY", ""); reply {
	case "":
		return true
	case hang:
		<-s.closed
		return false
	case drop:
		return false
	default:
		s.nc.Write([]byte(reply + "\r\n"))
		<-s.closed
		return false
	}
}

// content reads up to the final dot and takes the stuffing out.
func (s *session) content() ([]byte, error) {
	var b bytes.Buffer
	for {
		line, err := s.r.ReadBytes('\n')
		if err != nil {
			return nil, err
		}
		if string(line) == ".\r\n" {
			return b.Bytes(), nil
		}
		b.Write(bytes.TrimPrefix(line, []byte(".")))
	}
}

// pki is a root and a certificate for 127.0.0.1 and localhost.
type pki struct {
	root []byte
	leaf tls.Certificate
}

var authority = sync.OnceValue(newPKI)

func newPKI() pki {
	rootKey, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	root := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test root"},
		NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<33, 0), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	rootDER, err := x509.CreateCertificate(rand.Reader, root, root, &rootKey.PublicKey, rootKey)
	if err != nil {
		log.Fatal(err)
	}
	key, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	leaf := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "mx"},
		NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<33, 0), DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	der, err := x509.CreateCertificate(rand.Reader, leaf, root, &key.PublicKey, rootKey)
	if err != nil {
		log.Fatal(err)
	}
	return pki{root: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: rootDER}),
		leaf: tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}}
}

// rootFile writes the root to a file.
func rootFile(t *testing.T) string {
	path := filepath.Join(t.TempDir(), "root.pem")
	if err := os.WriteFile(path, authority().root, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
