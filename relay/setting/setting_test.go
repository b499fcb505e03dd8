package setting

import (
	"encoding"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// read sets v from text.
func read(v encoding.TextUnmarshaler, text string) error { return v.UnmarshalText([]byte(text)) }

func TestDuration(t *testing.T) {
	for _, row := range []struct {
		text    string
		want    time.Duration
		printed string
	}{
		{"0", 0, "0"},
		{"0s", 0, "0"},
		{"250ms", 250 * time.Millisecond, "250ms"},
		{"30s", 30 * time.Second, "30s"},
		{"90s", 90 * time.Second, "90s"},
		{"120s", 2 * time.Minute, "2m"},
		{"5m", 5 * time.Minute, "5m"},
		{"4h", 4 * time.Hour, "4h"},
		{"24h", 24 * time.Hour, "1d"},
		{"4d", 96 * time.Hour, "4d"},
		{"36500d", 100 * 365 * 24 * time.Hour, "36500d"},
	} {
		var d Duration
		if err := read(&d, row.text); err != nil || d.Std() != row.want {
			t.Errorf("%s is %v, %v", row.text, d.Std(), err)
		}
		if b, err := d.MarshalText(); err != nil || string(b) != row.printed {
			t.Errorf("%s prints as %q, %v; want %q", row.text, b, err, row.printed)
		}
	}
}

func TestDurationThatIsNone(t *testing.T) {
	for text, want := range map[string]string{
		"":                     "write a whole number with s, m, h or d",
		"30":                   "write a whole number with s, m, h or d",
		"s":                    "write a whole number with s, m, h or d",
		"ms":                   "write a whole number with s, m, h or d",
		"1h30m":                "write a whole number with s, m, h or d",
		"1.5h":                 "write a whole number with s, m, h or d",
		"4 days":               "write a whole number with s, m, h or d",
		"4D":                   "write a whole number with s, m, h or d",
		"-5m":                  "out of range",
		"36501d":               "out of range",
		"9223372036854775807d": "out of range",
		"9223372036854775808s": "write a whole number with s, m, h or d",
	} {
		d := Duration(7)
		if err := read(&d, text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: the error is %v, want %q", text, err, want)
		}
		if d != 7 {
			t.Errorf("%q: an error changed the value to %v", text, d)
		}
	}
}

func TestSize(t *testing.T) {
	for _, row := range []struct {
		text    string
		want    int64
		printed string
	}{
		{"0", 0, "0"},
		{"100", 100, "100"},
		{"1024", 1024, "1KiB"},
		{"1500KiB", 1500 << 10, "1500KiB"},
		{"50MiB", 50 << 20, "50MiB"},
		{"50 MiB", 50 << 20, "50MiB"},
		{"5GiB", 5 << 30, "5GiB"},
		{"1073741824GiB", 1 << 60, "1073741824GiB"},
	} {
		var z Size
		if err := read(&z, row.text); err != nil || int64(z) != row.want {
			t.Errorf("%s is %d, %v", row.text, z, err)
		}
		if b, err := z.MarshalText(); err != nil || string(b) != row.printed {
			t.Errorf("%s prints as %q, %v; want %q", row.text, b, err, row.printed)
		}
	}
}

func TestSizeThatIsNone(t *testing.T) {
	for text, want := range map[string]string{
		"":                     "write a whole number with KiB, MiB or GiB",
		"50MB":                 "write a whole number with KiB, MiB or GiB",
		"50mib":                "write a whole number with KiB, MiB or GiB",
		"MiB":                  "write a whole number with KiB, MiB or GiB",
		"1.5GiB":               "write a whole number with KiB, MiB or GiB",
		"-1":                   "out of range",
		"1073741825GiB":        "out of range",
		"9223372036854775807":  "out of range",
		"9223372036854775808B": "write a whole number with KiB, MiB or GiB",
	} {
		if err := read(new(Size), text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: the error is %v, want %q", text, err, want)
		}
	}
}

func TestNetworksContain(t *testing.T) {
	for _, row := range []struct {
		network, address string
		want             bool
	}{
		{"10.20.0.0/16", "10.20.255.1", true},
		{"10.20.0.0/16", "10.21.0.1", false},
		{"10.20.0.0/16", "::ffff:10.20.0.1", true},
		{"10.20.3.7", "10.20.3.7", true},
		{"10.20.3.7", "10.20.3.8", false},
		{"::ffff:10.20.3.7", "10.20.3.7", true},
		{"fd00::/8", "fd12::1", true},
		{"fd00::/8", "fe80::1", false},
		{"fd00::1", "fd00::1", true},
		{"0.0.0.0/0", "192.0.2.1", true},
		{"0.0.0.0/0", "2001:db8::1", false},
		{"::/0", "192.0.2.1", false},
	} {
		var n Network
		if err := read(&n, row.network); err != nil {
			t.Errorf("%s: %v", row.network, err)
			continue
		}
		if got := (Networks{n}).Contain(netip.MustParseAddr(row.address)); got != row.want {
			t.Errorf("%s in %s: %v, want %v", row.address, row.network, got, row.want)
		}
	}
	if (Networks{}).Contain(netip.MustParseAddr("192.0.2.1")) {
		t.Error("no networks contain an address")
	}
}

func TestNetworksPrint(t *testing.T) {
	var ns Networks
	for _, text := range []string{"10.20.0.0/16", "192.0.2.1", "fd00::1"} {
		var n Network
		if err := read(&n, text); err != nil {
			t.Fatal(err)
		}
		ns = append(ns, n)
	}
	if got, want := ns.String(), "10.20.0.0/16, 192.0.2.1/32, fd00::1/128"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if b, err := ns[0].MarshalText(); string(b) != "10.20.0.0/16" || err != nil {
		t.Errorf("got %q, %v", b, err)
	}
}

func TestNetworkThatIsNone(t *testing.T) {
	for text, want := range map[string]string{
		"":                     "write it like",
		"office":               "write it like",
		"10.20.0.0/33":         "write it like",
		"10.20.0/16":           "write it like",
		"10.20.0.0-10.20.0.9":  "write it like",
		"fe80::1%eth0":         "write it like",
		"10.20.3.7/24":         "did you mean 10.20.3.0/24?",
		"fd00::1/8":            "did you mean fd00::/8?",
		"::ffff:10.20.0.0/112": "write it like",
	} {
		if err := read(new(Network), text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: the error is %v, want %q", text, err, want)
		}
	}
}

// What one value prints, another reads.
func TestPrintedValuesReadBack(t *testing.T) {
	for seconds := range 10000 {
		d := Duration(time.Duration(seconds*37) * time.Second)
		var back Duration
		if err := read(&back, fmt.Sprint(d)); err != nil || back != d {
			t.Fatalf("%v reads back as %v, %v", d, back, err)
		}
		z := Size(seconds * 512)
		var size Size
		if err := read(&size, fmt.Sprint(z)); err != nil || size != z {
			t.Fatalf("%v reads back as %v, %v", z, size, err)
		}
	}
}
