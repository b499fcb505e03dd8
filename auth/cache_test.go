package auth

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestCacheForgets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(time.Minute, 10)
		c.add(key{1})
		time.Sleep(59 * time.Second)
		c.add(key{1}) // does not prolong it
		c.add(key{2})
		if !c.has(key{1}) || !c.has(key{2}) || c.has(key{3}) {
			t.Error("it does not hold what was added in the last minute and nothing else")
		}
		time.Sleep(time.Second)
		if c.has(key{1}) || !c.has(key{2}) {
			t.Error("it does not forget after a minute, or too soon")
		}
		c.add(key{1})
		if !c.has(key{1}) {
			t.Error("what was forgotten cannot be added again")
		}
		time.Sleep(time.Hour)
		c.add(key{4})
		if len(c.until) != 1 || len(c.order) != 1 {
			t.Errorf("it keeps %d entries and an order of %d, want one", len(c.until), len(c.order))
		}
	})
}

func TestCacheIsBounded(t *testing.T) {
	c := newCache(time.Hour, 3)
	for i := range byte(100) {
		c.add(key{i})
		if len(c.until) > 3 || len(c.order) > 3 {
			t.Fatalf("it keeps %d entries and an order of %d, want three at most", len(c.until), len(c.order))
		}
	}
	for i := range byte(100) {
		if got, want := c.has(key{i}), i >= 97; got != want {
			t.Errorf("entry %d: %t, want %t", i, got, want)
		}
	}
}
