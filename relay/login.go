package relay

import (
	"context"
	"errors"
	"time"

	"postern/auth"
	"postern/policy"
	"postern/relay/message"
)

// login is the way of every login that one question decides: who is banned is
// told so before anything is looked at, and who was wrong waits for the answer.
func (r *Relay) login(ctx context.Context, c message.Client, name string, prove func() (message.Identity, error)) (message.Identity, error) {
	done, err := r.turns.take(ctx, message.OneClient(c.Address.Addr()))
	if err != nil {
		return message.Identity{}, err
	}
	if err := r.banned(c, name); err != nil {
		done()
		return message.Identity{}, err
	}
	identity, err := prove()
	done()
	if err := r.proved(ctx, c, name, err); err != nil {
		return message.Identity{}, err
	}
	return identity, nil
}

// proved is how a login ends that was found to be right or wrong. Others of the
// client may have had it banned meanwhile: then even a right one was a guess.
func (r *Relay) proved(ctx context.Context, c message.Client, name string, err error) error {
	if banned := r.banned(c, name); banned != nil {
		return banned
	}
	if err != nil {
		return r.failed(ctx, c, name, err)
	}
	r.bans.Succeeded(c.Address.Addr(), r.named(name))
	return nil
}

// banned is the refusal of a login from a client that is banned under that name.
func (r *Relay) banned(c message.Client, name string) error {
	until := r.bans.Ban(c.Address.Addr(), r.named(name), time.Now())
	if until.IsZero() {
		return nil
	}
	return message.Refuse(454, "4.7.0", "Too many failed logins as this user from your address; correct the password and try again after %s", policy.Clock(until))
}

// failed holds a wrong login against the client, writes the line that fail2ban
// reads, and returns why it was refused when the client has waited. Whatever
// else went wrong is not held against anybody.
func (r *Relay) failed(ctx context.Context, c message.Client, name string, why error) error {
	var reply *message.Reply
	if !errors.As(why, &reply) || reply.Code != 535 {
		return why
	}
	client, login := c.Address.Addr().WithZone(""), r.named(name)
	v := r.bans.Failed(client, login, time.Now())
	account := login.Label
	if account == "" {
		account = "unknown" // and not shown: it may have been a password
	}
	r.log.Warn("login failed", "client", client.String(), "account", account, "mechanism", c.Mechanism, "listener", c.Listener, "failures", v.Failures)
	if !v.Login.IsZero() {
		r.metrics.PolicyBans.WithLabelValues("account").Inc()
		r.log.Warn("account banned", "client", client.String(), "account", account, "until", v.Login.UTC().Format(time.RFC3339))
	}
	if !v.Address.IsZero() {
		r.metrics.PolicyBans.WithLabelValues("address").Inc()
		r.log.Warn("address banned", "client", client.String(), "until", v.Address.UTC().Format(time.RFC3339))
	}
	r.turns.wait(ctx, message.OneClient(client), v.Delay)
	return why
}

// named is a name as bans know it: aliases are names of one account, and no
// further guesses.
func (r *Relay) named(name string) policy.Login {
	if account := r.stations.Load().accounts.NameOf(name); account != "" {
		return policy.Login{Name: account, Label: account}
	}
	return policy.Login{Name: name}
}

// challenge is login for a mechanism that takes several steps.
type challenge struct {
	auth.Challenge
	relay  *Relay
	ctx    context.Context // of the connection
	client message.Client
}

// Next is the next step. What it says along with a refusal is told too.
func (c challenge) Next(response []byte) (next []byte, done bool, err error) {
	next, done, err = c.Challenge.Next(response)
	if done || err != nil {
		err = c.relay.proved(c.ctx, c.client, c.Name(), err)
		return next, done, err
	}
	if err := c.relay.banned(c.client, c.Name()); err != nil {
		return nil, false, err
	}
	return next, false, nil
}
