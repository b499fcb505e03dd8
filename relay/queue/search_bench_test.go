package queue_test

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"postern/relay/queue"
	"postern/relay/queue/queuetest"
)

var start = time.Date(2026, 9, 1, 0, 0, 0, 0, time.UTC)

// idOf is the id of the n-th message.
func idOf(n int) string { return fmt.Sprintf("m%015d", n) }

// fillHistory makes a history of n messages, one each second, of 50 accounts, a
// thousand senders and recipients, each also to one whom all write to; every
// 500th has failed.
func fillHistory(t testing.TB, s *queue.SQLite, n int) {
	t.Helper()
	for first := 1; first <= n; first += 1000 {
		var rows strings.Builder
		for i := first; i <= min(n, first+999); i++ {
			fmt.Fprintf(&rows, ",(%d,'%s')", i, idOf(i))
		}
		err := s.Exec(`INSERT INTO messages (n, id, account, received, sender, envelope, client, size, finished, kept)
			SELECT column1, column2, 'account' || (column1 % 50), ? + column1 * 1000, 'from' || (column1 % 1000) || '@example.com', '{}',
			'{"Account":"account1","Address":"192.0.2.1:25"}', 5000, 1, 1000 FROM (VALUES `+rows.String()[1:]+`)`, start.UnixMilli())
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, step := range []string{
		`INSERT INTO deliveries SELECT n, 0, 'to' || (n % 1000) || '@example.net', '{}', account, 'office', iif(n % 500, 'delivered', 'failed'), 'm365', '', 1, 0, '{"code":250,"text":"OK"}', 'remote-' || n FROM messages`,
		`INSERT INTO deliveries SELECT n, 1, 'all@example.net', '{}', account, 'office', 'delivered', 'm365', '', 1, 0, '{"code":250,"text":"OK"}', 'other-' || n FROM messages`,
		`INSERT INTO history SELECT n, 0, received, 'accepted', '{"changes":[{"rule":"message-id","field":"Message-ID","after":"<abcdefgh@example.com>"},{"rule":"date","field":"Date","after":"Tue, 1 Sep 2026 00:00:00 +0000"}]}' FROM messages`,
		`INSERT INTO history SELECT n, 1, received, 'attempted', '{"upstream":"m365","changes":[{"rule":"dkim","field":"DKIM-Signature","after":"example.com s2026 rsa-sha256"}],"results":[{"recipient":"to@example.net","state":"delivered","reply":' ||
			iif(n % 500, '{"code":250,"enhanced":"2.0.0","text":"OK <abcdefgh@example.com> [InternalId=' || n || ', Hostname=X.PROD.OUTLOOK.COM] Queued mail for delivery"}', '{"code":550,"enhanced":"5.1.1","text":"No such\nuser ' || n || '."}') || '}]}' FROM messages`,
		`INSERT INTO history SELECT n, 2, received, 'ended', '{}' FROM messages`,
	} {
		if err := s.Exec(step); err != nil {
			t.Fatal(err)
		}
	}
}

// reopen makes of the last n messages ones that wait and were tried once.
func reopen(t testing.TB, s *queue.SQLite, n int) {
	t.Helper()
	for _, step := range []string{
		`UPDATE messages SET finished = NULL, sought = 0 WHERE n > (SELECT max(n) FROM messages) - ?`,
		`UPDATE deliveries SET state = 'deferred', next_at = 9e15, remote_id = '' WHERE message > (SELECT max(n) FROM messages) - ?`,
		`UPDATE history SET detail = replace(detail, '250', '451') WHERE n = 1 AND message > (SELECT max(n) FROM messages) - ?`,
		`DELETE FROM history WHERE n = 2 AND message > (SELECT max(n) FROM messages) - ?`,
		`DELETE FROM search WHERE rowid > (SELECT max(n) FROM messages) - ?`,
	} {
		if err := s.Exec(step, n); err != nil {
			t.Fatal(err)
		}
	}
}

// searches are one of each criterion over what fillHistory makes, and combinations.
var searches = map[string]queue.Filter{
	"nothing":                {},
	"id":                     {ID: idOf(777)},
	"account":                {Account: "ACCOUNT7"},
	"sender":                 {Sender: "From7@example.com"},
	"recipient":              {Recipient: "TO7@example.net"},
	"everybody's":            {Recipient: "all@example.net"},
	"remote id":              {RemoteID: "remote-123"},
	"reply, rare":            {Reply: "550 5.1.1 no such"},
	"reply, one":             {Reply: "InternalId=777"},
	"reply, common":          {Reply: "queued mail for delivery"},
	"reply, nowhere":         {Reply: `%' OR 1=1`},
	"time":                   {Since: start.Add(100000 * time.Second), Until: start.Add(100010 * time.Second)},
	"old":                    {Until: start.Add(5 * time.Second)},
	"future":                 {Since: start.Add(1e6 * time.Second)},
	"delivered":              {States: []queue.State{queue.Delivered}},
	"failed":                 {States: []queue.State{queue.Failed}},
	"dropped":                {States: []queue.State{queue.Dropped}},
	"deferred":               {States: []queue.State{queue.Deferred}},
	"sending":                {States: []queue.State{queue.Sending}},
	"uncertain":              {States: []queue.State{queue.Uncertain}, Account: "account7"},
	"account, state":         {Account: "account7", States: []queue.State{queue.Failed}},
	"account, old":           {Account: "account7", Until: start.Add(5 * time.Second)},
	"account, reply":         {Account: "account7", Reply: "no such user"},
	"recipient, old":         {Recipient: "all@example.net", Until: start.Add(5 * time.Second)},
	"recipient, rare state":  {Recipient: "all@example.net", States: []queue.State{queue.Dropped}},
	"recipient, other's":     {Recipient: "all@example.net", States: []queue.State{queue.Failed}},
	"recipient, reply, time": {Recipient: "all@example.net", Reply: "no such", Since: start.Add(1000 * time.Second), Until: start.Add(50000 * time.Second)},
}

// BenchmarkSearch searches a history of 200,000 messages by each criterion, and
// tells median and 95th percentile in milliseconds: all of it in the index and
// ended; 100,000 of it waiting; and these not in the index yet.
func BenchmarkSearch(b *testing.B) {
	dir := b.TempDir()
	s := openIn(b, dir, queuetest.Config())
	s.StopFilling()
	fillHistory(b, s, 200_000)
	size := sizeOf(b, dir)
	began := time.Now()
	if err := s.Fill(b.Context()); err != nil {
		b.Fatal(err)
	}
	b.Logf("filled in %v; %d MB, with the index %d MB", time.Since(began).Round(time.Second), size, sizeOf(b, dir))
	b.Run("ended", func(b *testing.B) { search(b, s) })
	reopen(b, s, 100_000)
	b.Run("unknown", func(b *testing.B) { search(b, s) })
	if err := s.Fill(b.Context()); err != nil {
		b.Fatal(err)
	}
	b.Run("waiting", func(b *testing.B) { search(b, s) })
	if err := s.Exec(`UPDATE messages SET sought = 0 WHERE finished IS NULL`); err != nil { // as "queue hold --all" does
		b.Fatal(err)
	}
	b.Run("changed", func(b *testing.B) { search(b, s) })
}

func sizeOf(b *testing.B, dir string) (mb int64) {
	for _, name := range []string{"/queue.db", "/queue.db-wal"} {
		if info, err := os.Stat(dir + name); err == nil {
			mb += info.Size() >> 20
		}
	}
	return mb
}

func search(b *testing.B, s *queue.SQLite) {
	for _, name := range slices.Sorted(maps.Keys(searches)) {
		f := searches[name]
		f.All, f.Newest = true, true
		b.Run(name, func(b *testing.B) {
			var took []time.Duration
			for b.Loop() {
				began := time.Now()
				if _, err := s.Search(b.Context(), f); err != nil {
					b.Fatal(err)
				}
				took = append(took, time.Since(began))
			}
			slices.Sort(took)
			for metric, part := range map[string]int{"p50-ms": 50, "p95-ms": 95} {
				b.ReportMetric(float64(took[len(took)*part/100].Microseconds())/1000, metric)
			}
		})
	}
}
