package auth

import (
	"context"

	"golang.org/x/sync/semaphore"
)

// A pool bounds the comparisons running at once by the memory they take
// together and by their number. Who comes first is served first, so that a
// comparison that takes much is not overtaken for ever by small ones.
type pool struct {
	size   int64 // octets
	memory *semaphore.Weighted
	cpus   *semaphore.Weighted
}

func newPool(memory int64, cpus int) *pool {
	return &pool{size: memory, memory: semaphore.NewWeighted(memory), cpus: semaphore.NewWeighted(int64(cpus))}
}

// run calls work, which takes that many octets, as soon as there is room. The
// error is that of ctx, which bounds the wait and not the work. A CPU comes
// before memory, so that memory is held only by who is using it.
func (p *pool) run(ctx context.Context, memory int64, work func()) error {
	if err := p.cpus.Acquire(ctx, 1); err != nil {
		return err
	}
	defer p.cpus.Release(1)
	if err := p.memory.Acquire(ctx, memory); err != nil {
		return err
	}
	defer p.memory.Release(memory)
	work()
	return nil
}
