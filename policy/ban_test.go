package policy

import (
	"fmt"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"pgregory.net/rapid"

	"postern/relay/message"
	"postern/relay/setting"
)

var usual = Ban{After: 3, Within: setting.Duration(10 * time.Minute), For: setting.Duration(time.Hour)}

var (
	stranger = netip.MustParseAddr("192.0.2.66")
	office   = netip.MustParseAddr("10.20.3.4")
)

func named(name string) Login { return Login{Name: name, Label: name} }

// crime is a Bans with the usual rules, that spares 10.20.0.0/16, and its clock.
type crime struct {
	*Bans
	now time.Time
}

func newCrime() *crime {
	c := &crime{NewBans(), time.Now()}
	c.Configure(usual, setting.Networks{setting.Network(netip.MustParsePrefix("10.20.0.0/16"))})
	return c
}

func (c *crime) fail(a netip.Addr, l Login, times int) (v Verdict) {
	for range times {
		v = c.Failed(a, l, c.now)
	}
	return v
}

func (c *crime) shut(a netip.Addr, name string) bool { return !c.Ban(a, named(name), c.now).IsZero() }

func TestBans(t *testing.T) {
	for _, tt := range []struct {
		name string
		do   func(c *crime)
		// Afterwards, the stranger as "boss" and as "printer", the address as a
		// whole, and a neighbour.
		boss, printer, address bool
	}{
		{"nobody is banned at first", func(*crime) {}, false, false, false},
		{"two failures are forgiven", func(c *crime) { c.fail(stranger, named("boss"), 2) }, false, false, false},
		{"the third bans that name from there", func(c *crime) { c.fail(stranger, named("boss"), 3) }, true, false, false},
		{"with spaces and what cannot be seen", func(c *crime) {
			c.fail(stranger, named(" boss"), 1)
			c.fail(stranger, named("bo\u00adss\u200b"), 1)
			c.fail(stranger, named("bo  ss "), 1)
		}, true, false, false},
		{"in other forms of its letters", func(c *crime) {
			c.fail(stranger, named("böss"), 1)
			c.fail(stranger, named("bo\u0301ss"), 1)
			c.fail(stranger, named("ｂｏｓｓ"), 1)
		}, true, false, false},
		{"what cannot be seen is no name of its own, and not none", func(c *crime) {
			c.fail(stranger, named("\u200b"), 3)
			c.fail(stranger, named(" "), 3)
		}, false, false, false},
		{"in any letter case", func(c *crime) { c.fail(stranger, named("BOSS"), 1); c.fail(stranger, named("Boss"), 2) }, true, false, false},
		{"a success makes the failures before it forgotten", func(c *crime) {
			c.fail(stranger, named("boss"), 2)
			c.Succeeded(stranger, named("boss"))
			c.fail(stranger, named("boss"), 2)
		}, false, false, false},
		{"another name's success does not", func(c *crime) {
			c.fail(stranger, named("boss"), 2)
			c.Succeeded(stranger, named("printer"))
			c.fail(stranger, named("boss"), 1)
		}, true, false, false},
		{"failures further apart than the time they count in ban nobody", func(c *crime) {
			for range 20 {
				c.fail(stranger, named("boss"), 1)
				c.now = c.now.Add(5 * time.Minute)
			}
		}, false, false, false},
		{"a ban ends", func(c *crime) { c.fail(stranger, named("boss"), 3); c.now = c.now.Add(time.Hour) }, false, false, false},
		{"and not before", func(c *crime) { c.fail(stranger, named("boss"), 3); c.now = c.now.Add(time.Hour - 1) }, true, false, false},
		{"after it counting begins anew", func(c *crime) {
			c.fail(stranger, named("boss"), 3)
			c.now = c.now.Add(time.Hour)
			c.fail(stranger, named("boss"), 2)
		}, false, false, false},
		{"five names that fail are not enough to ban the address", func(c *crime) {
			for i := range 5 {
				c.fail(stranger, named(fmt.Sprint("user", i)), 1)
			}
		}, false, false, false},
		{"six are", func(c *crime) {
			for i := range 6 {
				c.fail(stranger, named(fmt.Sprint("user", i)), 1)
			}
		}, true, true, true},
		{"one name six times is not", func(c *crime) { c.fail(stranger, named("boss"), 6) }, true, false, false},
		{"names that are banned count", func(c *crime) {
			c.fail(stranger, named("boss"), 3)
			c.now = c.now.Add(30 * time.Minute)
			for i := range 5 {
				c.fail(stranger, named(fmt.Sprint("user", i)), 1)
			}
		}, true, true, true},
		{"names that failed long ago do not", func(c *crime) {
			for i := range 20 {
				c.fail(stranger, named(fmt.Sprint("user", i)), 1)
				c.now = c.now.Add(3 * time.Minute)
			}
		}, false, false, false},
		{"the ban of an address ends", func(c *crime) {
			for i := range 6 {
				c.fail(stranger, named(fmt.Sprint("user", i)), 1)
			}
			c.now = c.now.Add(time.Hour)
		}, false, false, false},
		{"logins without a name ban nobody", func(c *crime) { c.fail(stranger, Login{}, 100) }, false, false, false},
		{"and are no name among others", func(c *crime) {
			c.fail(stranger, Login{}, 1)
			for i := range 5 {
				c.fail(stranger, named(fmt.Sprint("user", i)), 1)
			}
		}, false, false, false},
		{"with after: 0 nobody is banned", func(c *crime) {
			c.Configure(Ban{Within: usual.Within, For: usual.For}, nil)
			for i := range 100 {
				c.fail(stranger, named(fmt.Sprint("user", i)), 3)
			}
			c.fail(stranger, named("boss"), 100)
		}, false, false, false},
		{"an address that a reload spares is let in", func(c *crime) {
			for i := range 6 {
				c.fail(stranger, named(fmt.Sprint("user", i)), 1)
			}
			c.Configure(usual, setting.Networks{setting.Network(netip.MustParsePrefix("192.0.2.66/32"))})
		}, false, false, false},
		{"what is lifted is over", func(c *crime) {
			for i := range 6 {
				c.fail(stranger, named(fmt.Sprint("user", i)), 1)
			}
			c.Lift(stranger, "", c.now)
		}, false, false, false},
		{"lifting one name leaves the others", func(c *crime) {
			c.fail(stranger, named("boss"), 3)
			c.fail(stranger, named("printer"), 3)
			c.Lift(stranger, "Printer", c.now)
		}, true, false, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := newCrime()
			tt.do(c)
			if got := c.shut(stranger, "boss"); got != tt.boss {
				t.Errorf("the stranger as boss is banned: %v", got)
			}
			if got := c.shut(stranger, "printer"); got != tt.printer {
				t.Errorf("the stranger as printer is banned: %v", got)
			}
			if got := !c.Address(stranger, c.now).IsZero(); got != tt.address {
				t.Errorf("the stranger's address is banned: %v", got)
			}
			if c.shut(stranger.Next(), "boss") {
				t.Error("the neighbour is banned")
			}
		})
	}
}

func TestAnAddressOfOursIsNeverBannedAsAWhole(t *testing.T) {
	c := newCrime()
	for i := range 10_000 {
		if v := c.fail(office, named(fmt.Sprint("user", i)), 1); v.Delay == 0 || !v.Address.IsZero() {
			t.Fatalf("name %d: %+v", i, v)
		}
	}
	c.fail(office, named("boss"), 3)
	if !c.Address(office, c.now).IsZero() || c.shut(office, "printer") {
		t.Error("the office is banned")
	}
	if !c.shut(office, "boss") {
		t.Error("a name that fails there is not")
	}
	if n := len(c.clients[message.OneClient(office)].names); n > maxNamesEach {
		t.Errorf("%d names are remembered", n)
	}
}

// Who tries many names there waits as long as anybody, also for a new one.
func TestAnAddressOfOursIsDelayedForManyNames(t *testing.T) {
	c := newCrime()
	for i := range 5 {
		if v := c.fail(office, named(fmt.Sprint("user", i)), 1); v.Delay != firstDelay {
			t.Errorf("name %d waits %v", i, v.Delay)
		}
	}
	if v := c.fail(office, named("user5"), 1); v.Delay != lastDelay {
		t.Errorf("the sixth name waits %v", v.Delay)
	}
	c.now = c.now.Add(usual.Within.Std())
	if v := c.fail(office, named("user6"), 1); v.Delay != firstDelay {
		t.Errorf("the first name after a while waits %v", v.Delay)
	}
}

// Tokens and certificates may come without a name: then a stranger is shut out
// too, those who give one are not, and an office is only made to wait.
func TestLoginsWithoutAName(t *testing.T) {
	c := newCrime()
	c.fail(stranger, Login{}, 5)
	if c.shut(stranger, "") {
		t.Error("five failures of those without a name shut them out")
	}
	if v := c.fail(stranger, Login{}, 1); v.Login.IsZero() || !c.shut(stranger, "") {
		t.Errorf("the sixth does not: %+v", v)
	}
	if c.shut(stranger, "boss") || c.shut(stranger, "\u200b") || !c.Address(stranger, c.now).IsZero() {
		t.Error("it shuts out others")
	}
	if v := c.fail(office, Login{}, 100); v.Delay != lastDelay || c.shut(office, "") {
		t.Errorf("those of the office: %+v", v)
	}
}

// Spraying other names must not make a name forgotten that is being guessed.
func TestTheGuiltiestNameIsNotForgotten(t *testing.T) {
	c := newCrime()
	c.fail(office, named("boss"), 2)
	for i := range 10_000 {
		c.fail(office, named(fmt.Sprint("user", i)), 1)
	}
	if v := c.fail(office, named("boss"), 1); v.Login.IsZero() {
		t.Errorf("the third failure of boss was counted as number %d", v.Failures)
	}
}

// One wrong printer behind an address that 49 others share.
func TestTheNeighboursOfAWrongPrinterGoOn(t *testing.T) {
	c := newCrime()
	nat := netip.MustParseAddr("198.51.100.7")
	for range 1000 {
		c.fail(nat, named("wrong"), 1)
		for i := range 49 {
			name := fmt.Sprint("printer-", i)
			if c.shut(nat, name) {
				t.Fatalf("%s is banned", name)
			}
			c.Succeeded(nat, named(name))
		}
		c.now = c.now.Add(10 * time.Second)
	}
	if v := c.Failed(nat, named("printer-7"), c.now); v.Delay != firstDelay {
		t.Errorf("a neighbour that mistypes once waits %v", v.Delay)
	}
}

func TestTheDelayGrowsToItsEnd(t *testing.T) {
	c := newCrime()
	c.Configure(Ban{After: 100, Within: usual.Within, For: usual.For}, nil)
	for i, want := range []time.Duration{1, 2, 4, 8, 16, 16, 16} {
		if v := c.Failed(stranger, named("boss"), c.now); v.Delay != want*time.Second || v.Failures != i+1 {
			t.Errorf("failure %d (%d): %v, want %v", i+1, v.Failures, v.Delay, want*time.Second)
		}
	}
	if got := delay(1 << 40); got != lastDelay {
		t.Errorf("after many failures %v", got)
	}
}

func TestAHostOfIPv6IsOneClient(t *testing.T) {
	c := newCrime()
	for i, a := range []string{"2001:db8:1:2::1", "2001:db8:1:2:ffff::9", "2001:db8:1:2::77%eth0"} {
		if v := c.Failed(netip.MustParseAddr(a), named("boss"), c.now); v.Failures != i+1 {
			t.Errorf("%s: failure %d, want %d", a, v.Failures, i+1)
		}
	}
	if !c.shut(netip.MustParseAddr("2001:db8:1:2:3::4"), "boss") || c.shut(netip.MustParseAddr("2001:db8:1:3::1"), "boss") {
		t.Error("the ban is not that of the /64")
	}
	c.fail(netip.MustParseAddr("::ffff:192.0.2.66"), named("boss"), 3)
	if !c.shut(stranger, "boss") {
		t.Error("an IPv4 address within IPv6 is another")
	}
}

func TestMemoryStaysFlatWhateverComes(t *testing.T) {
	c := newCrime()
	c.fail(office, named("boss"), 3) // a ban outlives strangers with one failure each
	flood := func(from, to int) {
		for i := from; i < to; i++ {
			c.Failed(netip.AddrFrom4([4]byte{100, byte(i >> 16), byte(i >> 8), byte(i)}), named(fmt.Sprint("user", i)), c.now)
		}
	}
	flood(0, 100_000)
	before := heap()
	flood(100_000, 300_000)
	if grown := heap() - before; grown > 4<<20 {
		t.Errorf("200,000 addresses more took %d octets more", grown)
	}
	if n := c.remembered(); n > maxRemembered {
		t.Errorf("%d are remembered", n)
	}
	if !c.shut(office, "boss") {
		t.Error("a ban was forgotten for them")
	}
}

func TestMemoryStaysFlatWhenAllAreBanned(t *testing.T) {
	c := newCrime()
	for i := range 100_000 {
		a := netip.AddrFrom4([4]byte{100, byte(i >> 16), byte(i >> 8), byte(i)})
		if i%2 == 0 {
			c.fail(a, named("boss"), 3)
			continue
		}
		for j := range 6 {
			c.fail(a, named(fmt.Sprint("user", j)), 1)
		}
	}
	if n := c.remembered(); n > maxRemembered || len(c.clients) != c.free.Len()+c.banned.Len() {
		t.Errorf("%d are remembered; %d clients, %d and %d in lists", n, len(c.clients), c.free.Len(), c.banned.Len())
	}
	if last := netip.AddrFrom4([4]byte{100, 1, 0x86, 0x9e}); !c.shut(last, "boss") {
		t.Error("the latest ban was forgotten")
	}
	c.now = c.now.Add(2 * time.Hour)
	c.Failed(stranger, named("boss"), c.now)
	if n := c.remembered(); n != 2 {
		t.Errorf("when all is over %d are remembered", n)
	}
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func TestBansAreListed(t *testing.T) {
	c := newCrime()
	c.fail(stranger, named("boss"), 3)
	c.fail(stranger, Login{Name: "hunter2"}, 3) // a password in the wrong field
	for i := range 6 {
		c.fail(stranger.Next(), named(fmt.Sprint("user", i)), 1)
	}
	c.fail(office, named("printer"), 2)
	end := c.now.Add(time.Hour)
	want := []Banned{
		{Client: netip.MustParsePrefix("192.0.2.66/32"), Until: end},
		{Client: netip.MustParsePrefix("192.0.2.66/32"), Account: "boss", Until: end},
		{Client: netip.MustParsePrefix("192.0.2.67/32"), Whole: true, Until: end},
	}
	got := c.List(c.now)
	if len(got) != len(want) {
		t.Fatalf("%+v", got)
	}
	for i, w := range want {
		g := got[i]
		if g.Client != w.Client || g.Whole != w.Whole || g.Account != w.Account || !g.Until.Equal(w.Until) {
			t.Errorf("%d: %+v, want %+v", i, g, w)
		}
	}
	if n := c.Lift(stranger, "", c.now); n != 2 {
		t.Errorf("%d lifted, want 2", n)
	}
	if n := c.Lift(stranger, "", c.now); n != 0 {
		t.Errorf("%d lifted of none", n)
	}
	if got := c.List(c.now.Add(time.Hour)); len(got) != 0 {
		t.Errorf("after an hour: %+v", got)
	}
}

// Whatever happens, the books agree with one another, and who has not failed is
// not banned.
func TestBansKeepTheirBooks(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		c := newCrime()
		var clients []netip.Addr
		for i := range 5 {
			clients = append(clients, netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}))
		}
		clients = append(clients, office)
		for range rapid.IntRange(0, 200).Draw(rt, "steps") {
			a := rapid.SampledFrom(clients).Draw(rt, "client")
			l := named(rapid.SampledFrom([]string{"", "a", "b", "c", "d", "e", "f", "g"}).Draw(rt, "name"))
			switch rapid.IntRange(0, 9).Draw(rt, "step") {
			case 0:
				c.Succeeded(a, l)
			case 1:
				c.Lift(a, l.Name, c.now)
			case 2:
				c.now = c.now.Add(time.Duration(rapid.Int64Range(0, int64(time.Hour)).Draw(rt, "pause")))
			default:
				c.Failed(a, l, c.now)
			}
			names := 0
			for client, s := range c.clients {
				names += len(s.names)
				if s.client != client || s.place == nil || s.place.Value != s {
					rt.Fatalf("%v is not where it belongs", client)
				}
			}
			if names != c.names || c.free.Len()+c.banned.Len() != len(c.clients) {
				rt.Fatalf("%d names and %d clients; counted %d, and %d + %d", names, len(c.clients), c.names, c.free.Len(), c.banned.Len())
			}
			if c.shut(netip.MustParseAddr("203.0.113.1"), "a") {
				rt.Fatal("somebody who never came is banned")
			}
		}
	})
}
