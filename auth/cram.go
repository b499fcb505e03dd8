package auth

import (
	"bytes"
	"crypto/hmac"
	"crypto/md5"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"net/netip"
	"time"

	"postern/relay/message"
)

// CRAM-MD5 (RFC 2195) is for devices that know nothing else: the server must
// keep the secret in clear, and who hears an exchange can guess at it.
const cramName = "CRAM-MD5"

// cramExchange is one exchange: a challenge that was never given before, and
// the answer, which is taken once.
type cramExchange struct {
	accounts  *Accounts
	addr      netip.Addr
	challenge []byte // nil before it is given
	name      string
	account   *account
}

func (x *cramExchange) Next(response []byte) (challenge []byte, done bool, err error) {
	if x.challenge == nil {
		if response != nil { // the server begins
			return nil, false, malformed()
		}
		x.challenge = fmt.Appendf(nil, "<%s.%d@postern>", rand.Text(), time.Now().Unix())
		return x.challenge, false, nil
	}
	space := bytes.LastIndexByte(response, ' ')
	if space < 1 {
		return nil, false, malformed()
	}
	digest, err := hex.DecodeString(string(response[space+1:]))
	if err != nil || len(digest) != md5.Size {
		return nil, false, malformed()
	}
	x.name = string(response[:space])
	return nil, true, x.check(digest)
}

// check compares the digest with that of the account's secret, or of one that
// nobody knows.
func (x *cramExchange) check(digest []byte) error {
	secret := string(x.accounts.secret)
	acc := x.accounts.admits(x.name, x.addr)
	known := acc != nil && !acc.cram.IsZero()
	if known {
		var err error
		if secret, err = acc.cram.Reveal(); err != nil {
			return x.accounts.unreadable(acc.name+": cram_secret", err)
		}
	}
	if !hmac.Equal(digest, cramDigest(secret, x.challenge)) || !known {
		return wrong()
	}
	x.account = acc
	return nil
}

func cramDigest(secret string, challenge []byte) []byte {
	mac := hmac.New(md5.New, []byte(secret))
	mac.Write(challenge)
	return mac.Sum(nil)
}

func (x *cramExchange) Identity() message.Identity {
	return message.Identity{Account: x.account.name}
}

func (x *cramExchange) Name() string { return x.name }
