package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"

	"postern/auth"
)

type hashCmd struct {
	Generate bool `xor:"what" help:"Make up a password for a device, and print it with its hash."`
	SCRAM    bool `name:"scram" xor:"what" help:"Print the value for scram, which SCRAM-SHA-256 needs."`
}

// Run reads a password from a prompt, or from the first line of standard
// input, and prints the value for password_hash or scram.
func (h hashCmd) Run(std streams) error {
	if h.Generate {
		password, hash, err := auth.Generate()
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(std.out, "password:      %s\npassword_hash: %q\n", password, hash)
		return err
	}
	password, err := readPassword(std, true)
	if err != nil {
		return err
	}
	digest := auth.Hash
	if h.SCRAM {
		digest = auth.SCRAM
	}
	hash, err := digest(password)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(std.out, hash)
	return err
}

// readPassword asks a person without echo, twice when it is a new one; from
// anything but a terminal it reads one line.
func readPassword(std streams, isNew bool) (string, error) {
	f, ok := std.in.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		line, err := bufio.NewReader(std.in).ReadString('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return "", err
		}
		if line = strings.TrimRight(line, "\r\n"); line == "" {
			return "", usageError{errors.New("no password on standard input")}
		}
		return line, nil
	}
	password, err := prompt(f, std.err, "Password: ")
	if err != nil || !isNew {
		return password, err
	}
	again, err := prompt(f, std.err, "Once more: ")
	if err != nil {
		return "", err
	}
	if again != password {
		return "", errors.New("the two are not the same; nothing was made")
	}
	return password, nil
}

func prompt(f *os.File, to io.Writer, text string) (string, error) {
	fmt.Fprint(to, text)
	b, err := term.ReadPassword(int(f.Fd()))
	fmt.Fprintln(to)
	if err == nil && len(b) == 0 {
		err = usageError{errors.New("the password is empty")}
	}
	return string(b), err
}
