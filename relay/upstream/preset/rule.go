package preset

import (
	"cmp"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"postern/relay/message"
	"postern/relay/setting"
	"postern/relay/upstream/transport"
)

// Rule says what a reply means. It fits a reply that fits each of At, Code,
// Enhanced and Text that is given; of one with several values any will do.
type Rule struct {
	// At are the stages; none: all.
	At Words `yaml:"at"`
	// Code is that of the reply, such as 550, or 5xx for any that begins with 5.
	Code Words `yaml:"code"`
	// Enhanced is its enhanced status code, such as 5.7.139, 4.2.x or, for a
	// range, 4.7.500-699.
	Enhanced Words `yaml:"enhanced"`
	// Text is what must stand in its text, in any letter case; its lines count as
	// one.
	Text Words `yaml:"text"`
	// Action is one of the words below. "" changes nothing but Meaning and Hint.
	Action string `yaml:"action"`
	// Outcome, "deferred" or "failed", is that of a recipient whom a failover
	// finds no other upstream for. Default "deferred".
	Outcome string `yaml:"outcome"`
	// For is how long to hold or to wait.
	For setting.Duration `yaml:"for"`
	// Meaning is the reply in plain words, Hint what to do about it.
	Meaning string `yaml:"meaning"`
	Hint    string `yaml:"hint"`
}

// Words is one value or a list of them.
type Words []string

// UnmarshalText reads one value.
func (w *Words) UnmarshalText(b []byte) error {
	*w = Words{string(b)}
	return nil
}

// Actions of rules that transport knows otherwise: the recipient is to be tried
// again, or has failed.
const (
	retry  = "retry"
	bounce = "bounce"
)

var actions = []string{retry, string(transport.Slow), string(transport.Hold), string(transport.Reauth),
	string(transport.Configure), string(transport.Failover), string(transport.Split), bounce}

var stages = []string{string(transport.AtGreeting), string(transport.AtAuth), string(transport.AtMail), string(transport.AtRcpt),
	string(transport.AtData), string(transport.AtEnd), string(transport.AtRequest)}

var (
	codeForm     = regexp.MustCompile(`^[45]([0-9]{2}|[0-9]x|xx)$`)
	enhancedForm = regexp.MustCompile(`^[2-5]\.([0-9]{1,3}|x)\.([0-9]{1,3}(-[0-9]{1,3})?|x)$`)
)

// Check reports what is wrong with the rule.
func (r Rule) Check(bad func(key, format string, args ...any)) {
	if len(r.At)+len(r.Code)+len(r.Enhanced)+len(r.Text) == 0 {
		bad("", "it would fit every reply; say which by at, code, enhanced or text")
	}
	check := func(key string, words []string, good func(string) bool, right string) {
		for _, w := range words {
			if !good(w) {
				bad(key, "%q is not known; write %s", w, right)
			}
		}
	}
	check("at", r.At, func(w string) bool { return slices.Contains(stages, w) }, "one of "+strings.Join(stages, ", "))
	check("code", r.Code, codeForm.MatchString, "a code such as 550, or 5xx for all that begin with 5")
	check("enhanced", r.Enhanced, enhancedForm.MatchString, "an enhanced status code such as 5.7.1, 4.2.x or 4.7.500-699")
	check("text", r.Text, func(w string) bool { return strings.TrimSpace(w) != "" }, "some words of the reply")
	check("action", r.words(r.Action), func(w string) bool { return slices.Contains(actions, w) }, "one of "+strings.Join(actions, ", "))
	check("outcome", r.words(r.Outcome), func(w string) bool { return w == "deferred" || w == "failed" }, "deferred or failed")
	switch {
	case r.Outcome != "" && r.Action != string(transport.Failover):
		bad("outcome", "it belongs to action: failover; retry defers, bounce fails, and the others keep the mail")
	case r.For != 0 && !slices.Contains([]string{retry, string(transport.Slow), string(transport.Hold)}, r.Action):
		bad("for", "only retry, slow and hold last for a time")
	case r.Action == "" && r.Meaning == "" && r.Hint == "":
		bad("action", "it is missing; write one of %s", strings.Join(actions, ", "))
	}
}

// words is none of what was left out.
func (r Rule) words(w string) []string {
	if w == "" {
		return nil
	}
	return []string{w}
}

// fits tells whether the rule is about a reply. At no stage it may have been any.
func (r Rule) fits(at transport.Stage, reply message.Reply) bool {
	text := " " + strings.Join(strings.Fields(strings.ToLower(reply.Text)), " ") + " "
	return (at == "" || anyOf(r.At, func(w string) bool { return w == string(at) })) &&
		anyOf(r.Code, func(w string) bool { return fitsCode(w, reply.Code) }) &&
		anyOf(r.Enhanced, func(w string) bool { return fitsEnhanced(w, reply.Enhanced) }) &&
		anyOf(r.Text, func(w string) bool { return strings.Contains(text, strings.ToLower(w)) })
}

// anyOf is what none at all ask for, too.
func anyOf(words []string, fits func(string) bool) bool {
	return len(words) == 0 || slices.ContainsFunc(words, fits)
}

func fitsCode(form string, code int) bool {
	digits := strconv.Itoa(code)
	return len(digits) == len(form) && strings.HasPrefix(digits, strings.TrimRight(form, "x"))
}

// fitsEnhanced compares class, subject and detail (RFC 3463, section 2).
func fitsEnhanced(form, enhanced string) bool {
	forms, parts := strings.Split(form, "."), strings.Split(enhanced, ".")
	if len(forms) != len(parts) {
		return false
	}
	for i, f := range forms {
		first, last, _ := strings.Cut(f, "-")
		n, err := strconv.Atoi(parts[i])
		low, _ := strconv.Atoi(first)
		high, _ := strconv.Atoi(cmp.Or(last, first))
		if err != nil || f != "x" && (n < low || n > high) {
			return false
		}
	}
	return true
}

// judged is what the rule makes of a reply.
func (r Rule) judged(at transport.Stage, reply message.Reply) transport.Result {
	result := transport.Usual(at, reply)
	result.Advice = transport.Advice{Action: transport.Action(r.Action), For: r.For.Std(), Meaning: r.Meaning, Hint: r.Hint}
	switch r.Action {
	case "":
		return result
	case retry, bounce:
		result.Advice.Action = transport.Nothing
	}
	result.Outcome = message.Deferred
	if r.Action == bounce || r.Outcome == message.Failed.String() {
		result.Outcome = message.Failed
	}
	return result
}
