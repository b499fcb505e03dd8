package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"
)

// progress shows how far something has come: as a bar on a terminal, elsewhere as
// a line now and then. It is safe for concurrent use.
type progress struct {
	w     io.Writer
	what  string
	total int
	bar   bool

	mu    sync.Mutex
	done  int
	began time.Time
	shown time.Time
}

// How often it is shown, and how wide a bar is.
const (
	barPace  = 100 * time.Millisecond
	linePace = 10 * time.Second
	barWidth = 40
)

func newProgress(w io.Writer, what string, total int) *progress {
	f, ok := w.(*os.File)
	now := time.Now()
	return &progress{w: w, what: what, total: total, bar: ok && term.IsTerminal(int(f.Fd())), began: now, shown: now}
}

// step counts one more.
func (p *progress) step() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done++
	now := time.Now()
	pace := linePace
	if p.bar {
		pace = barPace
	}
	if now.Sub(p.shown) >= pace {
		p.shown = now
		p.show(now)
	}
}

// end leaves the line of a bar.
func (p *progress) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.bar {
		p.show(time.Now())
		fmt.Fprintln(p.w)
	}
}

func (p *progress) show(now time.Time) {
	if p.total == 0 {
		return
	}
	left := "?"
	if p.done > 0 {
		left = (now.Sub(p.began) * time.Duration(p.total-p.done) / time.Duration(p.done)).Round(time.Second).String()
	}
	if !p.bar {
		fmt.Fprintf(p.w, "%s: %d of %d, %s left\n", p.what, p.done, p.total, left)
		return
	}
	full := barWidth * p.done / p.total
	fmt.Fprintf(p.w, "\r%s [%s%s] %3d%% %d of %d, %s left \x1b[K", p.what,
		strings.Repeat("#", full), strings.Repeat(".", barWidth-full), 100*p.done/p.total, p.done, p.total, left)
}
