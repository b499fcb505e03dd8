package main

import (
	"fmt"
	"os"
	"path/filepath"
	"time"
)

type certCmd struct {
	Dir  string   `help:"Where to put them." default:"." placeholder:"DIR"`
	Name []string `help:"Name or IP address that clients type in; may be repeated." placeholder:"NAME"`
	Days int      `help:"How long the certificates are valid." default:"397" placeholder:"N"`
}

// Run makes a CA unless the directory has one, and two certificates of it for
// the same names: ECDSA for today's clients, RSA for old devices.
func (k certCmd) Run(std streams) error {
	names := k.Name
	if len(names) == 0 {
		host, err := os.Hostname()
		if err != nil {
			return err
		}
		names = []string{host}
	}
	if k.Days < 1 {
		return usageError{fmt.Errorf("--days %d: a certificate is valid for at least one day", k.Days)}
	}
	made, err := makeCertificates(k.Dir, names, time.Now(), time.Duration(k.Days)*24*time.Hour)
	if err != nil {
		return err
	}
	ca := "The CA was there already and is used again"
	if made.newCA {
		ca = "The CA is new: have devices trust it (its key signs for any name: keep it safe)"
	}
	_, err = fmt.Fprintf(std.out, `%s: %s
Certificates for %s until %s. For config.yaml:

tls:
  certificates:
    - {certificate: %s, key: %s}
    - {certificate: %s, key: %s}
`, ca, made.path(caFile), joinNames(names), made.until.Format(time.DateOnly),
		made.path("server.crt"), made.path("server.key"), made.path("server-rsa.crt"), made.path("server-rsa.key"))
	return err
}

func (m certificates) path(name string) string {
	if abs, err := filepath.Abs(filepath.Join(m.dir, name)); err == nil {
		return abs
	}
	return filepath.Join(m.dir, name)
}
