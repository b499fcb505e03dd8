package submission

import (
	"slices"
	"strings"
)

// offer makes the reply to EHLO what we offer: STARTTLS, which go-smtp knows
// nothing of, and what the profile of the client hides and adds.
func (t *talk) offer(reply []byte) []byte {
	lines := strings.Split(strings.TrimSuffix(string(reply), "\r\n"), "\r\n")
	said := lines[:1:1]
	offer := func(keyword string) {
		if !slices.Contains(t.guard.profile.Hide, strings.Fields(keyword)[0]) {
			said = append(said, "250-"+keyword)
		}
	}
	for _, line := range lines[1:] {
		keyword := line[len("250-"):]
		offer(keyword)
		switch mechanisms, isAuth := strings.CutPrefix(keyword, "AUTH "); {
		case keyword == "CHUNKING" && t.offersTLS():
			offer("STARTTLS")
		case isAuth && t.guard.profile.AuthEquals:
			said = append(said, "250-AUTH="+mechanisms)
		}
	}
	last := len(said) - 1
	said[last] = "250 " + said[last][len("250-"):]
	return []byte(strings.Join(said, "\r\n") + "\r\n")
}
