package config

import (
	"fmt"
	"testing"
)

// What routes say counts in their lanes, and in those pinned to an upstream
// where all routes that lead there agree.
func TestRoutesHaveTheirOwnSchedules(t *testing.T) {
	c, err := Parse("f.yaml", []byte(withFiles(t, `
hostname: relay.example.com
data_dir: /var/lib/postern
listeners: [{name: submission, address: ":587", tls: starttls}]
tls: {certificates: [{certificate: /etc/postern/tls.crt, key: /etc/postern/tls.key}]}
accounts: [{name: printer, password_hash: "$argon2id$v=19$m=19456,t=2,p=1$SRvmcfuorrcMKH1UgmyHbw$VgEYCjnp1u1ugHV6uDB5MjEnSEY5ySLbIbBNM1l7eYE", senders: [scan@example.com]}]
upstreams: [{name: a, preset: capture}, {name: b, preset: capture}, {name: c, preset: capture}, {name: d, preset: capture}]
queue: {retry: [3m], expire: 1d}
routes:
  - {name: codes, recipients: ["@one.example"], retry: [30s], expire: 10m, upstreams: [a, b]}
  - {name: urgent, recipients: ["@two.example"], retry: [30s], expire: 10m, upstreams: [a, [c, b]]}
  - {name: late, recipients: ["@three.example"], expire: 9d, upstreams: [c]}
  - {name: default, upstreams: [b, d]}
`)))
	if err != nil {
		t.Fatal(err)
	}
	q := c.Queueing()
	for lane, want := range map[string]string{
		"codes": "[30s] 10m", "urgent/b": "[30s] 10m", "late": "[3m] 9d", "default": "[3m] 1d",
		"upstream:a": "[30s] 10m", "upstream:b": "[3m] 1d", "upstream:c": "[3m] 1d", "upstream:d": "[3m] 1d",
	} {
		r := q.Of(lane)
		if got := fmt.Sprint(r.Retry, " ", r.Expire); got != want {
			t.Errorf("%s: %s, want %s", lane, got, want)
		}
	}
	if c.Queue.Routes != nil || fmt.Sprint(q.Longest()) != "9d" {
		t.Errorf("the section has %v, and the longest is %s", c.Queue.Routes, q.Longest())
	}
}
