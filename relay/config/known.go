package config

import (
	"cmp"

	"postern/auth/oauth"
	"postern/relay/dkim"
	"postern/relay/upstream/preset"
	"postern/rewrite"
)

// known is what is known of u's provider; of one that is named wrongly, nothing.
func (u Upstream) known() *preset.Preset {
	p, err := u.Upstream.Known()
	if err != nil {
		return &preset.Preset{}
	}
	return p
}

// know gives each upstream's oauth what its preset knows of it, before it is
// checked.
func (c *Config) know() {
	for i, u := range c.Upstreams {
		o := u.known().OAuth
		c.Upstreams[i].OAuth.OAuth.Provider = oauth.Provider{
			TokenURL: o.TokenURL, DeviceURL: o.DeviceURL, AuthorizeURL: o.AuthorizeURL, AuthorizeParams: o.AuthorizeParams,
			AppScopes: o.AppScopes, UserScopes: o.UserScopes, ClientAuth: o.ClientAuth, Redirect: o.Redirect,
		}
	}
}

// Dressing is how u wants its mail, with what its preset says of that. Mail from
// <> that the provider would refuse is treated as mail from a stranger where
// something better than a refusal is set for these.
func (u Upstream) Dressing() rewrite.Upstream {
	d, p := u.Rewrite, u.known()
	if p.NullSender == preset.Refused && (d.Otherwise == "force" || d.Otherwise == "next") {
		d.NullSender = cmp.Or(d.NullSender, "otherwise")
	}
	d.NullRefused = p.NullSender == preset.Refused && u.Rewrite.NullSender == ""
	d.EnvelopeHeaders = d.EnvelopeHeaders || p.HeadersAddress()
	return d
}

// Signing is how mail to u is signed, and whether it arrives as it was signed.
func (u Upstream) Signing() (d dkim.Upstream, keeps bool) {
	d, p := u.DKIM, u.known()
	if d.Exclude == nil {
		d.Exclude = p.DKIMExclude
	}
	return d, p.Keeps()
}
