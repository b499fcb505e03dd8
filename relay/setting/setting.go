// Package setting holds the value types a configuration is written in:
// durations, sizes, networks and secrets. Each reads its text form and says, in
// words for the person who wrote it, what is wrong with it and what would be
// right. It is a leaf; where a value stands in a file is known to relay/config.
package setting

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// Duration is a time span written as a number with a unit: s, m, h or d
// ("30s", "4d"); "0" is none.
type Duration time.Duration

var durationUnits = []struct {
	suffix string
	unit   time.Duration
}{{"ms", time.Millisecond}, {"s", time.Second}, {"m", time.Minute}, {"h", time.Hour}, {"d", 24 * time.Hour}}

func (d *Duration) UnmarshalText(b []byte) error {
	s := string(b)
	if s == "0" {
		*d = 0
		return nil
	}
	for _, u := range durationUnits {
		digits, ok := strings.CutSuffix(s, u.suffix)
		if !ok {
			continue
		}
		n, err := strconv.ParseInt(digits, 10, 64)
		if err != nil {
			continue
		}
		if n < 0 || n > int64(100*365*24*time.Hour/u.unit) {
			return fmt.Errorf("%q is out of range; a duration is between 0 and 100 years", s)
		}
		*d = Duration(time.Duration(n) * u.unit)
		return nil
	}
	return fmt.Errorf("%q is not a duration; write a whole number with s, m, h or d, such as 30s or 4d", s)
}

func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// String uses the largest unit that leaves a whole number.
func (d Duration) String() string {
	for i := len(durationUnits) - 1; i >= 0; i-- {
		if u := durationUnits[i]; d != 0 && time.Duration(d)%u.unit == 0 {
			return strconv.FormatInt(int64(time.Duration(d)/u.unit), 10) + u.suffix
		}
	}
	return "0"
}

// Std is the duration as the standard library has it.
func (d Duration) Std() time.Duration { return time.Duration(d) }

// Size is a number of octets written with KiB, MiB or GiB ("50MiB"), or plain.
type Size int64

var sizeUnits = []struct {
	suffix string
	unit   int64
}{{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"", 1}}

func (z *Size) UnmarshalText(b []byte) error {
	s := string(b)
	for _, u := range sizeUnits {
		digits, ok := strings.CutSuffix(s, u.suffix)
		if !ok {
			continue
		}
		n, err := strconv.ParseInt(strings.TrimSpace(digits), 10, 64)
		if err != nil {
			continue
		}
		if n < 0 || n > 1<<60/u.unit {
			return fmt.Errorf("%q is out of range for a size", s)
		}
		*z = Size(n * u.unit)
		return nil
	}
	return fmt.Errorf("%q is not a size; write a whole number with KiB, MiB or GiB, such as 50MiB", s)
}

func (z Size) MarshalText() ([]byte, error) { return []byte(z.String()), nil }

// String uses the largest unit that leaves a whole number.
func (z Size) String() string {
	for i := 2; i >= 0; i-- {
		if u := sizeUnits[i]; z != 0 && int64(z)%u.unit == 0 {
			return strconv.FormatInt(int64(z)/u.unit, 10) + u.suffix
		}
	}
	return strconv.FormatInt(int64(z), 10)
}

// Network is an address prefix in CIDR form; a single address is that address
// alone.
type Network netip.Prefix

func (n *Network) UnmarshalText(b []byte) error {
	s := string(b)
	if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" {
		*n = Network(netip.PrefixFrom(a.Unmap(), a.Unmap().BitLen()))
		return nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil || p.Addr().Is4In6() { // would contain nothing, as addresses are compared unmapped
		return fmt.Errorf("%q is not a network; write it like 10.20.0.0/16, fd00::/8 or a single address", s)
	}
	if p != p.Masked() {
		return fmt.Errorf("%q has bits set beyond its mask; did you mean %s?", s, p.Masked())
	}
	*n = Network(p)
	return nil
}

func (n Network) MarshalText() ([]byte, error) { return []byte(n.String()), nil }

func (n Network) String() string { return netip.Prefix(n).String() }

// Networks is a list of which any may hold an address.
type Networks []Network

// Contain tells whether a lies in one of the networks; IPv4 addresses mapped
// into IPv6 count as IPv4.
func (ns Networks) Contain(a netip.Addr) bool {
	for _, n := range ns {
		if netip.Prefix(n).Contains(a.Unmap()) {
			return true
		}
	}
	return false
}

// String lists the networks for a person.
func (ns Networks) String() string {
	names := make([]string, len(ns))
	for i, n := range ns {
		names[i] = n.String()
	}
	return strings.Join(names, ", ")
}
