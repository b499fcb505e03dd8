package relay

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"time"

	"postern/relay/admin"
)

// banCommands are what can be asked about those whose logins failed too often.
func (r *Relay) banCommands(c *admin.Control) {
	c.Handle("GET /bans", func(*http.Request) (any, error) { return r.listBans(), nil })
	c.Handle("DELETE /bans", r.liftBans)
}

// Ban is a ban as commands show it. Its names are a promise to scripts.
type Ban struct {
	// Client is an IPv4 address or an IPv6 /64.
	Client string `json:"client"`
	// Account is the name that is banned from there; empty when all are, or when
	// no account has it.
	Account string `json:"account,omitempty"`
	// Kind is "account", "unknown account" or "address".
	Kind  string    `json:"kind"`
	Until time.Time `json:"until"`
}

func (r *Relay) listBans() []Ban {
	bans := []Ban{} // none is a list too
	for _, b := range r.bans.List(time.Now()) {
		ban := Ban{Client: b.Client.String(), Account: b.Account, Kind: "account", Until: b.Until.UTC().Round(time.Second)}
		switch {
		case b.Whole:
			ban.Kind = "address"
		case b.Account == "":
			ban.Kind = "unknown account"
		}
		if b.Client.IsSingleIP() {
			ban.Client = b.Client.Addr().String()
		}
		bans = append(bans, ban)
	}
	return bans
}

// liftBans ends the bans of ?client=, or that of ?account= there. It answers how
// many that were.
func (r *Relay) liftBans(q *http.Request) (any, error) {
	client, account := q.FormValue("client"), q.FormValue("account")
	addr, err := netip.ParseAddr(client)
	if prefix, perr := netip.ParsePrefix(client); perr == nil { // as a list shows it
		addr, err = prefix.Addr(), nil
	}
	if err != nil {
		return nil, fmt.Errorf("%q is not an address", client)
	}
	lifted := r.bans.Lift(addr, r.named(account).Name, time.Now())
	switch {
	case lifted == 0 && account != "":
		return nil, fmt.Errorf("%s is not banned from %s; \"postern bans\" lists who is", account, client)
	case lifted == 0:
		return nil, errors.New(client + " is not banned; \"postern bans\" lists who is")
	}
	return lifted, nil
}
