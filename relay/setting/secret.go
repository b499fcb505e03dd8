package setting

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Secret is a password or key that no print, log or error ever shows. It is
// written as itself, or by reference:
//
//	${env:NAME}          an environment variable
//	file:/path           a file, read again at each use
//	${credential:NAME}   a systemd credential (systemd.exec(5)), read at each use
//
// One line end after the secret in a file is not part of it.
type Secret struct {
	plain *string // a pointer, so that no print of an enclosing value shows it
	env   string
	file  string
}

// Masked is what every print of a Secret shows.
const Masked = "<secret>"

// Plain makes a Secret of its value.
func Plain(value string) Secret { return Secret{plain: &value} }

// UnmarshalText reads any of the forms and checks that a reference can be
// followed. Errors name the reference, never the value.
func (s *Secret) UnmarshalText(b []byte) error {
	text := string(b)
	var parsed Secret
	switch {
	case text == "": // none
	case strings.HasPrefix(text, "${env:") && strings.HasSuffix(text, "}"):
		parsed.env = text[len("${env:") : len(text)-1]
		if parsed.env == "" {
			return errors.New("${env:} names no environment variable; write ${env:NAME}")
		}
	case strings.HasPrefix(text, "${credential:") && strings.HasSuffix(text, "}"):
		dir := os.Getenv("CREDENTIALS_DIRECTORY")
		name := text[len("${credential:") : len(text)-1]
		if dir == "" {
			return fmt.Errorf("credential %q: no CREDENTIALS_DIRECTORY; add LoadCredential=%s to the systemd unit", name, name)
		}
		if name == "" || name != filepath.Base(name) {
			return fmt.Errorf("credential %q: the name must be a file name", name)
		}
		parsed.file = filepath.Join(dir, name)
	case strings.HasPrefix(text, "file:"):
		parsed.file = strings.TrimPrefix(text, "file:")
		if !filepath.IsAbs(parsed.file) {
			return fmt.Errorf("file %q: write the whole path, such as file:/etc/postern/secret", parsed.file)
		}
	case strings.HasPrefix(text, "${"):
		return errors.New("a reference to a secret is ${env:NAME}, ${credential:NAME} or file:/path")
	default:
		parsed.plain = &text
	}
	if _, err := parsed.Reveal(); err != nil {
		return err
	}
	*s = parsed
	return nil
}

// Reveal is the secret itself. The error says which reference cannot be
// followed.
func (s Secret) Reveal() (string, error) {
	switch {
	case s.env != "":
		v, ok := os.LookupEnv(s.env)
		if !ok || v == "" {
			return "", fmt.Errorf("environment variable %s is not set", s.env)
		}
		return v, nil
	case s.file != "":
		b, err := os.ReadFile(s.file)
		if err != nil {
			return "", fmt.Errorf("secret: %w", err)
		}
		v := strings.TrimSuffix(strings.TrimSuffix(string(b), "\n"), "\r")
		if v == "" {
			return "", fmt.Errorf("secret: %s is empty", s.file)
		}
		return v, nil
	}
	if s.plain == nil {
		return "", nil
	}
	return *s.plain, nil
}

// IsZero tells whether no secret was given.
func (s Secret) IsZero() bool { return s == Secret{} }

// String, GoString and MarshalText mask the value; a reference is shown.
func (s Secret) String() string {
	switch {
	case s.IsZero():
		return ""
	case s.env != "":
		return "${env:" + s.env + "}"
	case s.file != "":
		return "file:" + s.file
	}
	return Masked
}

func (s Secret) GoString() string { return s.String() }

func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }
