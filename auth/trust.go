package auth

import (
	"cmp"
	"net/netip"
	"slices"
)

// A trust is a network whose devices are an account without having to prove it.
type trust struct {
	network netip.Prefix
	account string
}

// trustsOf lists the networks of trusted accounts, those that lie within others
// first.
func trustsOf(accounts []Account) (all []trust) {
	for _, a := range accounts {
		for _, n := range a.Networks {
			if a.Trusted {
				all = append(all, trust{netip.Prefix(n), a.Name})
			}
		}
	}
	slices.SortStableFunc(all, func(x, y trust) int { return cmp.Compare(y.network.Bits(), x.network.Bits()) })
	return all
}

// Trusted tells which account a client is by its address alone: the one whose
// network holds it, the smallest where several do.
func (a *Accounts) Trusted(addr netip.Addr) (account string, ok bool) {
	addr = addr.Unmap().WithZone("")
	for _, t := range a.trusts {
		if t.network.Contains(addr) {
			return t.account, true
		}
	}
	return "", false
}

// NameOf is the account that has the name, as it is configured; "" if none has
// it.
func (a *Accounts) NameOf(name string) string {
	if acc := a.byName[fold(name)]; acc != nil {
		return acc.name
	}
	return ""
}
