package smtp

// place is that of one transaction on a session: it owns the session, or waits
// right behind the one that does. A transaction behind another may say its MAIL,
// RCPT and DATA once the final dot before it is sent, without waiting for the
// answer (RFC 2920, section 3.1). It hears the replies when the session is its
// own, after the one to that dot. What becomes of one message so never depends
// on the other: when the session ends with the answer to the dot outstanding,
// the second has said nothing but its envelope, and another session takes it.
type place struct {
	c *conn // nil: one is to be made
	// next waits behind; sent: the final dot is, so it may say its envelope. Both are
	// guarded by the pool.
	next *place
	sent bool
	// Of one that waits: said is closed when the final dot before it is sent, mine
	// when the session is its own, or over.
	said, mine chan struct{}
	// over: so is the session; kept: another one may be made in its stead. One that
	// waits knows them once mine is closed.
	over, kept bool
}

// waits tells that the session was another's when the place was taken.
func (o *place) waits() bool { return o.mine != nil }

// lineUp is a place behind a transaction, nil when there is none. It is called
// with the lock of the pool held.
func (p *pool) lineUp() *place {
	for _, o := range p.busy {
		if o.next == nil && o.c.used < o.c.most && o.c.ext.has("PIPELINING") {
			o.next = &place{c: o.c, said: make(chan struct{}), mine: make(chan struct{})}
			if o.sent {
				close(o.next.said)
			}
			return o.next
		}
	}
	return nil
}

// dotSent lets the one behind o say its envelope.
func (p *pool) dotSent(o *place) {
	p.mu.Lock()
	defer p.mu.Unlock()
	o.sent = true
	if o.next != nil {
		close(o.next.said)
	}
}

// inherit makes the session that of the next, if it goes on. Else the next may
// make a new one in its stead, unless the one before it does. It is called with
// the lock held.
func (p *pool) inherit(next *place, taken bool) {
	if next.c.broken {
		next.over, next.kept = true, !taken
	} else {
		p.own(next)
	}
	close(next.mine)
}

// await returns when the session is that of t, or false when it is over. If t is
// ready, its envelope is said as soon as the final dot before it is sent.
func (t *transaction) await(o *place, ready bool) bool {
	said := o.said
	if !ready || t.open() == 0 {
		said = nil
	}
	select {
	case <-o.mine:
	case <-said:
		t.batches = t.group(false)
		t.early, t.earlyErr = true, t.say(t.batches[0])
		<-o.mine
	}
	return !o.over
}
