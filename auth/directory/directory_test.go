//go:build linux

package directory_test

import (
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"postern/auth/directory"
	"postern/auth/slapdtest"
	"postern/relay/setting"
)

func TestLogin(t *testing.T) {
	d := open(t, configOf(start(t)))
	for _, test := range []struct {
		name, user, password string
		code                 int
	}{
		{"the password opens the account", "JDoe", password, 235},
		{"any letter case of the name does", "jdoe", password, 235},
		{"characters of filters are just characters", `a*(b)\c`, password, 235},
		{"a wrong password does not", "JDoe", password + "x", 535},
		{"an empty password does not, though the directory would take it", "JDoe", "", 535},
		{"a name nobody has does not", "nobody", password, 535},
		{"a star is not anybody", "*", password, 535},
		{"a part of a name is not the name", "JD*", password, 535},
		{"a filter in the name is not a filter", "*)(uid=*", password, 535},
		{"nor is one with a comment", "JDoe)(|(objectClass=*)", password, 535},
		{"nor is one that ends the text", "JDoe)\x00", password, 535},
		{"a backslash escapes nothing", `\4aDoe`, password, 535},
		{"a DN is no name", "uid=JDoe,ou=people,dc=example,dc=com", password, 535},
		{"who searches is not among the people", "postern", slapdtest.BindPassword, 535},
		{"an entry without a password does not", "nopassword", password, 535},
		{"a login with two entries does not", "pair", password, 535},
		{"a login with more does not", "twice", password, 535},
		{"an account whose directory is elsewhere does not", "elsewhere", password, 535},
		{"a name that is no text does not", "JDoe\xff", password, 535},
		{"a name longer than any does not", strings.Repeat("a", 256), password, 535},
		{"an account of its own does", "erp", "erp", 235},
		{"the directory does not open an account without a password", "staff", password, 535},
	} {
		t.Run(test.name, func(t *testing.T) {
			for range 2 { // the second is answered from memory
				who, code := d.login(test.user, test.password)
				if code != test.code {
					t.Errorf("the code is %d, want %d; log: %s", code, test.code, d.log)
				}
				if (who.Account != "") != (code == 235) {
					t.Errorf("the account is %q", who.Account)
				}
			}
		})
	}
	if !strings.Contains(d.log.String(), "several entries") {
		t.Error("the log does not tell of the login that has several entries")
	}
}

func TestWhoSomebodyIs(t *testing.T) {
	s := start(t)
	c := configOf(s)
	c.Filter = "(&(objectClass=person)(|(uid=%u)(mail=%u)(mail=%u@example.com)))"
	d := open(t, c)
	want := "staff JDoe [jdoe@example.com John.Doe@example.com john@example.com]"
	for _, user := range []string{"jdoe", "JDOE@example.com"} {
		who, code := d.login(user, password)
		if got := fmt.Sprintf("%s %s %v", who.Account, who.User, who.Addresses); got != want || code != 235 {
			t.Errorf("%s is %s (%d), want %s", user, got, code, want)
		}
	}
	for _, user := range []string{"anna", "ANNA", "scan@example.com"} { // has an account of her own
		who, code := d.login(user, password)
		if got := fmt.Sprintf("%s %s %v", who.Account, who.User, who.Addresses); got != "Anna  []" || code != 235 {
			t.Errorf("%s is %s (%d)", user, got, code)
		}
	}
}

func TestEveryWayToConnect(t *testing.T) {
	s := start(t)
	for _, test := range []struct {
		name   string
		change func(*directory.Config)
		code   int
	}{
		{"TLS from the start", func(*directory.Config) {}, 235},
		{"STARTTLS", func(c *directory.Config) { c.URL, c.StartTLS = s.Clear, true }, 235},
		{"in clear on this machine", func(c *directory.Config) { c.URL, c.CA = s.Clear, "" }, 235},
		{"a certificate nobody trusts", func(c *directory.Config) { c.CA = "" }, 454},
		{"a certificate nobody trusts, with STARTTLS", func(c *directory.Config) { c.URL, c.CA, c.StartTLS = s.Clear, "", true }, 454},
		{"a certificate for another name", func(c *directory.Config) { c.URL = strings.Replace(s.URL, "127.0.0.1", "localhost", 1) }, 454},
		{"a wrong password of who searches", func(c *directory.Config) { c.BindPassword = setting.Plain("wrong") }, 454},
		{"nobody in particular searches, who sees nothing", func(c *directory.Config) { c.BindDN, c.BindPassword = "", setting.Secret{} }, 454},
		{"a base that is not there", func(c *directory.Config) { c.Base = "ou=nowhere,dc=example,dc=com" }, 454},
		{"a base that is elsewhere", func(c *directory.Config) { c.Base = "ou=gone,dc=example,dc=com" }, 454},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := configOf(s)
			test.change(&c)
			d := open(t, c)
			if _, code := d.login("jdoe", password); code != test.code {
				t.Errorf("the code is %d, want %d; log: %s", code, test.code, d.log)
			}
			if test.code == 454 && !strings.Contains(d.log.String(), "cannot be asked") {
				t.Errorf("the log does not tell why: %s", d.log)
			}
		})
	}
}

// Neither an outage nor a server that is started again on old connections is
// told as a wrong password.
func TestServerGoesAndComesBack(t *testing.T) {
	s := start(t)
	d := open(t, configOf(s))
	if _, code := d.login("jdoe", password); code != 235 {
		t.Fatalf("at first: %d", code)
	}
	s.Stop()
	if _, code := d.login("jdoe", password); code != 235 {
		t.Errorf("what is remembered, while it is away: %d", code)
	}
	for range 2 {
		if _, code := d.login("anna", password); code != 454 {
			t.Errorf("while it is away: %d", code)
		}
		if _, code := d.login("erp", "erp"); code != 235 {
			t.Errorf("an account of its own, while it is away: %d", code)
		}
	}
	s.Restart()
	for user, want := range map[string]int{"anna": 235, "nobody": 535} {
		if _, code := d.login(user, password); code != want {
			t.Errorf("%s once it is back: %d", user, code)
		}
	}
	// Connections that died unnoticed are replaced.
	s.Stop()
	s.Restart()
	if _, code := d.login(`a*(b)\c`, password); code != 235 {
		t.Errorf("on a connection from before: %d; log: %s", code, d.log)
	}
}

// Two connections serve all: one for searches, one for binds. Were they mixed,
// a search would be made in the name of a person, who sees nothing.
func TestConnectionsAreKept(t *testing.T) {
	s := start(t)
	p := listen(t, strings.TrimPrefix(s.Clear, "ldap://"))
	c := configOf(s)
	c.URL = "ldap://" + p.Addr().String()
	d := open(t, c)
	logins := func() {
		for i, user := range []string{"jdoe", "JDOE", "jDoe", "JDoe", "Jdoe", "jdOe"} {
			if _, code := d.login(user, password); code != 235 {
				t.Errorf("login %d: %d", i, code)
			}
			if _, code := d.login(user, "wrong"); code != 535 {
				t.Errorf("wrong login %d: %d", i, code)
			}
		}
	}
	logins()
	if n := p.connections(); n != 2 {
		t.Errorf("%d connections were made, want 2", n)
	}
	p.cut()
	if who, code := d.login(`a*(b)\c`, password); code != 235 {
		t.Errorf("after the connections were cut: %d %v; log: %s", code, who, d.log)
	}
	if n := p.connections(); n != 4 {
		t.Errorf("%d connections were made after two were cut, want 4", n)
	}
}

// What was found out is remembered, so a device that logs in for each mail
// does not trouble the directory.
func TestLoginsAreRemembered(t *testing.T) {
	s := start(t)
	d := open(t, configOf(s))
	for _, login := range []struct {
		password string
		code     int
	}{{password, 235}, {"wrong", 535}} {
		if _, code := d.login("jdoe", login.password); code != login.code {
			t.Fatalf("at first: %d", code)
		}
	}
	s.Stop()
	for _, login := range []struct {
		password string
		code     int
	}{{password, 235}, {"wrong", 535}, {"other", 454}} {
		if who, code := d.login("jdoe", login.password); code != login.code || code == 235 && who.User != "JDoe" {
			t.Errorf("with %s the second time: %d %v", login.password, code, who)
		}
	}
}

func TestNetworksOfTheAccountHoldForItsPeople(t *testing.T) {
	c := configOf(start(t))
	c.Account = "visitor"
	d := open(t, c)
	for range 2 {
		if who, code := d.loginFrom(netip.MustParseAddr("10.1.2.3"), "jdoe", password); code != 235 || who.Account != "visitor" {
			t.Errorf("from inside: %d %v", code, who)
		}
		if _, code := d.login("jdoe", password); code != 535 {
			t.Errorf("from outside: %d", code)
		}
		if who, code := d.loginFrom(netip.MustParseAddr("10.1.2.3"), "bert", password); code != 235 || who.Account != "Bert" {
			t.Errorf("an account of its own, from inside: %d %v", code, who)
		}
		if _, code := d.login("bert", password); code != 535 {
			t.Errorf("an account of its own, from outside: %d", code)
		}
	}
	staff := c
	staff.Account = "staff"
	if who, code := open(t, c, staff).login("jdoe", password); code != 235 || who.Account != "staff" {
		t.Errorf("from outside, where another directory has the name: %d %v", code, who)
	}
}

func TestSeveralDirectories(t *testing.T) {
	s := start(t)
	nobody, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody.Close()
	good, visitors, away := configOf(s), configOf(s), configOf(s)
	visitors.Account = "visitor"
	away.URL = "ldap://" + nobody.Addr().String()
	inside := netip.MustParseAddr("10.1.2.3")
	for _, test := range []struct {
		name           string
		directories    []directory.Config
		user, password string
		code           int
		account        string
	}{
		{"the first that has the name decides", []directory.Config{visitors, good}, "jdoe", password, 235, "visitor"},
		{"one that is away is passed over", []directory.Config{away, good}, "jdoe", password, 235, "staff"},
		{"one that is away may have another password", []directory.Config{away, good}, "jdoe", "wrong", 454, ""},
		{"one that is away may have the name", []directory.Config{away, good}, "nobody", password, 454, ""},
		{"one behind that is away may have it too", []directory.Config{good, away}, "nobody", password, 454, ""},
		{"one behind the one that knows does not matter", []directory.Config{good, away}, "jdoe", "wrong", 535, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			who, code := open(t, test.directories...).loginFrom(inside, test.user, test.password)
			if code != test.code || who.Account != test.account {
				t.Errorf("%d %s, want %d %s", code, who.Account, test.code, test.account)
			}
		})
	}
}

// A server that accepts and says nothing, at any of the places where it could.
func TestServerThatHangs(t *testing.T) {
	silent := listen(t, "")
	for name, change := range map[string]func(*directory.Config){
		"in the TLS handshake": func(c *directory.Config) { c.URL = "ldaps://" + silent.Addr().String() },
		"at STARTTLS":          func(c *directory.Config) { c.StartTLS = true },
		"at the bind":          func(*directory.Config) {},
		"at the search":        func(c *directory.Config) { c.BindDN, c.BindPassword = "", setting.Secret{} },
	} {
		t.Run(name, func(t *testing.T) {
			c := directory.Config{URL: "ldap://" + silent.Addr().String(), BindDN: slapdtest.BindDN, BindPassword: setting.Plain("x"),
				Base: slapdtest.Base, Account: "staff", Timeout: setting.Duration(50 * time.Millisecond), Connections: 1}
			change(&c)
			d := open(t, c)
			var logins sync.WaitGroup
			for i := range 5 { // four of them wait for the one place
				logins.Go(func() {
					if _, code := d.login(fmt.Sprint("somebody", i), password); code != 454 {
						t.Errorf("the code is %d", code)
					}
				})
			}
			logins.Wait()
		})
	}
}

// An answer without end is cut, not kept.
func TestServerThatNeverEnds(t *testing.T) {
	flood, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var flooding sync.WaitGroup
	flooding.Go(func() {
		conn, err := flood.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		conn.Read(make([]byte, 1))
		// A message of 2 GiB begins; RFC 4511, section 5.1.
		conn.Write([]byte{0x30, 0x84, 0x7f, 0xff, 0xff, 0xff, 0x04, 0x84, 0x7f, 0xff, 0xff, 0xf0})
		for b := make([]byte, 1<<16); err == nil; {
			_, err = conn.Write(b)
		}
	})
	t.Cleanup(func() {
		flood.Close()
		flooding.Wait()
	})
	d := open(t, directory.Config{URL: "ldap://" + flood.Addr().String(), Base: slapdtest.Base, Account: "staff"})
	if _, code := d.login("jdoe", password); code != 454 || !strings.Contains(d.log.String(), "over 1048576 octets") {
		t.Errorf("the code is %d; log: %s", code, d.log)
	}
}

func TestManyAtOnce(t *testing.T) {
	s := start(t)
	p := listen(t, strings.TrimPrefix(s.Clear, "ldap://"))
	c := configOf(s)
	c.URL, c.Connections = "ldap://"+p.Addr().String(), 3
	d := open(t, c)
	var logins sync.WaitGroup
	for i := range 60 {
		logins.Go(func() {
			given, want := password, 235
			if i%3 == 0 {
				given, want = fmt.Sprint("wrong", i), 535
			}
			if who, code := d.login([]string{"jdoe", "JDOE", `a*(b)\c`}[i/3%3], given); code != want || code == 235 && who.Account != "staff" {
				t.Errorf("login %d: %d %v, want %d", i, code, who, want)
			}
		})
	}
	logins.Wait()
	if n := p.connections(); n > 6 {
		t.Errorf("%d connections for three logins at the same time", n)
	}
}

// Connections do not outlive a reload, nor do those that a session of before
// makes after it.
func TestCloseEndsConnections(t *testing.T) {
	s := start(t)
	p := listen(t, strings.TrimPrefix(s.Clear, "ldap://"))
	c := configOf(s)
	c.URL = "ldap://" + p.Addr().String()
	d := open(t, c)
	if _, code := d.login("jdoe", password); code != 235 {
		t.Fatalf("before: %d", code)
	}
	d.Close()
	if _, code := d.login("JDOE", password); code != 235 {
		t.Errorf("after: %d", code)
	}
	for range 4 {
		select {
		case <-p.ended:
		case <-time.After(10 * time.Second):
			t.Fatal("a connection is kept")
		}
	}
}

func TestNewRefuses(t *testing.T) {
	good := directory.Config{URL: "ldaps://dc1.example.com", Base: "dc=example,dc=com", Account: "staff"}
	for _, test := range []struct {
		name   string
		change func(*directory.Config)
		want   string
	}{
		{"a URL that is none", func(c *directory.Config) { c.URL = "dc1.example.com:636" }, `url: "dc1.example.com:636" is not the address of a directory`},
		{"a password in the URL", func(c *directory.Config) { c.URL = "ldap://me:canary@dc1" }, "url: holds a user name"},
		{"clear text over the network", func(c *directory.Config) { c.URL = "ldap://dc1" }, "start_tls: passwords would cross the network"},
		{"clear text to a name that only looks like this machine", func(c *directory.Config) { c.URL = "ldap://localhost.example.com" }, "start_tls: passwords would"},
		{"a root that is not there", func(c *directory.Config) { c.CA = "/nowhere/ca.pem" }, "ca: open /nowhere/ca.pem"},
		{"who searches without a password", func(c *directory.Config) { c.BindDN = "cn=x" }, "bind_password: is missing"},
		{"a filter that finds the same for all", func(c *directory.Config) { c.Filter = "(uid=*)" }, "filter: "},
		{"a filter in which the login is the attribute", func(c *directory.Config) { c.Filter = "(%u=x)" }, "filter: "},
		{"a filter of two", func(c *directory.Config) { c.Filter = "(uid=%u)(mail=%u)" }, "filter: "},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := good
			test.change(&c)
			_, err := directory.New([]directory.Config{good, c}, slog.New(slog.DiscardHandler))
			if err == nil || !strings.HasPrefix(err.Error(), "directories[1]: "+test.want) || strings.Contains(err.Error(), "canary") {
				t.Errorf("the error is %v", err)
			}
		})
	}
	s, err := directory.New([]directory.Config{good, good}, slog.New(slog.DiscardHandler))
	if err != nil || !slices.Equal(s.Accounts(), []string{"staff"}) {
		t.Errorf("the accounts are %v, %v", s.Accounts(), err)
	}
}
