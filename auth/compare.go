package auth

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"io"

	"postern/relay/message"
)

// key is the HMAC-SHA256 of parts, each after its length. The key of a login
// holds the name as it was given, so that trying one password under two names
// does not tell whether they are the same account's, and the account it may
// open, so that what was found out from one network says nothing to another.
func (a *Accounts) key(parts ...string) (k key) {
	mac := hmac.New(sha256.New, a.secret)
	for _, part := range parts {
		mac.Write(binary.BigEndian.AppendUint64(nil, uint64(len(part))))
		io.WriteString(mac, part) // a hash takes all (package hash)
	}
	mac.Sum(k[:0])
	return k
}

// compare finds out whether the password is the candidate's and remembers the
// outcome under k. The error is that there was no room in time, or that no
// directory could say.
//
// Callers with the same k share one comparison. It does not end with any of
// them: a device that gave up and comes back finds the answer.
func (a *Accounts) compare(ctx context.Context, k key, c candidate, password string) (message.Identity, bool, error) {
	type verdict struct {
		who   message.Identity
		match bool
	}
	flight := a.flights.DoChan(string(k[:]), func() (any, error) {
		who, match, err := a.check(context.WithoutCancel(ctx), c, password)
		switch {
		case err != nil:
		case match:
			a.good.add(k, who)
		default:
			a.bad.add(k, who)
		}
		return verdict{who, match}, err
	})
	select {
	case r := <-flight:
		v, _ := r.Val.(verdict)
		return v.who, v.match, r.Err
	case <-ctx.Done():
		return message.Identity{}, false, ctx.Err()
	}
}

// check asks a directory, or compares with the hash when there is room.
func (a *Accounts) check(ctx context.Context, c candidate, password string) (message.Identity, bool, error) {
	if c.directories != nil {
		return a.ask(ctx, c, password)
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var match bool
	err := a.pool.run(ctx, c.hash.memory, func() { match = c.hash.Match(password) })
	return message.Identity{Account: c.account}, match && c.account != "", err
}
