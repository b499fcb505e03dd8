package auth

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// load adds up what is running in a pool.
type load struct {
	mu            sync.Mutex
	memory, most  int64
	running, peak int
}

func (l *load) change(memory int64, running int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.memory += memory
	l.running += running
	l.most = max(l.most, l.memory)
	l.peak = max(l.peak, l.running)
}

func TestPoolBounds(t *testing.T) {
	for _, test := range []struct {
		name   string
		memory int64
		cpus   int
		works  []int64
		most   int64
		peak   int
	}{
		{name: "memory bounds large work", memory: 100, cpus: 50, works: []int64{40, 40, 40, 40, 40, 40}, most: 80, peak: 2},
		{name: "the whole memory may be taken by one", memory: 100, cpus: 50, works: []int64{100, 100, 100}, most: 100, peak: 1},
		{name: "CPUs bound small work", memory: 100, cpus: 3, works: []int64{1, 1, 1, 1, 1, 1, 1, 1}, most: 3, peak: 3},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p, step := newPool(test.memory, test.cpus), make(chan struct{})
				var l load
				for _, memory := range test.works {
					go func() {
						err := p.run(t.Context(), memory, func() {
							l.change(memory, 1)
							<-step
							l.change(-memory, -1)
						})
						if err != nil {
							t.Error(err)
						}
					}()
				}
				for range test.works { // each step ends one and lets the next begin
					synctest.Wait()
					step <- struct{}{}
				}
				synctest.Wait()
				if l.most != test.most || l.peak != test.peak || l.memory != 0 {
					t.Errorf("took %d octets and %d CPUs at most and %d in the end, want %d, %d and 0", l.most, l.peak, l.memory, test.most, test.peak)
				}
			})
		})
	}
}

func TestPoolWaitEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, done := newPool(100, 2), make(chan struct{})
		go p.run(t.Context(), 60, func() { <-done })
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err := p.run(ctx, 60, func() { t.Error("it ran without room") })
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		ran := false
		if err := p.run(t.Context(), 40, func() { ran = true }); err != nil || !ran {
			t.Errorf("what gave up kept its CPU: %v", err)
		}
		close(done)
	})
}
