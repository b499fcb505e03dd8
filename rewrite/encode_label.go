package rewrite

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"postern/relay/message"
)

// plan is what must be written differently in a message.
type plan struct {
	header  message.Header // of the message, as it becomes
	splices []splice       // of its body
	text    int            // octets in them
}

// Bounds of a plan: more is held in memory for no message.
const (
	maxSplices    = 2000
	maxSpliceText = 256 << 10
)

func (p *plan) enough() error {
	if len(p.splices) > maxSplices || p.text > maxSpliceText {
		return errUnclear("too many of its parts have to be encoded")
	}
	return nil
}

// inOrder is the splices by their place.
func (p *plan) inOrder() []splice {
	slices.SortStableFunc(p.splices, func(a, b splice) int { return cmp.Compare(a.from, b.from) })
	return p.splices
}

// relabel says of a container, whose parts are all going to be ASCII, that it
// is (RFC 2045, section 6.4).
func (p *planner) relabel(q entity, c content) {
	if p.sevenBit && c.encoding != "7bit" {
		p.set(q, "Content-Transfer-Encoding", "7bit")
	}
}

// label says how the content of a part is encoded. A message that said nothing
// of itself is MIME from then on, with the one charset it can be seen to be in,
// or unknown-8bit (RFC 1428).
func (p *planner) label(q entity, as form, s stretch) {
	if q.message && q.header.Get("MIME-Version") == "" {
		p.set(q, "MIME-Version", "1.0")
	}
	if q.message && q.header.Get("Content-Type") == "" {
		charset := "utf-8"
		if s.notUTF8() {
			charset = "unknown-8bit"
		}
		p.set(q, "Content-Type", "text/plain; charset="+charset)
	}
	encoding := "base64"
	if as == printable {
		encoding = "quoted-printable"
	}
	p.set(q, "Content-Transfer-Encoding", encoding)
}

// set gives the header of a part a field, in place of the one of that name if
// there is one.
func (p *plan) set(q entity, name, value string) {
	i := slices.IndexFunc(q.header, func(f message.Field) bool { return f.Is(name) })
	switch {
	case i >= 0:
		p.replace(q, i, message.NewField(q.header[i].Name(), value))
	case q.at == outside:
		p.header = p.header.Append(message.NewField(name, value))
	default:
		end := q.at + q.header.Size()
		p.insert(end, end, message.NewField(name, value))
	}
}

// replace puts f where the i-th field of a part's header is.
func (p *plan) replace(q entity, i int, f message.Field) {
	if q.at == outside {
		p.header = slices.Clone(p.header)
		p.header[i] = f
		return
	}
	from := q.at + q.header[:i].Size()
	p.insert(from, from+int64(len(q.header[i].Raw())), f)
}

func (p *plan) insert(from, to int64, f message.Field) {
	text := string(f.Raw())
	p.splices = append(p.splices, splice{from: from, to: to, text: text})
	p.text += len(text)
}

// done says in words what is done to the body.
func (p *plan) done() string {
	names := [...]string{printable: "as quoted-printable", inBase64: "as base64", inBase64ln: "as base64", rewrapped: "in shorter lines", recoded: "from quoted-printable to base64"}
	count := map[string]int{}
	for _, s := range p.splices {
		count[names[s.as]]++
	}
	var words []string
	for _, name := range slices.Compact(names[printable:]) {
		if count[name] > 0 {
			words = append(words, fmt.Sprintf("%d %s", count[name], name))
		}
	}
	if len(words) == 0 {
		return "parts with headers in ASCII"
	}
	return "parts: " + strings.Join(words, ", ")
}
