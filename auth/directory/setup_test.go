//go:build linux

package directory_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"postern/auth"
	"postern/auth/directory"
	"postern/auth/slapdtest"
	"postern/relay/message"
	"postern/relay/setting"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// people are in the directory of the tests. All have the same password.
const people = `dn: uid=JDoe,ou=people,dc=example,dc=com
objectClass: inetOrgPerson
objectClass: mailbox
uid: JDoe
cn: John Doe
sn: Doe
mail: jdoe@example.com
proxyAddresses: smtp:john@example.com
proxyAddresses: SMTP:John.Doe@example.com
proxyAddresses: X500:/o=example/cn=jdoe
proxyAddresses: smtp:JDOE@example.com
userPassword: canary-person-5e27c9

dn: uid=anna,ou=people,dc=example,dc=com
objectClass: inetOrgPerson
uid: anna
cn: Anna
sn: Anna
userPassword: canary-person-5e27c9

dn: uid=a*(b)\\c,ou=people,dc=example,dc=com
objectClass: inetOrgPerson
uid: a*(b)\c
cn: odd
sn: odd
userPassword: canary-person-5e27c9

dn: cn=one,ou=people,dc=example,dc=com
objectClass: inetOrgPerson
uid: twice
cn: one
sn: one
userPassword: canary-person-5e27c9

dn: cn=two,ou=people,dc=example,dc=com
objectClass: inetOrgPerson
uid: twice
cn: two
sn: two
userPassword: canary-person-5e27c9

dn: cn=three,ou=people,dc=example,dc=com
objectClass: inetOrgPerson
uid: twice
cn: three
sn: three
userPassword: canary-person-5e27c9

dn: cn=four,ou=people,dc=example,dc=com
objectClass: inetOrgPerson
uid: pair
cn: four
sn: four
userPassword: canary-person-5e27c9

dn: cn=five,ou=people,dc=example,dc=com
objectClass: inetOrgPerson
uid: pair
cn: five
sn: five
userPassword: canary-person-5e27c9

dn: uid=bert,ou=people,dc=example,dc=com
objectClass: inetOrgPerson
uid: bert
cn: bert
sn: bert
userPassword: canary-person-5e27c9

dn: uid=nopassword,ou=people,dc=example,dc=com
objectClass: inetOrgPerson
uid: nopassword
cn: nopassword
sn: nopassword

dn: ou=elsewhere,ou=people,dc=example,dc=com
objectClass: referral
objectClass: extensibleObject
ou: elsewhere
ref: ldap://127.0.0.1:9/ou=elsewhere,dc=example,dc=com

dn: ou=gone,dc=example,dc=com
objectClass: referral
objectClass: extensibleObject
ou: gone
ref: ldap://127.0.0.1:9/ou=gone,dc=example,dc=com
`

const password = "canary-person-5e27c9"

// needsSlapd skips a test where there is none, and says so; never so in CI.
func needsSlapd(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("slapd"); err == nil {
		return
	}
	if _, err := os.Stat("/usr/sbin/slapd"); err == nil {
		return
	}
	sentence := t.Name() + " NOT TESTED: needs slapd; run 'make tools' as root"
	if os.Getenv("CI") == "true" {
		t.Fatal(sentence)
	}
	fmt.Fprintln(os.Stderr, "\n***", sentence)
	t.Skip(sentence)
}

func start(t *testing.T) *slapdtest.Server {
	t.Helper()
	needsSlapd(t)
	return slapdtest.Start(t, people)
}

func configOf(s *slapdtest.Server) directory.Config {
	return directory.Config{URL: s.URL, CA: s.CA, BindDN: slapdtest.BindDN, BindPassword: setting.Plain(slapdtest.BindPassword),
		Base: slapdtest.Base, Account: "staff"}
}

// door is the accounts of a configuration, with its log.
type door struct {
	*auth.Accounts
	log *bytes.Buffer
}

// open makes the accounts staff, visitor, and erp, whose own password is "erp",
// before those directories, which have the passwords of Anna and Bert. Visitors
// and Bert must come from 10.0.0.0/8.
func open(t *testing.T, directories ...directory.Config) door {
	t.Helper()
	var log bytes.Buffer
	cfg := auth.DefaultConfig()
	cfg.Directories = directories
	a, err := auth.New(cfg, []auth.Account{
		{Name: "staff"},
		{Name: "visitor", Networks: setting.Networks{setting.Network(netip.MustParsePrefix("10.0.0.0/8"))}},
		{Name: "erp", PasswordHash: setting.Plain(hashOf(t, "erp"))},
		{Name: "Anna", Aliases: []string{"scan@example.com"}, Directory: true},
		{Name: "Bert", Directory: true, Networks: setting.Networks{setting.Network(netip.MustParsePrefix("10.0.0.0/8"))}},
	}, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	t.Cleanup(func() {
		if strings.Contains(log.String(), "canary") {
			t.Errorf("the log shows a secret: %s", &log)
		}
	})
	return door{a, &log}
}

func hashOf(t *testing.T, password string) string {
	t.Helper()
	hash, err := auth.Hash(password)
	if err != nil {
		t.Fatal(err)
	}
	return hash
}

var outside = netip.MustParseAddr("192.0.2.7")

// login tells who it is and the code of the reply, 235 for success.
func (d door) login(name, password string) (message.Identity, int) {
	return d.loginFrom(outside, name, password)
}

func (d door) loginFrom(addr netip.Addr, name, password string) (message.Identity, int) {
	who, err := d.Password(context.Background(), name, password, addr)
	var reply *message.Reply
	switch {
	case err == nil:
		return who, 235
	case errors.As(err, &reply):
		return who, reply.Code
	}
	return who, 0
}

// tap is the way to a directory, where connections are counted and cut.
type tap struct {
	net.Listener
	passing sync.WaitGroup
	ended   chan struct{} // one for each connection that has ended

	mu    sync.Mutex
	conns []net.Conn
	stale int // so many of them are dead, and nobody has noticed
}

// listen passes connections on to target, or to nobody.
func listen(t *testing.T, target string) *tap {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &tap{Listener: l, ended: make(chan struct{}, 100)}
	var accepting sync.WaitGroup
	accepting.Go(func() { p.accept(target) })
	t.Cleanup(func() {
		l.Close()
		accepting.Wait()
		for _, c := range p.conns {
			c.Close()
		}
		p.passing.Wait()
	})
	return p
}

func (p *tap) accept(target string) {
	for {
		conn, err := p.Accept()
		if err != nil {
			return
		}
		p.mu.Lock()
		p.conns = append(p.conns, conn)
		number := len(p.conns)
		p.mu.Unlock()
		if target != "" {
			p.passing.Go(func() { p.pass(conn, target, number) })
		}
	}
}

// pass carries octets both ways until either side ends.
func (p *tap) pass(conn net.Conn, target string, number int) {
	defer func() { p.ended <- struct{}{} }()
	defer conn.Close()
	far, err := net.Dial("tcp", target)
	if err != nil {
		return
	}
	p.passing.Go(func() {
		defer conn.Close()
		io.Copy(conn, far)
	})
	defer far.Close()
	for b := make([]byte, 4096); ; {
		n, err := conn.Read(b)
		if err != nil || p.isStale(number) {
			return
		}
		far.Write(b[:n])
	}
}

func (p *tap) isStale(number int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return number <= p.stale
}

// cut lets all connections there are die as soon as something is said on them.
func (p *tap) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stale = len(p.conns)
}

func (p *tap) connections() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.conns)
}
