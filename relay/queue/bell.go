package queue

import "sync"

// bells wake those who wait for a lane.
type bells struct {
	mu   sync.Mutex
	lane map[string]chan struct{}
}

// listen returns a channel that is closed at the next ring. Listen first, then
// look: what comes in between is not missed.
func (b *bells) listen(lane string) <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	ch, ok := b.lane[lane]
	if !ok {
		ch = make(chan struct{})
		b.lane[lane] = ch
	}
	return ch
}

func (b *bells) ring(lane string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if ch, ok := b.lane[lane]; ok {
		close(ch)
		delete(b.lane, lane)
	}
}

func (b *bells) ringAll() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, ch := range b.lane {
		close(ch)
	}
	clear(b.lane)
}
