package submission

import (
	"regexp"
	"slices"
	"strings"
)

// Commands that are nearly right are mended, for clients of a profile with
// lenient_syntax, before go-smtp reads them. What go-smtp reads as it is stays as
// it is. The session judges what comes of it as strictly as ever.

// mend makes a command, without its line end, one that go-smtp reads if it can
// be told what was meant:
//
//	HELO                              HELO unknown
//	DATA_ (a space behind it)         DATA
//	MAIL FROM scan@example.com        MAIL FROM:scan@example.com
//	MAIL FROM:<scan@example.com       MAIL FROM:<scan@example.com>
//	RCPT TO:"A B" <a@example.com>;    RCPT TO:<a@example.com>
//	MAIL FROM:<scan@example.com> x=y  MAIL FROM:<scan@example.com>
func mend(line string) string {
	if isReadable(line) {
		return line
	}
	text := strings.TrimSpace(strings.ReplaceAll(line, "\t", " "))
	verb, arg, _ := strings.Cut(text, " ")
	arg = strings.TrimSpace(arg)
	switch strings.ToUpper(verb) {
	case "EHLO", "HELO":
		if arg == "" {
			return verb + " unknown"
		}
	case "MAIL":
		text = mendPath(text, verb, arg, "FROM")
	case "RCPT":
		text = mendPath(text, verb, arg, "TO")
	}
	if isReadable(text) {
		return text
	}
	return line
}

// mendResponse takes blanks off a line within AUTH.
func mendResponse(line string) string { return strings.Trim(line, " \t") }

// parameters are those of MAIL and RCPT that go-smtp knows and we allow.
var parameters = map[string][]string{
	"FROM": {"SIZE", "BODY", "SMTPUTF8", "RET", "ENVID", "AUTH"},
	"TO":   {"NOTIFY", "ORCPT"},
}

// keywordOf finds FROM or TO, with a colon or what stands for it.
var keywordOf = map[string]*regexp.Regexp{
	"FROM": regexp.MustCompile(`^(?i:FROM) *[:=]? *`),
	"TO":   regexp.MustCompile(`^(?i:TO) *[:=]? *`),
}

// mendPath puts an address in brackets and leaves out the parameters that nobody
// knows.
func mendPath(text, verb, arg, keyword string) string {
	found := keywordOf[keyword].FindString(arg)
	if found == "" {
		return text
	}
	arg = arg[len(found):]
	rest, ok := readPath(arg, keyword == "FROM")
	path := strings.TrimSpace(arg[:len(arg)-len(rest)])
	if !ok {
		path, rest = findPath(arg)
	}
	mended := verb + " " + keyword + ":" + path
	for _, p := range strings.Fields(rest) {
		if isKnown(p, keyword) {
			mended += " " + p
		}
	}
	return mended
}

// findPath looks for an address: in the last brackets, else in the first word
// with an @. Nothing at all is the null sender.
func findPath(arg string) (path, rest string) {
	if arg == "" {
		return "<>", ""
	}
	if i := strings.LastIndexByte(arg, '<'); i >= 0 {
		inside := arg[i+1:]
		if end := strings.IndexAny(inside, "> "); end >= 0 {
			return "<" + inside[:end] + ">", strings.TrimPrefix(inside[end:], ">")
		}
		return "<" + inside + ">", ""
	}
	for _, word := range strings.Fields(arg) {
		if strings.Contains(word, "@") {
			_, rest, _ = strings.Cut(arg, word)
			return "<" + strings.Trim(word, `<>()[];:,'"`) + ">", rest
		}
	}
	return arg, ""
}

// isKnown tells whether go-smtp knows a parameter.
func isKnown(parameter, keyword string) bool {
	name, _, _ := strings.Cut(parameter, "=")
	return slices.Contains(parameters[keyword], strings.ToUpper(name)) && strings.Count(parameter, "=") < 2
}

// isReadable tells whether go-smtp takes a line for a command and understands
// its arguments, as far as they may be mended.
func isReadable(line string) bool {
	switch {
	case strings.HasPrefix(strings.ToUpper(line), "STARTTLS"), len(line) == 4 && !strings.EqualFold(line[2:], "LO"):
		return true
	case len(line) < 6 || line[4] != ' ':
		return false
	}
	arg := strings.TrimSpace(line[5:])
	switch strings.ToUpper(line[:4]) {
	case "EHLO", "HELO":
		return arg != ""
	case "MAIL":
		return isPathReadable(arg, "FROM")
	case "RCPT":
		return isPathReadable(arg, "TO")
	}
	return true
}

func isPathReadable(arg, keyword string) bool {
	n := len(keyword) + 1
	if len(arg) < n || !strings.EqualFold(arg[:n], keyword+":") {
		return false
	}
	rest, ok := readPath(strings.TrimSpace(arg[n:]), keyword == "FROM")
	return ok && !slices.ContainsFunc(strings.Fields(rest), func(p string) bool { return !isKnown(p, keyword) })
}

// readPath reads a path as loosely as go-smtp does and returns what follows it.
func readPath(s string, null bool) (rest string, ok bool) {
	if rest, ok := strings.CutPrefix(s, "<>"); ok && null {
		return rest, true
	}
	s, bracket := strings.CutPrefix(s, "<")
	if strings.HasPrefix(s, "@") { // a source route
		if _, s, ok = strings.Cut(s, ":"); !ok {
			return "", false
		}
	}
	s, ok = readLocalPart(s)
	if !ok || !strings.HasPrefix(s, "@") {
		return "", false
	}
	end := strings.IndexAny(s, " \t>")
	if end < 0 {
		end = len(s)
	}
	if s[end-1] == '@' { // no domain
		return "", false
	}
	if !bracket {
		return s[end:], true
	}
	return strings.CutPrefix(s[end:], ">")
}

// readLocalPart returns what follows the part before the @.
func readLocalPart(s string) (rest string, ok bool) {
	if !strings.HasPrefix(s, `"`) {
		end := strings.IndexAny(s, "@()<>[]:;\\,\" \t")
		return s[max(end, 0):], end > 0 && s[end] == '@'
	}
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '"':
			return s[i+1:], i > 1
		}
	}
	return "", false
}
