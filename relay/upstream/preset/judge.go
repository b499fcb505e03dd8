package preset

import (
	"slices"

	"postern/relay/message"
	"postern/relay/upstream/transport"
)

// Judge says what the provider's replies mean. Rules of the configuration, own,
// come before those of the preset, and these before the generic ones. A reply
// that no rule fits, and one that refuses nothing, is as Usual has it.
func (p *Preset) Judge(own []Rule) transport.Judge {
	rules := slices.Concat(own, p.Replies, p.generic)
	return func(at transport.Stage, reply message.Reply) transport.Result {
		if i := slices.IndexFunc(rules, func(r Rule) bool { return r.fits(at, reply) }); i >= 0 && refuses(reply) {
			return rules[i].judged(at, reply)
		}
		return transport.Usual(at, reply)
	}
}

// Explain puts a reply into plain words, and says what to do about it; both are
// "" when there is nothing to add. at may be "" where it is not known.
func (p *Preset) Explain(own []Rule, at transport.Stage, reply message.Reply) (meaning, hint string) {
	advice := p.Judge(own)(at, reply).Advice
	return advice.Meaning, advice.Hint
}

// refuses tells whether a reply can be a matter of rules: one that says yes, or
// go on, never is.
func refuses(reply message.Reply) bool { return reply.Code/100 == 4 || reply.Code/100 == 5 }
