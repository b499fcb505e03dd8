package upstream_test

import (
	"testing"
	"testing/synctest"
	"time"

	dto "github.com/prometheus/client_model/go"

	"postern/relay/setting"
	"postern/relay/upstream"
)

// How long mail waits for a limit is a number while it waits, too: the wait for a
// limit of a day must not be known only when the day is over.
func TestTheWaitForALimitIsSeenWhileItLasts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t, upstream.Limits{Messages: setting.Rate{Count: 1, Per: time.Hour}})
		throttled := func() float64 { return p.set.Limits()[0].Throttled }
		slot := p.set.TrySlot("upstream:one")
		if _, err := slot.Send(t.Context(), letter("x\r\n", "a@example.net"), nil); err != nil {
			t.Fatal(err)
		}
		slot.Release()
		if got := throttled(); got != 0 {
			t.Errorf("nobody waits, and it is throttled for %v s", got)
		}
		go func() {
			slots, err := p.set.Slots(t.Context(), "upstream:one", 1)
			if err != nil {
				t.Error(err)
				return
			}
			slots[0].Release()
		}()
		synctest.Wait()
		time.Sleep(20 * time.Minute)
		if got := throttled(); got != 1200 {
			t.Errorf("after 20 minutes it is throttled for %v s", got)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if got := throttled(); got != 0 {
			t.Errorf("it may send again, and is throttled for %v s", got)
		}
		var sum dto.Metric
		if err := p.o.Metrics.UpstreamThrottleWait.WithLabelValues("one").(interface{ Write(*dto.Metric) error }).Write(&sum); err != nil || sum.GetHistogram().GetSampleSum() < 3000 {
			t.Errorf("the wait was noted as %v, %v", sum.GetHistogram(), err)
		}
	})
}
