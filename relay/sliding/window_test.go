package sliding

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"postern/relay/setting"
)

// Whatever comes when, no period holds more than the rate allows, the slots stay
// few, and what is told about when there will be room is true.
func TestAWindowNeverLetsMoreThroughInAnyPeriod(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		rate := setting.Rate{
			Count: rapid.IntRange(1, 100).Draw(rt, "count"),
			Per:   rapid.SampledFrom([]time.Duration{time.Second, time.Minute, time.Hour, 24 * time.Hour}).Draw(rt, "per"),
		}
		type event struct {
			at time.Duration
			n  int
		}
		var (
			w   Window
			now time.Duration
			let []event
		)
		for range rapid.IntRange(1, 300).Draw(rt, "events") {
			now += time.Duration(rapid.Int64Range(0, int64(rate.Per)/rapid.SampledFrom([]int64{1, 10, 200}).Draw(rt, "pace")).Draw(rt, "pause"))
			n := rapid.IntRange(1, 1+rate.Count/4).Draw(rt, "n")
			at := w.Room(n, now, rate)
			if at > now {
				later := Window{slots: append([]slot(nil), w.slots...)}
				if got := later.Room(n, at, rate); got != at && n <= rate.Count {
					rt.Fatalf("told to come back at %v, but then there is room at %v only", at, got)
				}
				continue
			}
			w.Add(n, now, rate.Per)
			let = append(let, event{now, n})
			sum := 0
			for _, e := range let {
				if now-e.at < rate.Per {
					sum += e.n
				}
			}
			if sum > rate.Count {
				rt.Fatalf("%d in the period that ends at %v, of %d", sum, now, rate.Count)
			}
			if len(w.slots) > grain+2 {
				rt.Fatalf("%d slots", len(w.slots))
			}
		}
	})
}

// A window read from a history, from its end, holds what the one does that saw it
// happen.
func TestAWindowReadFromItsEndIsAsStrict(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		const period = time.Hour
		var at []time.Duration
		now := time.Duration(0)
		for range rapid.IntRange(0, 200).Draw(rt, "events") {
			now += time.Duration(rapid.Int64Range(0, int64(period/20)).Draw(rt, "pause"))
			at = append(at, now)
		}
		var w Window
		for i := len(at) - 1; i >= 0; i-- {
			w.Precede(1, at[i], period)
		}
		if len(w.slots) > 2*(grain+2)*int(1+now/period) {
			rt.Fatalf("%d slots", len(w.slots))
		}
		later := now + time.Duration(rapid.Int64Range(0, int64(period)).Draw(rt, "later"))
		want := 0
		for _, a := range at {
			if later-a < period {
				want++
			}
		}
		most := 0 // one grain may be remembered too long
		for _, a := range at {
			if later-a < period+period/grain {
				most++
			}
		}
		if got := w.Count(later, period); got < want || got > most {
			rt.Fatalf("%d, but %d happened, or at most %d", got, want, most)
		}
	})
}

func TestAWindow(t *testing.T) {
	rate := setting.Rate{Count: 10, Per: time.Minute}
	for _, tt := range []struct {
		name string
		add  []slot // at first, n
		ask  int
		now  time.Duration
		want time.Duration
	}{
		{"empty, there is room", nil, 10, 5 * time.Second, 5 * time.Second},
		{"half full, there is room for the other half", []slot{{first: 0, n: 5}}, 5, time.Second, time.Second},
		{"half full, more than the other half waits for the first", []slot{{first: 0, n: 5}}, 6, time.Second, time.Minute},
		{"full, it waits for as many as it needs", []slot{{first: 0, n: 3}, {first: 10 * time.Second, n: 3}, {first: 20 * time.Second, n: 4}}, 4, 30 * time.Second, 70 * time.Second},
		{"what is a period old has gone", []slot{{first: 0, n: 10}}, 10, time.Minute, time.Minute},
		{"what is not quite a period old has not", []slot{{first: 0, n: 10}}, 1, time.Minute - 1, time.Minute},
		{"what came within a grain goes with the last of it", []slot{{first: 0, n: 5}, {first: 900 * time.Millisecond, n: 5}}, 1, 2 * time.Second, 60900 * time.Millisecond},
		{"more than the rate allows at once waits until it is empty", []slot{{first: 0, n: 1}}, 11, time.Second, time.Minute},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var w Window
			for _, s := range tt.add {
				w.Add(s.n, s.first, rate.Per)
			}
			if got := w.Room(tt.ask, tt.now, rate); got != tt.want {
				t.Errorf("room at %v, want %v", got, tt.want)
			}
		})
	}
}
