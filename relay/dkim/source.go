package dkim

import (
	"errors"
	"io/fs"
	"path/filepath"
	"strings"

	"postern/relay/setting"
)

// Source is where a private key is found: the whole path of its file, or any
// form of a [setting.Secret]. It is read again at each use.
type Source struct{ setting.Secret }

// UnmarshalText takes a path as a reference to that file.
func (s *Source) UnmarshalText(b []byte) error {
	text := string(b)
	switch {
	case filepath.IsAbs(text):
		err := s.Secret.UnmarshalText([]byte("file:" + text))
		if missing := new(fs.PathError); errors.As(err, &missing) {
			return missing
		}
		return err
	case text != "" && !isReference(text) && !strings.Contains(text, "-----BEGIN "):
		return errors.New("it is neither the whole path of a key file, such as /etc/postern/dkim/s2026.pem, nor a key in PEM form")
	}
	return s.Secret.UnmarshalText([]byte(text))
}

func isReference(text string) bool {
	return strings.HasPrefix(text, "file:") || strings.HasPrefix(text, "${")
}
