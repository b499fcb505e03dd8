package auth

import (
	"testing"
	"testing/synctest"
	"time"

	"postern/relay/message"
)

func (c *cache) has(k key) bool {
	_, ok := c.get(k)
	return ok
}

func TestCacheForgets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(time.Minute, 10)
		erp := message.Identity{Account: "erp"}
		c.add(key{1}, erp)
		time.Sleep(59 * time.Second)
		c.add(key{1}, erp) // does not prolong it
		c.add(key{2}, erp)
		if !c.has(key{1}) || !c.has(key{2}) || c.has(key{3}) {
			t.Error("it does not hold what was added in the last minute and nothing else")
		}
		time.Sleep(time.Second)
		if c.has(key{1}) || !c.has(key{2}) {
			t.Error("it does not forget after a minute, or too soon")
		}
		c.add(key{1}, message.Identity{Account: "printer"})
		if who, _ := c.get(key{1}); who.Account != "printer" {
			t.Error("what was forgotten cannot be added again")
		}
		time.Sleep(time.Hour)
		c.add(key{4}, erp)
		if len(c.known) != 1 || len(c.order) != 1 {
			t.Errorf("it keeps %d entries and an order of %d, want one", len(c.known), len(c.order))
		}
	})
}

func TestCacheIsBounded(t *testing.T) {
	c := newCache(time.Hour, 3)
	for i := range byte(100) {
		c.add(key{i}, message.Identity{})
		if len(c.known) > 3 || len(c.order) > 3 {
			t.Fatalf("it keeps %d entries and an order of %d, want three at most", len(c.known), len(c.order))
		}
	}
	for i := range byte(100) {
		if got, want := c.has(key{i}), i >= 97; got != want {
			t.Errorf("entry %d: %t, want %t", i, got, want)
		}
	}
}
