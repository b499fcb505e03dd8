package smtp

import (
	"encoding/base64"
	"strings"
)

// withheld stands where a server repeats a secret.
const withheld = "(text withheld: it repeats the password or token)"

// withhold replaces a text that repeats the secret, as it is or in base64.
func withhold(text, secret string) string {
	if secret == "" {
		return text
	}
	if repeats(text, secret) {
		return withheld
	}
	for word := range strings.FieldsSeq(text) {
		word = strings.Trim(word, `"'<>()[],;:.=`)
		for from := range min(4, len(word)) { // it may be cut anywhere
			part := word[from:]
			said, err := base64.RawStdEncoding.DecodeString(part[:len(part)-len(part)%4])
			if err == nil && repeats(string(said), secret) {
				return withheld
			}
		}
	}
	return text
}

// telling is how many octets in a row of a long secret may not be repeated.
const telling = 8

// repeats tells whether text holds the secret, or a telling part of a long one.
func repeats(text, secret string) bool {
	if len(secret) <= telling {
		return strings.Contains(text, secret)
	}
	parts := map[string]bool{}
	for i := range len(secret) - telling + 1 {
		parts[secret[i:i+telling]] = true
	}
	for i := range max(0, len(text)-telling+1) {
		if parts[text[i:i+telling]] {
			return true
		}
	}
	return false
}
