package auth

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"io"
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

// compare compares the password with the candidate's hash and remembers the
// outcome under k. The error is that there was no room in time.
//
// Callers with the same k share one comparison. It does not end with any of
// them: a device that gave up and comes back finds the answer.
func (a *Accounts) compare(ctx context.Context, k key, c candidate, password string) (bool, error) {
	flight := a.flights.DoChan(string(k[:]), func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
		defer cancel()
		var match bool
		err := a.pool.run(ctx, c.hash.memory, func() { match = c.hash.Match(password) })
		if err != nil {
			return false, err
		}
		match = match && c.account != ""
		if match {
			a.good.add(k)
		} else {
			a.bad.add(k)
		}
		return match, nil
	})
	select {
	case r := <-flight:
		match, _ := r.Val.(bool)
		return match, r.Err
	case <-ctx.Done():
		return false, ctx.Err()
	}
}
