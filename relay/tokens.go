package relay

import (
	"encoding/json"
	"net/http"

	"postern/auth/oauth"
	"postern/relay/admin"
	"postern/relay/config"
)

// tokenCommands are what can be asked and told about access tokens.
func (r *Relay) tokenCommands(c *admin.Control) {
	c.Handle("GET /tokens", func(*http.Request) (any, error) { return r.tokens().Status(), nil })
	c.Handle("POST /tokens/{upstream}", r.keepToken)
}

// Consent is a refresh token that a person has agreed to, as "postern login" hands
// it over.
type Consent struct {
	RefreshToken string `json:"refresh_token"`
}

// keepToken takes up a refresh token, and tells how it fares.
func (r *Relay) keepToken(q *http.Request) (any, error) {
	var given Consent
	if err := json.NewDecoder(q.Body).Decode(&given); err != nil {
		return nil, err
	}
	return r.tokens().Keep(q.Context(), q.PathValue("upstream"), given.RefreshToken)
}

// tokens are those of the configuration in force; nil before there is one.
func (r *Relay) tokens() *oauth.Set {
	if s := r.stations.Load(); s != nil {
		return s.oauth
	}
	return nil
}

// tokenOptions are what tokens need beside the upstreams' own part of cfg.
func (r *Relay) tokenOptions(cfg *config.Config) oauth.Options {
	return oauth.Options{DataDir: cfg.DataDir, Key: cfg.Tokens.Key, Metrics: r.metrics, Log: r.log}
}
