package main

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"postern/relay/admin"
	"postern/relay/config"
	"postern/relay/devices"
)

type devicesCmd struct {
	List       devicesListCmd       `cmd:"" default:"withargs" help:"List the devices: when they were here, how they speak, what went wrong."`
	Record     devicesRecordCmd     `cmd:"" help:"Wait for the next session of a device, and print what was said. Passwords and contents are left out."`
	Transcript devicesTranscriptCmd `cmd:"" help:"Print what was said in the session that \"record --no-wait\" asked for."`
}

type devicesListCmd struct {
	Who   string `arg:"" optional:"" help:"All that is known of this account, person or IP address."`
	Below string `help:"Only those whose TLS is older: who has to go before the floor can be raised." enum:",1.0,1.1,1.2,1.3" default:"" placeholder:"VERSION"`
	JSON  bool   `help:"Print JSON." name:"json"`
}

// Run asks the running relay, or reads what the last one kept.
func (d devicesListCmd) Run(c *cli, std streams) error {
	var all []devices.Device
	err := c.command("GET", "/devices", nil, &all)
	if errors.Is(err, admin.ErrNotRunning) {
		fmt.Fprintln(std.err, "No relay runs here; this is what the last one kept.")
		all, err = keptDevices(c.Config)
	}
	if err != nil {
		return err
	}
	all = slices.DeleteFunc(all, func(o devices.Device) bool { return !d.wants(o) })
	switch {
	case d.JSON:
		return printJSON(std.out, append([]devices.Device{}, all...)) // [] for none
	case d.Who == "":
		printDevices(std.out, all, time.Now())
	case len(all) == 0:
		return fmt.Errorf("no device %q is known; \"postern devices\" lists those there are", d.Who)
	default:
		for _, o := range all {
			printDevice(std.out, o, time.Now())
		}
	}
	return nil
}

func keptDevices(configPath string) ([]devices.Device, error) {
	dir, err := config.DataDir(configPath)
	if err != nil {
		return nil, err
	}
	return devices.Read(dir)
}

// wants tells whether o is asked for. Versions sort as text; devices without TLS
// are below all.
func (d devicesListCmd) wants(o devices.Device) bool {
	if d.Below != "" && o.Version() != "none" && o.Version() >= d.Below {
		return false
	}
	if address, err := netip.ParseAddr(d.Who); err == nil {
		return o.Address == address.Unmap()
	}
	return d.Who == "" || strings.EqualFold(o.Account, d.Who) || strings.EqualFold(o.User, d.Who)
}

type devicesRecordCmd struct {
	Who    string `arg:"" help:"An account, or the IP address of a device: of one that cannot log in, the address."`
	NoWait bool   `help:"Do not wait; \"postern devices transcript\" prints it later."`
}

// Run arms the recorder of the running relay.
func (d devicesRecordCmd) Run(c *cli, std streams) error {
	var r devices.Recording
	if err := c.command("POST", "/devices/recordings", devices.Recording{Who: d.Who}, &r); err != nil {
		return err
	}
	fmt.Fprintf(std.err, "The next session of %s is recorded, if it begins before %s.\n", r.Who, r.Until.Local().Format(time.DateTime))
	if d.NoWait {
		return nil
	}
	for r.Ended.IsZero() {
		if err := c.command("GET", "/devices/recordings/"+url.PathEscape(r.Who)+"?wait=yes", nil, &r); err != nil {
			return err
		}
	}
	printTranscript(std.out, r)
	return nil
}

type devicesTranscriptCmd struct {
	Who  string `arg:"" help:"An account, or the IP address of a device."`
	JSON bool   `help:"Print JSON." name:"json"`
}

// Run tells what has been recorded.
func (d devicesTranscriptCmd) Run(c *cli, std streams) error {
	var r devices.Recording
	if err := c.command("GET", "/devices/recordings/"+url.PathEscape(d.Who), nil, &r); err != nil {
		return err
	}
	switch {
	case d.JSON:
		return printJSON(std.out, r)
	case r.Ended.IsZero():
		return fmt.Errorf("no session of %s has ended yet; it is waited for until %s", r.Who, r.Until.Local().Format(time.DateTime))
	}
	printTranscript(std.out, r)
	return nil
}
