//go:build linux

package main_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"postern/relay/dkim/dnstest"
)

// verifiers are foreign programs that verify DKIM signatures, and what each says
// when it is content.
var verifiers = []struct {
	name    string
	command []string
	content func(said string, err error) bool
}{
	{"OpenDKIM", []string{"opendkim-testmsg"}, func(said string, err error) bool { return err == nil && said == "" }},
	{"Mail::DKIM", []string{"dkimproxy-verify"}, func(said string, err error) bool {
		return err == nil && strings.Contains(said, "verify result: pass") && !strings.Contains(said, "verify result: fail")
	}},
	{"dkimpy", []string{"dkimverify"}, func(said string, err error) bool { return err == nil && strings.Contains(said, "signature ok") }},
}

// names is a DNS server that programs with no choice of one can be made to ask.
type names struct {
	*dnstest.Server
	resolv string // a resolv.conf that names it
}

// needNames starts one on port 53 of some loopback address.
func needNames(t testing.TB) *names {
	t.Helper()
	needs(t, "root", "namespaces", "opendkim-testmsg", "dkimproxy-verify", "dkimverify")
	host := fmt.Sprintf("127.%d.%d.%d", 64+rand.IntN(128), rand.IntN(256), 1+rand.IntN(250))
	n := &names{dnstest.Start(t, host+":53"), filepath.Join(workDir(t), "resolv.conf")}
	writeFile(t, n.resolv, "nameserver "+host+"\n")
	return n
}

// verify runs one verifier on a message, in a place of its own where
// /etc/resolv.conf is ours.
func (n *names) verify(command []string, message []byte) (said string, err error) {
	args := append([]string{"--mount", "sh", "-c", `mount --bind "$0" /etc/resolv.conf && exec "$@"`, n.resolv}, command...)
	cmd := exec.Command("unshare", args...)
	cmd.Stdin = bytes.NewReader(message)
	out, err := cmd.CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

// mustVerify wants every verifier to be content with the message, and not with
// one that says something else: else it would not have looked.
func (n *names) mustVerify(t *testing.T, what string, message []byte) {
	t.Helper()
	header, body, _ := bytes.Cut(message, []byte("\r\n\r\n"))
	spoilt := bytes.Replace(message, []byte("Date: Mon"), []byte("Date: Tue"), 1)
	if words := bytes.TrimSpace(body); len(words) > 0 {
		spoilt = slices.Concat(header, []byte("\r\n\r\n"), bytes.Replace(body, words, append([]byte("!"), words...), 1))
	}
	for _, v := range verifiers {
		if said, err := n.verify(v.command, message); !v.content(said, err) {
			t.Errorf("%s: %s says %q, %v\n%.2000s", what, v.name, said, err, message)
		}
		if len(message) > 1<<20 {
			continue // the small ones have shown that they look
		}
		if said, err := n.verify(v.command, spoilt); v.content(said, err) {
			t.Errorf("%s: %s is content with what was changed: %q", what, v.name, said)
		}
	}
}
