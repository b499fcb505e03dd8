package devices

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"postern/relay/message"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func open(t *testing.T, dir string) *Devices {
	t.Helper()
	return Open(dir, slog.New(slog.DiscardHandler))
}

// visit is a good one of the account (or none) at address, minutes after noon.
func visit(account, address string, minutes int) message.Visit {
	at := noon.Add(time.Duration(minutes) * time.Minute)
	v := message.Visit{Began: at.Add(-time.Second), Ended: at, Client: message.Client{
		Identity: message.Identity{Account: account}, Address: netip.AddrPortFrom(netip.MustParseAddr(address), 4711),
		Hello: "mfp", Extended: true, Listener: "submission", TLSVersion: "TLS 1.2", TLSCipher: "TLS_RSA_WITH_AES_128_CBC_SHA"}}
	if account != "" {
		v.Mechanism, v.Messages = "LOGIN", 1
	}
	return v
}

func TestWhatIsKnownOfADevice(t *testing.T) {
	d := open(t, t.TempDir())
	d.Note(visit("printer", "10.0.0.1", 0))
	second := visit("printer", "::ffff:10.0.0.1", 5)
	second.Messages, second.User = 2, "jdoe"
	d.Note(second)
	failed := message.Visit{Ended: noon.Add(7 * time.Minute), Trouble: "TLS handshake failed: no shared cipher", Hint: "give it a profile",
		Client: message.Client{Identity: message.Identity{Account: "printer"}, Address: second.Address, Listener: "submissions"}}
	d.Note(failed)
	want := []Device{{Account: "printer", Address: netip.MustParseAddr("10.0.0.1"),
		Seen: noon.Add(7 * time.Minute), Mailed: noon.Add(5 * time.Minute), Failed: noon.Add(7 * time.Minute), Messages: 3,
		Listener: "submissions", Hello: "mfp", TLS: "TLS 1.2", Cipher: "TLS_RSA_WITH_AES_128_CBC_SHA", Mechanism: "LOGIN",
		Trouble: "TLS handshake failed: no shared cipher", Hint: "give it a profile"}}
	got := d.List()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if !got[0].Failing() {
		t.Error("it failed after its last message, and is not failing")
	}
	d.Note(visit("printer", "10.0.0.1", 9))
	if got := d.List()[0]; got.Failing() || got.Trouble == "" {
		t.Errorf("after a message it is failing, or what went wrong is forgotten: %+v", got)
	}
	clear := visit("printer", "10.0.0.1", 10)
	clear.TLSVersion, clear.TLSCipher = "", ""
	d.Note(clear)
	if got := d.List()[0]; got.Version() != "none" || got.Cipher != "" {
		t.Errorf("after a message in clear it speaks %q with %q", got.Version(), got.Cipher)
	}
}

func TestAccountsAndAddressesAreToldApart(t *testing.T) {
	d := open(t, t.TempDir())
	for _, v := range []message.Visit{
		visit("", "10.0.0.9", 0), visit("printer", "10.0.0.2", 1), visit("printer", "10.0.0.1", 2),
		visit("erp", "10.0.0.1", 3), visit("", "10.0.0.1", 4), visit("", "2001:db8::1", 5),
	} {
		d.Note(v)
	}
	var got []string
	for _, device := range d.List() {
		got = append(got, device.Account+"@"+device.Address.String())
	}
	const want = "erp@10.0.0.1 printer@10.0.0.1 printer@10.0.0.2 @10.0.0.1 @10.0.0.9 @2001:db8::1"
	if strings.Join(got, " ") != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
	if n := d.Count("1.2"); n != 3 {
		t.Errorf("%d devices with an account speak TLS 1.2, want 3", n)
	}
}

func numbered(i int) string {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], 0x0a000000+uint32(i))
	return netip.AddrFrom4(b).String()
}

func TestStrangersPushNoDeviceOut(t *testing.T) {
	d := open(t, t.TempDir())
	d.Note(visit("printer", "10.1.1.1", 0))
	for i := range 3 * most {
		d.Note(visit("", numbered(i), 1))
	}
	list := d.List()
	if len(list) != most || list[0].Account != "printer" {
		t.Errorf("%d devices, the first is %+v", len(list), list[0])
	}
	if want := netip.MustParseAddr(numbered(3*most - 1)); list[most-1].Address != want {
		t.Errorf("the last is %s, want the newest, %s", list[most-1].Address, want)
	}
	for i := range most {
		d.Note(visit("fleet", numbered(i), 2))
	}
	d.Note(visit("", "192.0.2.1", 3))
	list = d.List()
	if len(list) != most || list[0].Account != "fleet" || list[most-1].Account != "fleet" {
		t.Errorf("%d devices of %s to %s, want those of the fleet alone", len(list), list[0].Account, list[most-1].Account)
	}
	if d.known.Len()+d.unknown.Len() != most || len(d.byKey) != most {
		t.Errorf("%d, %d and %d are kept", d.known.Len(), d.unknown.Len(), len(d.byKey))
	}
}

func TestWhoWasSeenAgainStays(t *testing.T) {
	d := open(t, t.TempDir())
	d.Note(visit("", "10.1.1.1", 0))
	for i := range most - 1 {
		d.Note(visit("", numbered(i), 1))
	}
	d.Note(visit("", "10.1.1.1", 2))
	d.Note(visit("", "192.0.2.1", 3))
	for _, device := range d.List() {
		if device.Address == netip.MustParseAddr(numbered(0)) {
			t.Error("the one that was not seen for longest is still there")
		}
		if device.Address == netip.MustParseAddr("10.1.1.1") {
			return
		}
	}
	t.Error("the one seen just before is gone")
}

func TestWhatIsLongGoneIsForgotten(t *testing.T) {
	d := open(t, t.TempDir())
	d.Note(visit("old", "10.0.0.1", 0))
	d.Note(visit("", "10.0.0.2", 1))
	d.Note(visit("new", "10.0.0.3", 90*24*60+1))
	if list := d.List(); len(list) != 2 || list[0].Account != "new" || list[1].Address != netip.MustParseAddr("10.0.0.2") {
		t.Errorf("after 90 days and a minute: %+v", list)
	}
}

func TestInventoryIsKept(t *testing.T) {
	dir := t.TempDir()
	d := open(t, dir)
	if err := d.Save(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, fileName)); err == nil {
		t.Error("a file was written before there was anything to write")
	}
	long := visit("erp", "10.0.0.1", 1)
	long.Trouble = strings.Repeat("x", 10_000)
	for _, v := range []message.Visit{long, visit("printer", "fe80::1", 2), visit("", "10.0.0.1", 3)} {
		d.Note(v)
	}
	want := d.List()
	if len(want[0].Trouble) != maxTrouble {
		t.Errorf("%d octets of trouble are kept", len(want[0].Trouble))
	}
	if err := d.Save(); err != nil {
		t.Fatal(err)
	}
	if got := open(t, dir).List(); !reflect.DeepEqual(got, want) {
		t.Errorf("read again: %+v\nwant %+v", got, want)
	}
	if got, err := Read(dir); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("read without a relay: %+v, %v", got, err)
	}
	// Nothing new, nothing written.
	if err := os.Remove(filepath.Join(dir, fileName)); err != nil {
		t.Fatal(err)
	}
	if err := d.Save(); err != nil {
		t.Fatal(err)
	}
	if files, _ := os.ReadDir(dir); len(files) != 0 {
		t.Errorf("left in the directory: %v", files)
	}
}

func TestFailingToKeepIsTriedAgain(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	d := open(t, dir) // which is not there
	d.Note(visit("erp", "10.0.0.1", 1))
	if err := d.Save(); err == nil {
		t.Fatal("saved nowhere")
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := d.Save(); err != nil {
		t.Fatal(err)
	}
	if got, err := Read(dir); len(got) != 1 || err != nil {
		t.Errorf("%v, %v", got, err)
	}
}

func TestDamagedFileIsSetAside(t *testing.T) {
	good, err := json.Marshal([]Device{{Account: "erp", Address: netip.MustParseAddr("10.0.0.1"), Seen: noon}})
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{
		"empty":                    "",
		"cut short":                string(good[:len(good)/2]),
		"not JSON":                 "\x00\x00\x00",
		"something else":           `{"version": 1}`,
		"an address that is none":  `[{"address": "printer"}]`,
		"a device without address": `[{"account": "erp"}]`,
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, fileName)
			if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
			var log bytes.Buffer
			d := Open(dir, slog.New(slog.NewTextHandler(&log, nil)))
			d.Note(visit("printer", "10.0.0.1", 0))
			if err := d.Save(); err != nil {
				t.Fatal(err)
			}
			if got, err := Read(dir); len(got) != 1 || err != nil {
				t.Errorf("the new one is %v, %v", got, err)
			}
			if aside, err := os.ReadFile(path + ".damaged"); string(aside) != content {
				t.Errorf("set aside is %q, %v", aside, err)
			}
			if !strings.Contains(log.String(), "set aside") {
				t.Errorf("the log says %q", log.String())
			}
		})
	}
}
