package upstream_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"postern/relay/setting"
	"postern/relay/upstream"
)

// restart is the relay started anew on the same data directory.
func (p *pair) restart(t *testing.T) {
	t.Helper()
	if err := p.set.Save(); err != nil {
		t.Fatal(err)
	}
	p.set.Close()
	set := newSet(t, p.cfg, p.o)
	set.Remember()
	p.set = set
}

func TestHoldsAndCountsOutliveARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		limits := upstream.Limits{Recipients: setting.Rate{Count: 3, Per: 24 * time.Hour}}
		p := newPair(t, limits)
		slot := p.set.TrySlot("upstream:one")
		if _, err := slot.Send(t.Context(), letter("x\r\n", "a@example.net", "b@example.net", "c@example.net"), nil); err != nil {
			t.Fatal(err)
		}
		slot.Release()
		if err := p.set.Hold("two", 2*time.Hour, "ann: new mailbox"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		p.restart(t)
		if st := p.set.Status(); st[0].Recipients != 3 || st[1].State != "held" || st[1].Reason != "asked" || st[1].Error != "by ann: new mailbox" || !st[1].Until.Equal(time.Now().Add(time.Hour).UTC()) {
			t.Errorf("%+v", st)
		}
		if p.set.TrySlot("upstream:one") != nil || p.set.TrySlot("upstream:two") != nil {
			t.Error("what was held back is not any more")
		}
		time.Sleep(time.Hour)
		if p.set.TrySlot("upstream:two") == nil {
			t.Error("a hold does not end")
		}
		time.Sleep(22 * time.Hour)
		if p.set.TrySlot("upstream:one") == nil {
			t.Error("a day later they count still")
		}
	})
}

func TestADamagedMemoryIsForgotten(t *testing.T) {
	p := newPair(t, upstream.Limits{})
	if err := os.WriteFile(filepath.Join(p.o.DataDir, "upstreams.json"), []byte(`{"holds": {"one": [`), 0o600); err != nil {
		t.Fatal(err)
	}
	p.set.Remember()
	if st := p.set.Status()[0]; st.State != "up" || !strings.Contains(p.log.String(), "begin anew") {
		t.Errorf("%+v %s", st, p.log)
	}
}
