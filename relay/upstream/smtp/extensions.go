package smtp

import (
	"strconv"
	"strings"

	"postern/relay/upstream/transport"
)

// extensions is what a server offered in its reply to EHLO: parameters by
// keyword in upper case.
type extensions map[string]string

// parseExtensions reads the lines after the first (RFC 5321, section 4.1.1.1).
func parseExtensions(text string) extensions {
	ext := extensions{}
	_, rest, _ := strings.Cut(text, "\n")
	for line := range strings.SplitSeq(rest, "\n") {
		keyword, parameters, _ := strings.Cut(line, " ")
		ext[strings.ToUpper(keyword)] = parameters
	}
	return ext
}

func (e extensions) has(keyword string) bool {
	_, ok := e[keyword]
	return ok
}

// maxSize is the limit of RFC 1870 in octets; 0 when there is none.
func (e extensions) maxSize() int64 {
	n, err := strconv.ParseInt(strings.TrimSpace(e["SIZE"]), 10, 64)
	if err != nil || n < 0 {
		return 0
	}
	return n
}

// mechanisms are those of AUTH, in upper case.
func (e extensions) mechanisms() []string {
	return strings.Fields(strings.ToUpper(e["AUTH"]))
}

// offer is what the reply to EHLO says of it.
func (e extensions) offer() transport.Offer {
	return transport.Offer{Size: e.maxSize(), EightBit: e.has("8BITMIME"), UTF8: e.has("SMTPUTF8"), Recipients: e.limit("RCPTMAX"), DSN: e.has("DSN")}
}

// limit is one of RFC 9422; 0 when there is none.
func (e extensions) limit(name string) int {
	for word := range strings.FieldsSeq(strings.ToUpper(e["LIMITS"])) {
		if value, ok := strings.CutPrefix(word, name+"="); ok {
			if n, err := strconv.Atoi(value); err == nil && n > 0 {
				return n
			}
		}
	}
	return 0
}
