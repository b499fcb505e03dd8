package queue

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// writer is the one goroutine that changes the database. Changes queue up
// while a commit runs and are made durable together by the next one, since an
// fsync costs the same for one as for a hundred.
type writer struct {
	conn  *sql.Conn
	stmts map[string]*sql.Stmt // by their text
	ops   chan *op
	quit  chan struct{} // closed by stop
	ended chan struct{} // closed when the goroutine has returned

	// accepts and outcomes count those who are about to submit an op of that
	// kind: bodies begun, claims handed out.
	accepts, outcomes atomic.Int64

	last atomic.Int64 // when a change was made that is not behind, in nanoseconds

	reserve *reserve
	log     *walLog
	seconds prometheus.Observer // of a commit
	commit  func() error        // COMMIT

	// unrecorded counts the known outcomes that could not be committed yet and
	// are tried again. Meanwhile nothing is claimed: what is sent then might not
	// be recorded either.
	unrecorded atomic.Int64

	failOnce sync.Once
	failed   chan struct{} // closed once err is set
	err      error
}

type kind int

const (
	other   kind = iota // goes at once
	behind              // the same, and is no sign of mail coming or going
	accept              // waits a little for other accepts
	outcome             // waits for other outcomes, and may use the reserve
)

// How long an op waits for company while others of its kind are about to come.
// Nobody waits for an outcome, so it can wait longer than a client.
var patience = [...]time.Duration{other: 0, behind: 0, accept: 2 * time.Millisecond, outcome: 20 * time.Millisecond}

// maxGroup bounds how much one commit takes, and so how long it takes.
const maxGroup = 512

// op is one change. Apply may be called again after a rollback, so it sets
// everything it returns anew.
type op struct {
	ctx   context.Context
	kind  kind
	apply func(*tx) error
	done  chan error
}

func newWriter(conn *sql.Conn, r *reserve, l *walLog, seconds prometheus.Observer) *writer {
	w := &writer{
		conn: conn, stmts: map[string]*sql.Stmt{},
		ops: make(chan *op, maxGroup), quit: make(chan struct{}), ended: make(chan struct{}), failed: make(chan struct{}),
		reserve: r, log: l, seconds: seconds,
	}
	w.commit = func() error { return w.exec("COMMIT") }
	return w
}

// do submits a change and returns when it is durable or has failed. The end of
// ctx takes back an op that has not begun; afterwards its fate is awaited.
func (w *writer) do(ctx context.Context, k kind, apply func(*tx) error) error {
	o := &op{ctx: ctx, kind: k, apply: apply, done: make(chan error, 1)}
	select {
	case w.ops <- o:
	case <-ctx.Done():
		return ctx.Err()
	case <-w.ended:
		return errClosed
	}
	select {
	case err := <-o.done:
		return err
	case <-w.ended:
	}
	select { // it may have been the last one
	case err := <-o.done:
		return err
	default:
		return errClosed
	}
}

// stop ends the goroutine after the ops that have been submitted.
func (w *writer) stop() {
	close(w.quit)
	<-w.ended
}

func (w *writer) run() {
	defer close(w.ended)
	for {
		select {
		case o := <-w.ops:
			w.group(w.gather(o))
		case err := <-w.log.copied:
			if err = w.log.truncate(w.conn, err); isFinal(err) {
				w.fail(err)
			}
		case <-w.quit:
			for len(w.ops) > 0 {
				w.group(w.gather(<-w.ops))
			}
			return
		}
	}
}

// gather collects what goes into one commit. It waits only while more ops of a
// kind it holds are to be expected, and never longer than the most impatient
// of them allows.
func (w *writer) gather(first *op) []*op {
	group := []*op{first}
	var count [len(patience)]int64
	var began [len(patience)]time.Time
	add := func(o *op) {
		if count[o.kind]++; count[o.kind] == 1 {
			began[o.kind] = time.Now()
		}
	}
	add(first)
	for len(group) < maxGroup {
		select {
		case o := <-w.ops:
			group = append(group, o)
			add(o)
			continue
		default:
		}
		wait := w.wait(count, began)
		if wait <= 0 {
			break
		}
		timer := time.NewTimer(wait)
		select {
		case o := <-w.ops:
			group = append(group, o)
			add(o)
		case <-timer.C:
		case <-w.quit:
			return group
		}
		timer.Stop()
	}
	return group
}

// wait is how long a group of that many of each kind may still wait.
func (w *writer) wait(count [len(patience)]int64, began [len(patience)]time.Time) time.Duration {
	expected := [...]int64{other: 0, behind: 0, accept: w.accepts.Load(), outcome: w.outcomes.Load()}
	left := patience[outcome]
	for k, n := range count {
		switch {
		case n == 0:
		case n >= expected[k]:
			return 0 // all are here
		default:
			left = min(left, patience[k]-time.Since(began[k]))
		}
	}
	return left
}

// group commits ops together; when that fails, one by one, so that none is
// hurt by another. A busy database is no fault of one of them, and each would
// wait for it as long as all have.
func (w *writer) group(ops []*op) {
	if slices.ContainsFunc(ops, func(o *op) bool { return o.kind != behind }) {
		w.last.Store(time.Now().UnixNano())
	}
	err := w.transact(ops...)
	if err == nil || len(ops) == 1 || isFinal(err) || isBusy(err) {
		for _, o := range ops {
			o.done <- err
		}
		return
	}
	for _, o := range ops {
		o.done <- w.transact(o)
	}
}

// busy tells whether changes for mail are waiting, or were made so short a time ago.
func (w *writer) busy(quiet time.Duration) bool {
	return len(w.ops) > 0 || time.Since(time.Unix(0, w.last.Load())).Abs() < quiet
}

// transact commits ops in one transaction. A single outcome that finds the
// disk full gets the reserve.
func (w *writer) transact(ops ...*op) error {
	if w.hasFailed() {
		return replyFailed()
	}
	err := w.attempt(ops)
	if len(ops) == 1 && ops[0].kind == outcome && isFull(err) && w.reserve.release() {
		err = w.attempt(ops)
	}
	switch {
	case isFull(err):
		return fmt.Errorf("%w: %v", errFull, err)
	case isFinal(err):
		w.fail(err)
		return replyFailed()
	}
	return err
}

func (w *writer) attempt(ops []*op) error {
	if err := w.exec("BEGIN IMMEDIATE"); err != nil {
		return err
	}
	if err := w.applyAll(ops); err != nil {
		return errors.Join(err, w.rollback())
	}
	start := time.Now()
	if err := w.commit(); err != nil {
		return errors.Join(err, w.rollback())
	}
	w.seconds.Observe(time.Since(start).Seconds())
	w.log.grown()
	return nil
}

func (w *writer) applyAll(ops []*op) error {
	for _, o := range ops {
		if err := o.ctx.Err(); err != nil {
			return err
		}
		if err := o.apply(&tx{w: w}); err != nil {
			return err
		}
	}
	return nil
}

// rollback leaves the transaction. Some errors have ended it already, which
// SQLite then says; that is not another error.
func (w *writer) rollback() error {
	if err := w.exec("ROLLBACK"); err != nil && isFinal(err) {
		return err
	}
	return nil
}

// fail is final: a disk cannot be trusted after err.
func (w *writer) fail(err error) {
	w.end(fmt.Errorf("the message store can no longer be trusted to keep what it is given: %w; "+
		"check the disk (dmesg, smartctl), then start Postern again: nothing that was accepted is forgotten", err))
}

// end has nothing written any more, for a reason that is a sentence.
func (w *writer) end(why error) {
	w.failOnce.Do(func() {
		w.err = why
		close(w.failed)
	})
}

func (w *writer) hasFailed() bool {
	select {
	case <-w.failed:
		return true
	default:
		return false
	}
}
