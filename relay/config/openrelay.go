package config

import (
	"fmt"
	"net/netip"
	"strings"

	"postern/relay/setting"
)

// openRelays reports the configuration of an open relay: accounts that trust
// more of the world's addresses than anybody owns, those that trust a balancer,
// behind which everybody has the same address, and those whose devices anybody
// could pass for, as more addresses than anybody owns may be balancers.
func (f *file) openRelays(entrances []entrance, accounts []Account) {
	for _, l := range entrances {
		var everybody strangers // of all accounts, which may have shared out the world
		var names []string
		for i, a := range accounts {
			if !a.Auth.Trusted {
				continue
			}
			path := join(item("accounts", i), "networks")
			f.trustedBalancer(path, a.Auth.Name, a.Auth.Networks, l)
			reached := inside(a.Auth.Networks, l.networks)
			if alone := strangersIn(reached); alone.tooMany() {
				f.finding(path, "through listener %s anybody in %s could send as account %s without a password, and they hold %s; "+
					"list only the addresses of the devices, or set trusted to false and give the account a password", l.name, brief(reached), a.Auth.Name, alone)
				continue
			}
			before := everybody.tooMany()
			everybody.add(reached)
			names = append(names, a.Auth.Name)
			if everybody.tooMany() && !before {
				f.finding(path, "through listener %s anybody in the networks of the trusted accounts %s could send without a password, and together they hold %s; "+
					"list only the addresses of the devices", l.name, strings.Join(names, ", "), everybody)
			}
		}
	}
}

// trustedBalancer reports addresses that are trusted as an account, and from
// which a balancer speaks for others, and balancers that may be anybody.
func (f *file) trustedBalancer(path, account string, trusted setting.Networks, l entrance) {
	if crowd := strangersIn(l.balancers); crowd.tooMany() {
		f.finding(path, "listener %s believes anybody in %s which address they have (proxy_protocol), and they hold %s, "+
			"so they could send as account %s without a password; list only your balancers", l.name, brief(l.balancers), crowd, account)
		return
	}
	for _, n := range trusted {
		for _, b := range l.balancers {
			if netip.Prefix(n).Overlaps(netip.Prefix(b)) {
				f.finding(path, "%s holds %s, from where listener %s takes connections for others (proxy_protocol): "+
					"whoever comes through there without a header would be trusted as account %s; leave the balancer out", n, b, l.name, account)
				return
			}
		}
	}
}

// entrance is a listener as a stranger sees it.
type entrance struct {
	name      string
	networks  setting.Networks // who may connect; none: everybody
	balancers setting.Networks // who may say on whose behalf it connects
}

func entrances(c *Config) []entrance {
	var all []entrance
	for _, l := range c.Listeners {
		all = append(all, entrance{name: l.Name, networks: l.Networks, balancers: l.ProxyProtocol})
	}
	return all
}

// inside is what of the networks lies in the bounds; no bounds hold everything.
// Two networks share nothing, or one of them lies in the other.
func inside(networks, bounds setting.Networks) setting.Networks {
	if len(bounds) == 0 {
		return networks
	}
	var all setting.Networks
	for _, n := range networks {
		for _, b := range bounds {
			switch x, y := netip.Prefix(n), netip.Prefix(b); {
			case !x.Overlaps(y):
			case x.Bits() >= y.Bits():
				all = append(all, n)
			default:
				all = append(all, b)
			}
		}
	}
	return all
}

// brief is a list of networks, cut when it is long.
func brief(ns setting.Networks) string {
	const shown = 3
	if len(ns) <= shown {
		return ns.String()
	}
	return fmt.Sprintf("%s and %d more networks", ns[:shown], len(ns)-shown)
}
