package submission

import "io"

// repairer reads a message and makes of every line end CRLF: of LF alone, of CR
// alone, and of CR CR LF, which a text sent twice through a careless program
// has. Where a message ends was decided before, by CRLF . CRLF alone, and what
// leaves here has no line ends that the next server could see otherwise: nothing
// is smuggled through it.
//
// Who ends lines in LF also doubles the dots that begin them, and so the dot that
// go-smtp left, as it saw no line there, is taken off here.
type repairer struct {
	r    io.Reader
	dots bool // it came by DATA, not by BDAT

	count int // line ends repaired
	in    [4 << 10]byte
	out   []byte // not handed over yet
	crs   int    // CR seen, at most two, and not decided on
	fresh bool   // a repaired line end was the last
	err   error
}

func (l *repairer) Read(b []byte) (int, error) {
	for len(l.out) == 0 && l.err == nil {
		var n int
		n, l.err = l.r.Read(l.in[:])
		l.out = l.out[:0]
		for _, c := range l.in[:n] {
			l.take(c)
		}
		if l.err == io.EOF {
			l.decide()
		}
	}
	if len(l.out) == 0 {
		return 0, l.err
	}
	n := copy(b, l.out)
	l.out = l.out[n:]
	return n, nil
}

// take decides on one octet.
func (l *repairer) take(c byte) {
	switch {
	case c == '\n' && l.crs == 1: // as it should be
		l.out = append(l.out, '\r', '\n')
		l.crs, l.fresh = 0, false
	case c == '\n':
		l.crs = 0
		l.end()
	case c == '\r' && l.crs == 2:
		l.end()
	case c == '\r':
		l.crs++
	default:
		l.decide()
		if c != '.' || !l.fresh || !l.dots {
			l.out = append(l.out, c)
		}
		l.fresh = false
	}
}

// decide makes line ends of the CR that no LF follows.
func (l *repairer) decide() {
	for ; l.crs > 0; l.crs-- {
		l.end()
	}
}

// end is a line end that was another.
func (l *repairer) end() {
	l.out = append(l.out, '\r', '\n')
	l.count++
	l.fresh = true
}
