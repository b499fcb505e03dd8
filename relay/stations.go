package relay

import (
	"errors"
	"fmt"
	"slices"

	"postern/auth"
	"postern/auth/oauth"
	"postern/metrics"
	"postern/policy"
	"postern/relay/bounce"
	"postern/relay/config"
	"postern/relay/dkim"
	"postern/relay/message"
	"postern/relay/queue"
	"postern/relay/setting"
	"postern/relay/submission"
	"postern/relay/upstream"
	"postern/relay/upstream/transport"
	"postern/rewrite"
)

// stations are the rooms built from one configuration.
type stations struct {
	config    *config.Config
	accounts  *auth.Accounts
	policy    *policy.Policy
	rewrite   *rewrite.Rewrite
	dkim      *dkim.Set
	outfits   map[string]outfit // by the upstream's name
	oauth     *oauth.Set
	author    bounce.Author
	bounces   map[string]string // policy by account
	queue     queue.Config
	upstreams *upstream.Set
}

// build makes the stations of a configuration. Upstreams that did not change
// are taken over with their connections from the stations before, if any.
func (r *Relay) build(cfg *config.Config, before *upstream.Set) (*stations, error) {
	s := &stations{config: cfg, bounces: map[string]string{}, queue: cfg.Queueing(),
		author: bounce.Author{Hostname: cfg.Hostname, Postmaster: cfg.Postmaster}}
	var (
		accounts []auth.Account
		policies = map[string]policy.Account{}
		routing  = map[string]upstream.Account{}
	)
	for _, a := range cfg.Accounts {
		accounts = append(accounts, a.Auth)
		policies[a.Auth.Name] = a.Policy
		routing[a.Auth.Name] = a.Upstream
		s.bounces[a.Auth.Name] = a.Bounce.Policy(a.Auth.Trusted, !cfg.Postmaster.IsNull())
	}
	var err error
	if s.accounts, err = auth.New(cfg.Auth, accounts, r.log); err != nil {
		return nil, fmt.Errorf("accounts: %w", err)
	}
	if running := r.stations.Load(); running != nil {
		s.accounts.Keep(running.accounts)
	}
	s.policy = policy.New(cfg.Policy, policies)
	if s.rewrite, err = rewrite.New(cfg.Headers, cfg.Rewrite, cfg.Rewriting(), cfg.Hostname); err != nil {
		return nil, fmt.Errorf("rewriting: %w", err)
	}
	s.dkim, err = dkim.New(cfg.DKIM, dkim.Options{DataDir: cfg.DataDir, Resolver: cfg.DNS.Resolver, Metrics: r.metrics, Log: r.log})
	if err != nil {
		return nil, fmt.Errorf("dkim: %w", err)
	}
	s.outfits = map[string]outfit{}
	for _, u := range cfg.Upstreams {
		signing, keeps := u.Signing()
		s.outfits[u.Upstream.Name] = outfit{rewrite.NewDressing(u.Upstream.Name, u.Dressing()), signing, keeps, u.Dressing().Picky() || signing.DKIM == "on"}
	}
	if s.oauth, err = oauth.New(cfg.Credentials(), r.tokenOptions(cfg), r.tokens()); err != nil {
		return nil, fmt.Errorf("upstreams: %w", err)
	}
	tokens := map[string]transport.Tokens{}
	for name, t := range s.oauth.Tokens() {
		tokens[name] = t
	}
	s.upstreams, err = upstream.New(
		cfg.Routing(),
		upstream.Options{Hostname: cfg.Hostname, DataDir: cfg.DataDir, Accounts: routing, Tokens: tokens, Metrics: r.metrics, Log: r.log},
		before)
	if err != nil {
		return nil, fmt.Errorf("upstreams: %w", err)
	}
	s.author.Explain = func(name string, reply message.Reply) (string, string) { return s.upstreams.Explain(name, "", reply) }
	return s, nil
}

// submission is what the stations' configuration means for the listeners, where
// recorder may ask for what is said.
func (s *stations) submission(recorder submission.Recorder) submission.Config {
	return submission.Config{
		Hostname:      s.config.Hostname,
		Listeners:     s.config.Listeners,
		TLS:           s.config.TLS,
		Profiles:      s.config.Profiles,
		Mechanisms:    s.accounts.Mechanisms(),
		Recorder:      recorder,
		MaxSize:       int64(s.config.Policy.Limits.Size),
		MaxRecipients: s.config.Policy.Limits.RecipientsPerMessage,
		PerClient:     s.config.Policy.Limits.PerIP.Connections,
	}
}

// networks are those of all accounts, where the devices are that belong here, and
// those of balancers, who speak for others.
func (s *stations) networks() (all setting.Networks) {
	for _, l := range s.config.Listeners {
		all = append(all, l.ProxyProtocol...)
	}
	for _, a := range s.config.Accounts {
		all = append(all, a.Auth.Networks...)
	}
	return all
}

// names are the label values of the stations' configuration.
func (s *stations) names() metrics.Names {
	n := metrics.Names{Mechanisms: s.accounts.Mechanisms(), Routes: s.upstreams.Lanes(), Rules: s.rules(), DKIM: s.dkim.Names(), OAuth: s.oauth.Names()}
	for _, l := range s.config.Listeners {
		n.Listeners = append(n.Listeners, l.Name)
	}
	for _, u := range s.config.Upstreams {
		n.Upstreams = append(n.Upstreams, u.Upstream.Name)
	}
	for _, a := range s.config.Accounts {
		n.Accounts = append(n.Accounts, a.Auth.Name)
	}
	return n
}

// rules are all that may stand in the history of a message.
func (s *stations) rules() []string {
	return slices.Concat([]string{submission.RepairLineEndings}, s.rewrite.Rules(), rewrite.DressingRules)
}

// needsRestart refuses changes that a running relay cannot make.
func needsRestart(old, new *config.Config) error {
	var changed []error
	check := func(key string, same bool) {
		if !same {
			changed = append(changed, fmt.Errorf("%s changed; that needs a restart", key))
		}
	}
	check("data_dir", old.DataDir == new.DataDir)
	check("metrics.address", old.Metrics.Address == new.Metrics.Address)
	check("log.format", old.Log.Format == new.Log.Format)
	return errors.Join(changed...)
}
