package auth

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"postern/auth/bearer"
	"postern/relay/setting"
)

// Account is who may submit mail: what auth needs of an entry of accounts.
type Account struct {
	// Name is what is typed into the device; compared in any letter case.
	Name string `yaml:"name"`
	// Aliases are further names for the same account.
	Aliases []string `yaml:"aliases"`
	// PasswordHash is in PHC or crypt(3) form: argon2id, bcrypt, scrypt, pbkdf2
	// or sha-crypt, as printed by "postern hash". Without one nobody can log
	// in to the account by password.
	PasswordHash setting.Secret `yaml:"password_hash"`
	// SCRAM is a credential for SCRAM-SHA-256 (RFC 5803), as printed by
	// "postern hash --scram".
	SCRAM setting.Secret `yaml:"scram"`
	// CRAMSecret is the password in clear, for CRAM-MD5 and nothing else.
	CRAMSecret setting.Secret `yaml:"cram_secret"`
	// Certificates are those that log in to the account by EXTERNAL.
	Certificates []CertificateName `yaml:"certificates"`
	// Directory has the password checked by the directories, under Name.
	Directory bool `yaml:"directory"`
	// Subjects are whose tokens open the account, beside those that name it:
	// programs, and people known to their issuer by another name.
	Subjects []bearer.Subject `yaml:"subjects"`
	// Networks limits where the account may log in from; empty: anywhere.
	Networks setting.Networks `yaml:"networks"`
	// Trusted: whoever connects from Networks is the account, without a
	// password. For devices that cannot log in.
	Trusted bool `yaml:"trusted"`
}

// maxName is how long a user name every server takes (RFC 4616, section 2), in
// octets; a longer one could not be relied on.
const maxName = 255

// Check reports every value of the account that cannot be used. It never
// quotes the hash.
func (a Account) Check(bad func(key, format string, args ...any)) {
	if err := checkName(a.Name); err != nil {
		bad("name", "%v", err)
	}
	for i, alias := range a.Aliases {
		if err := checkName(alias); err != nil {
			bad(element("aliases", i), "%v", err)
		}
	}
	if a.Trusted && len(a.Networks) == 0 {
		bad("trusted", "it needs networks: list the addresses of the devices that are trusted without a password, such as networks: [10.20.3.7]")
	}
	if a.Directory && !a.PasswordHash.IsZero() {
		bad("directory", "the account has a password_hash as well; keep one of the two, so that one password counts")
	}
	checkSecret(a.PasswordHash, "password_hash", bad, func(text string) error { _, err := parseHash(text); return err })
	checkSecret(a.SCRAM, "scram", bad, func(text string) error { _, err := parseSCRAM(text); return err })
	checkSecret(a.CRAMSecret, "cram_secret", bad, checkPassword)
}

// checkSecret reports a secret that is set and cannot be read.
func checkSecret(s setting.Secret, key string, bad func(key, format string, args ...any), read func(string) error) {
	if s.IsZero() {
		return
	}
	text, err := s.Reveal()
	if err == nil {
		err = read(text)
	}
	if err != nil {
		bad(key, "%v", err)
	}
}

// Check reports names, aliases and certificates that more than one account has,
// or one account twice. Accounts are told apart in any letter case.
func Check(accounts []Account, bad func(i int, key, format string, args ...any)) {
	owner := make(map[string]string)
	holder := make(map[CertificateName]string)
	for i, a := range accounts {
		claim := func(key, name string) {
			if first, taken := owner[fold(name)]; taken {
				bad(i, key, "%q is already a name of account %q; letter case makes no difference", name, first)
				return
			}
			owner[fold(name)] = a.Name
		}
		if a.Name != "" { // its absence is reported by Account.Check
			claim("name", a.Name)
		}
		for j, alias := range a.Aliases {
			claim(element("aliases", j), alias)
		}
		for j, c := range a.Certificates {
			if first, taken := holder[c]; taken {
				bad(i, element("certificates", j), "%s is already a certificate of account %q; a client that shows it must be one of them", c, first)
				continue
			}
			holder[c] = a.Name
		}
	}
}

// CheckTrusted reports networks that more than one trusted account has: then
// nobody could tell whose device is there. Of networks within one another the
// smaller one counts.
func CheckTrusted(accounts []Account, bad func(i int, key, format string, args ...any)) {
	owner := make(map[setting.Network]string)
	for i, a := range accounts {
		if !a.Trusted {
			continue
		}
		for j, network := range a.Networks {
			if first, taken := owner[network]; taken && first != a.Name {
				bad(i, element("networks", j), "%s is trusted as account %q already; give each device to one account", network, first)
				continue
			}
			owner[network] = a.Name
		}
	}
}

// checkName accepts what can be typed into a device and read in a log.
func checkName(name string) error {
	switch {
	case name == "":
		return errors.New(`is missing; write a short name such as "printer-3f"`)
	case len(name) > maxName:
		return fmt.Errorf("is longer than %d octets", maxName)
	case !utf8.ValidString(name):
		return errors.New("is not valid UTF-8")
	}
	for _, r := range name {
		if r == ' ' || !unicode.IsPrint(r) {
			return fmt.Errorf("%q holds a space or a character that cannot be seen", name)
		}
	}
	return nil
}

// fold maps names that differ in letter case only to one text. Going by way of
// upper case brings letters with two lower-case forms together.
func fold(name string) string { return strings.ToLower(strings.ToUpper(name)) }

// element is the key of an element of a list.
func element(key string, i int) string { return fmt.Sprintf("%s[%d]", key, i) }
