package queue_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"postern/relay/queue"
	"postern/relay/queue/queuetest"
)

// No search sorts what it finds, and none but that for anything walks all messages.
func TestASearchGoesAlongAnIndex(t *testing.T) {
	s := openIn(t, t.TempDir(), queuetest.Config())
	for name, f := range searches {
		f.All, f.Newest = true, true
		plan, err := s.Plan(f)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for _, step := range plan {
			if strings.Contains(step, "TEMP B-TREE") || strings.HasPrefix(step, "SCAN m") && !strings.Contains(step, "INDEX messages_unsought") && name != "nothing" {
				t.Errorf("%s: %q in\n%s", name, step, strings.Join(plan, "\n"))
			}
		}
	}
}

func TestWhatASearchFinds(t *testing.T) {
	s := openIn(t, t.TempDir(), queuetest.Config())
	s.StopFilling()
	fillHistory(t, s, 2000)
	t.Run("one by one", func(t *testing.T) { finds(t, s) })
	if err := s.Fill(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Run("in the index", func(t *testing.T) { finds(t, s) })
}

func finds(t *testing.T, s *queue.SQLite) {
	for name, test := range map[string]struct {
		f    queue.Filter
		want int
	}{
		"the id, in any letter case":          {queue.Filter{ID: strings.ToUpper(idOf(77))}, 1},
		"no such id":                          {queue.Filter{ID: "zz"}, 0},
		"the id, and another account":         {queue.Filter{ID: idOf(77), Account: "account7"}, 0},
		"an account":                          {queue.Filter{Account: "Account7"}, 40},
		"a sender":                            {queue.Filter{Sender: "From7@Example.com"}, 2},
		"no null sender":                      {queue.Filter{Sender: "<>"}, 0},
		"a recipient":                         {queue.Filter{Recipient: "TO7@example.net"}, 2},
		"not a part of one":                   {queue.Filter{Recipient: "example.net"}, 0},
		"one whom all write to, a page":       {queue.Filter{Recipient: "all@example.net", Limit: 5000}, 1000},
		"a recipient's own state":             {queue.Filter{Recipient: "all@example.net", States: []queue.State{queue.Failed}}, 0},
		"several that failed":                 {queue.Filter{States: []queue.State{queue.Failed, queue.Dropped}}, 4},
		"each message once":                   {queue.Filter{States: []queue.State{queue.Delivered, queue.Sending}, Limit: 1000}, 1000},
		"the provider's id":                   {queue.Filter{RemoteID: "REMOTE-123"}, 1},
		"not a part of the provider's id":     {queue.Filter{RemoteID: "remote-12%"}, 0},
		"words over two lines":                {queue.Filter{Reply: "550 5.1.1 NO SUCH user 500."}, 1},
		"words in another order":              {queue.Filter{Reply: "user no such"}, 4},
		"a word and one that is not there":    {queue.Filter{Reply: "user nowhere"}, 0},
		"a part of a code":                    {queue.Filter{Reply: "5.1"}, 0},
		"the end of a host name":              {queue.Filter{Reply: "outlook.com 777"}, 1},
		"a label of a host name":              {queue.Filter{Reply: "prod internalid=777"}, 1},
		"a part of a word":                    {queue.Filter{Reply: "outloo"}, 0},
		"a name of the record is no reply":    {queue.Filter{Reply: "recipient"}, 0},
		"what is said of changes is no reply": {queue.Filter{Reply: "dkim"}, 0},
		"what SQL and LIKE would take":        {queue.Filter{Reply: `%' OR 1=1`}, 0},
		"what FTS5 would take":                {queue.Filter{Reply: `terms: user NEAR(no such) OR us* NOT "x`}, 0},
		"NUL and broken UTF-8":                {queue.Filter{Reply: "user\x00\xff500", Account: "a\x00", Sender: "\xff", Recipient: "\x1b[2J", RemoteID: "\u202e"}, 0},
		"what SQL would take, in every field": {queue.Filter{Account: `' OR 1=1 --`, Sender: `%' OR 1=1`, Recipient: `%' OR 1=1`, RemoteID: `%' OR 1=1`}, 0},
		"a MiB, in every field":               {queue.Filter{Account: mib, Sender: mib, Recipient: mib, RemoteID: mib, Reply: mib, ID: mib}, 0},
		"what becomes the same term":          {queue.Filter{Account: "account7", Recipient: "to7@example_net"}, 0},
		"a time":                              {queue.Filter{Since: start.Add(10 * time.Second), Until: start.Add(20 * time.Second)}, 10},
		"since then":                          {queue.Filter{Since: start.Add(1991 * time.Second)}, 10},
		"until then":                          {queue.Filter{Until: start.Add(11 * time.Second)}, 10},
		"an end before its beginning":         {queue.Filter{Since: start.Add(20 * time.Second), Until: start.Add(10 * time.Second)}, 0},
		"a time before all, and after":        {queue.Filter{Since: time.Unix(-1e12, 0), Until: time.Unix(1e15, 0)}, 100},
		"of no time yet":                      {queue.Filter{Since: time.Now().Add(1e6 * time.Hour)}, 0},
		"a sender and a state":                {queue.Filter{Sender: "from500@example.com", States: []queue.State{queue.Failed}}, 2},
		"nothing that waits":                  {queue.Filter{States: []queue.State{queue.Deferred}}, 0},
	} {
		test.f.All, test.f.Newest = true, true
		found, err := s.Search(t.Context(), test.f)
		if err != nil || len(found.Entries) != test.want {
			t.Errorf("%s: %d found, %v; want %d", name, len(found.Entries), err, test.want)
		}
		if !slices.IsSortedFunc(found.Entries, func(a, b queue.Entry) int { return strings.Compare(b.ID, a.ID) }) {
			t.Errorf("%s: not the newest first", name)
		}
	}
}

var mib = strings.Repeat("5", 1<<20)

func TestWordsThatCannotBeLookedFor(t *testing.T) {
	s := openIn(t, t.TempDir(), queuetest.Config())
	for text, want := range map[string]string{
		` %'"*() `:                  "no word to look for",
		"\x1b[\xff":                 "no word to look for",
		strings.Repeat("4.2.1 ", 9): "",
		manyWords(51):               "at most 50 words",
	} {
		_, err := s.Search(t.Context(), queue.Filter{Reply: text})
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%.20q: %v", text, err)
		}
	}
}

func manyWords(n int) (text string) {
	for i := range n {
		text += " w" + strings.Repeat("x", i)
	}
	return text
}

// Pages follow one another without a gap, in both directions, whether the index
// knows their messages or not.
func TestPagesOfASearch(t *testing.T) {
	s := openIn(t, t.TempDir(), queuetest.Config())
	s.StopFilling()
	fillHistory(t, s, 100)
	if err := s.Fill(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.Exec(`UPDATE messages SET sought = 0 WHERE n % 3 = 0`); err != nil {
		t.Fatal(err)
	}
	for _, newest := range []bool{true, false} {
		var got []string
		for f := (queue.Filter{All: true, Newest: newest, Recipient: "all@example.net", Limit: 7}); ; f.After = got[len(got)-1] {
			page, err := s.List(t.Context(), f)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range page {
				got = append(got, e.ID)
			}
			if len(page) < 7 {
				break
			}
		}
		if newest {
			slices.Reverse(got)
		}
		var want []string
		for n := range 100 {
			want = append(want, idOf(n+1))
		}
		if !slices.Equal(got, want) {
			t.Errorf("newest first %v: pages hold %v", newest, got)
		}
	}
}

// While the index is behind, a search looks at the newest of the rest and says how
// far.
func TestHowFarASearchLooked(t *testing.T) {
	s := openIn(t, t.TempDir(), queuetest.Config())
	s.StopFilling()
	fillHistory(t, s, queue.FreshReach+100)
	for name, f := range map[string]queue.Filter{"by account": {Account: "account7"}, "by words": {Reply: "queued"}, "by state": {States: []queue.State{queue.Delivered}}} {
		f.All, f.Newest, f.Limit = true, true, 1000
		found, err := s.Search(t.Context(), f)
		if want := start.Add(100 * time.Second); err != nil || !found.Reach.Equal(want) {
			t.Errorf("%s: looked back to %v, %v; want %v", name, found.Reach, err, want)
		}
	}
	if err := s.Fill(t.Context()); err != nil {
		t.Fatal(err)
	}
	found, err := s.Search(t.Context(), queue.Filter{All: true, Account: "account7", Limit: 1000})
	if err != nil || !found.Reach.IsZero() || len(found.Entries) != (queue.FreshReach+100)/50 {
		t.Errorf("with the index: %d, looked back to %v, %v", len(found.Entries), found.Reach, err)
	}
}
