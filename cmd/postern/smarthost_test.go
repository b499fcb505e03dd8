//go:build linux

package main_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

const (
	upstreamUser     = "relay"
	upstreamPassword = "canary-upstream-2b8e6d40a917"
)

// postfix is a private instance: its own configuration, queue and log, on the
// loopback interface, beside whatever Postfix the machine may run.
type postfix struct {
	dir     string
	address string
}

// smarthost is the Postfix that Postern sends through: STARTTLS and AUTH are
// required, and everything for mail.example.com is kept in one Maildir.
type smarthost struct {
	postfix
	mail *maildir
}

var theSmarthost struct {
	sync.Mutex
	running *smarthost
}

// needSmarthost starts the smarthost for the first test that asks.
func needSmarthost(t testing.TB) *smarthost {
	t.Helper()
	needs(t, "root", "postfix", "saslpasswd2")
	theSmarthost.Lock()
	defer theSmarthost.Unlock()
	if theSmarthost.running == nil {
		theSmarthost.running = startSmarthost(t)
	}
	return theSmarthost.running
}

func stopSmarthost() {
	if s := theSmarthost.running; s != nil {
		s.stop()
	}
}

func startSmarthost(t testing.TB) *smarthost {
	t.Helper()
	dir := filepath.Join(stage.dir, "smarthost")
	keys := needKeys(t)
	sasl := filepath.Join(dir, "etc", "sasl") // where Debian's Postfix looks, whatever cyrus_sasl_config_path says
	users := filepath.Join(sasl, "sasldb2")
	writeFile(t, filepath.Join(sasl, "smtpd.conf"), fmt.Sprintf(
		"pwcheck_method: auxprop\nauxprop_plugin: sasldb\nsasldb_path: %s\nmech_list: PLAIN LOGIN\n", users))
	addUser := exec.Command("saslpasswd2", "-p", "-c", "-f", users, "-u", "smarthost", upstreamUser)
	addUser.Stdin = strings.NewReader(upstreamPassword)
	mustRun(t, addUser)
	mustRun(t, exec.Command("chown", "postfix", users))

	mail := filepath.Join(dir, "mail")
	mustMkdir(t, mail)
	mustRun(t, exec.Command("chown", "nobody", mail))
	p := startPostfix(t, dir, `
myhostname = smarthost.example.com
virtual_mailbox_domains = mail.example.com
virtual_mailbox_base = `+mail+`
virtual_mailbox_maps = static:all/
virtual_uid_maps = static:65534
virtual_gid_maps = static:65534
smtpd_tls_security_level = encrypt
smtpd_tls_chain_files = `+keys.key+`, `+keys.certificate+`
smtpd_sasl_auth_enable = yes
smtpd_sasl_type = cyrus
smtpd_sasl_path = smtpd
cyrus_sasl_config_path = `+sasl+`
smtpd_sasl_local_domain = smarthost
smtpd_tls_auth_only = yes
smtpd_relay_restrictions = permit_sasl_authenticated, reject
`)
	return &smarthost{postfix: *p, mail: &maildir{dir: filepath.Join(mail, "all")}}
}

// startPostfix runs an instance in dir; settings are added to its main.cf.
func startPostfix(t testing.TB, dir, settings string) *postfix {
	t.Helper()
	p := &postfix{dir: dir, address: freeAddress(t)}
	for _, d := range []string{"spool", "data"} {
		mustMkdir(t, filepath.Join(dir, d))
	}
	mustRun(t, exec.Command("chown", "postfix", filepath.Join(dir, "data")))
	daemons := strings.TrimSpace(mustRun(t, exec.Command("postconf", "-dh", "daemon_directory")))
	writeFile(t, filepath.Join(dir, "etc", "main.cf"), fmt.Sprintf(mainCF, dir, daemons)+settings)
	writeFile(t, filepath.Join(dir, "etc", "master.cf"), p.address+masterCF)
	mustRun(t, exec.Command("postfix", "-c", filepath.Join(dir, "etc"), "start"))
	await(t, "Postfix to listen on "+p.address+"; its log is "+dir+"/mail.log", func() bool { return listening(p.address) })
	return p
}

func (p *postfix) stop() {
	if out, err := exec.Command("postfix", "-c", filepath.Join(p.dir, "etc"), "stop").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "stop Postfix: %v\n%s", err, out)
	}
}

// mainCF keeps Postfix from touching what it is given (no rewriting for local
// clients) and from slowing down clients that come often.
const mainCF = `
compatibility_level = 3.6
queue_directory = %[1]s/spool
data_directory = %[1]s/data
daemon_directory = %[2]s
maillog_file = %[1]s/mail.log
maillog_file_prefixes = %[1]s
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
smtp_host_lookup = native
smtp_dns_support_level = disabled
smtpd_peername_lookup = no
mynetworks =
mydestination =
alias_maps =
alias_database =
local_recipient_maps =
local_header_rewrite_clients =
biff = no
message_size_limit = 0
mailbox_size_limit = 0
virtual_mailbox_limit = 0
in_flow_delay = 0
default_process_limit = 60
smtpd_client_connection_count_limit = 0
smtpd_error_sleep_time = 0
initial_destination_concurrency = 20
minimal_backoff_time = 2s
queue_run_delay = 2s
`

const masterCF = ` inet n - n - - smtpd
pickup    unix  n - n 60  1 pickup
cleanup   unix  n - n -   0 cleanup
qmgr      unix  n - n 300 1 qmgr
tlsmgr    unix  - - n 1000? 1 tlsmgr
rewrite   unix  - - n -   - trivial-rewrite
bounce    unix  - - n -   0 bounce
defer     unix  - - n -   0 bounce
trace     unix  - - n -   0 bounce
verify    unix  - - n -   1 verify
flush     unix  n - n 1000? 0 flush
proxymap  unix  - - n -   - proxymap
proxywrite unix - - n -   1 proxymap
smtp      unix  - - n -   - smtp
relay     unix  - - n -   - smtp
showq     unix  n - n -   - showq
error     unix  - - n -   - error
retry     unix  - - n -   - error
discard   unix  - - n -   - discard
local     unix  - n n -   - local
virtual   unix  - n n -   - virtual
lmtp      unix  - - n -   - lmtp
anvil     unix  - - n -   1 anvil
scache    unix  - - n -   1 scache
postlog   unix-dgram n - n - 1 postlogd
`
