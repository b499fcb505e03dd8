package submission

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"postern/relay/message"
)

const (
	securityPage = "../../docs/security.md"
	devicesPage  = "../../docs/devices.md"
)

var link = regexp.MustCompile(`\[([^\]]+)\]\(([^)]+)\)`)

// docs/security.md says which test holds each defence, docs/devices.md which
// holds each quirk. The files must be there, and the tests in them.
func TestPagesNameTestsThatExist(t *testing.T) {
	if n := namedTests(t, securityPage); n < 40 {
		t.Errorf("%s names only %d tests", securityPage, n)
	}
	if n := namedTests(t, devicesPage); n < 20 {
		t.Errorf("%s names only %d tests", devicesPage, n)
	}
}

// namedTests looks for the tests that a page names, and counts them.
func namedTests(t *testing.T, name string) (tests int) {
	t.Helper()
	page := read(t, name)
	for _, m := range link.FindAllStringSubmatch(page, -1) {
		text, file := m[1], filepath.Join(filepath.Dir(name), filepath.FromSlash(m[2]))
		switch {
		case strings.HasSuffix(file, "_test.go"):
			tests++
			test, row, _ := strings.Cut(text, "/")
			source := read(t, file)
			if !strings.Contains(source, "\nfunc "+test+"(") || !strings.Contains(source, row) {
				t.Errorf("%s has no %s", file, text)
			}
		case strings.HasSuffix(file, ".dialogue") && text != filepath.Base(file):
			tests++
			if !strings.Contains("\n"+read(t, file), "\n# "+text+"\n") {
				t.Errorf("%s has no dialogue %q", file, text)
			}
		default:
			if _, err := os.Stat(file); err != nil {
				t.Error(err)
			}
		}
	}
	return tests
}

// Every hole has a defence and a test, and the limits are those of the code.
func TestSecurityPageIsTrue(t *testing.T) {
	page := read(t, securityPage)
	_, holes, _ := strings.Cut(page, "## Holes\n")
	holes, _, _ = strings.Cut(holes, "\n## ")
	for i, row := range strings.Split(strings.TrimSpace(holes), "\n") {
		cells := strings.Split(strings.Trim(row, "|"), " | ")
		if i < 2 || strings.HasPrefix(cells[0], " **") {
			continue
		}
		if len(cells) != 4 || !link.MatchString(cells[3]) {
			t.Errorf("no test in: %s", row)
		}
	}
	d := defaultTimeouts
	for what, value := range map[string]any{
		"connections in all": defaultLimits.total,
		"connections of one client (IPv4 address, IPv6 /64)":                      defaultLimits.perClient,
		"failed logins in a connection":                                           maxFailures,
		"refused commands since the last accepted message":                        maxRefusals,
		"commands since the last accepted message, beside a message's recipients": otherCommands,
		"recipients of a message":                                                 maxRecipients,
		"a line, of a command or in DATA":                                         fmt.Sprint(maxLine, " octets"),
		"a message in memory":                                                     fmt.Sprint(readAhead, " octets"),
		"the PROXY header of a balancer":                                          inWords(d.proxy),
		"waiting for a client that begins with TLS on a STARTTLS port":            fmt.Sprint(d.first.Milliseconds(), " milliseconds"),
		"the transcript of a session":                                             fmt.Sprint(maxTranscript, " octets"),
		"a TLS handshake":                                                         inWords(d.handshake),
		"one command line":                                                        inWords(d.command),
		"from connecting to a successful AUTH":                                    inWords(d.login),
		"between two reads of a message":                                          inWords(d.block),
		"least rate of a message":                                                 fmt.Sprint(minRate, " octets per second"),
		"how far a message may fall behind that rate":                             inWords(d.patience),
		"a whole message":                                                         inWords(d.message),
		"our replies":                                                             inWords(d.write),
		"reading our last reply":                                                  inWords(d.linger),
	} {
		if row := fmt.Sprintf("\n| %s | %v | ", what, value); !strings.Contains(page, row) {
			t.Errorf("the page does not say%s", row)
		}
	}
	if header := fmt.Sprintf("%d MiB, 10,000 fields", message.MaxHeaderSize>>20); message.MaxHeaderFields != 10_000 || !strings.Contains(page, header) {
		t.Errorf("the page does not say %s", header)
	}
}

// inWords is a duration of one unit as people write it.
func inWords(d time.Duration) string {
	n, unit := int(d/time.Second), "second"
	switch {
	case d%time.Hour == 0:
		n, unit = int(d/time.Hour), "hour"
	case d%time.Minute == 0:
		n, unit = int(d/time.Minute), "minute"
	}
	if n != 1 {
		unit += "s"
	}
	return fmt.Sprint(n, " ", unit)
}

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
