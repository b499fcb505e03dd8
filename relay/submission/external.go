package submission

import (
	"bytes"
	"unicode/utf8"
)

// external is EXTERNAL (RFC 4422, appendix A): the client has shown its
// certificate within TLS, and says at most as whom it wants to act.
type external struct {
	ask func(name string) error
}

func (x external) Next(response []byte) (challenge []byte, done bool, err error) {
	if !utf8.Valid(response) || bytes.IndexByte(response, 0) >= 0 {
		return nil, false, errMalformed
	}
	return nil, true, x.ask(string(response))
}
