package relay

import (
	"cmp"

	"postern/relay/bounce"
	"postern/relay/config"
	"postern/relay/message"
	"postern/relay/upstream/preset"
	"postern/relay/upstream/transport"
)

// Meanings puts replies of upstreams into plain words, with what is known of their
// providers; cfg may be nil. Meaning and hint are "" when nothing is known beyond
// the reply.
func Meanings(cfg *config.Config) func(upstream string, reply message.Reply) (meaning, hint string) {
	type known struct {
		preset *preset.Preset
		own    []preset.Rule
	}
	upstreams := map[string]known{}
	if cfg != nil {
		for _, u := range cfg.Upstreams {
			if p, err := u.Upstream.Known(); err == nil {
				upstreams[u.Upstream.Name] = known{p, u.Upstream.Replies}
			}
		}
	}
	return func(name string, reply message.Reply) (meaning, hint string) {
		if u, ok := upstreams[name]; ok {
			meaning, hint = u.preset.Explain(u.own, transport.Stage(""), reply)
		}
		return cmp.Or(meaning, bounce.Meaning(reply)), hint
	}
}
