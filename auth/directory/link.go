package directory

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"time"

	"github.com/go-ldap/ldap/v3"
)

// A link is one connection to a directory. It is asked one thing at a time.
type link struct {
	*ldap.Conn
	wire   *wire
	used   time.Time // when it was last asked something
	broken bool      // it cannot be asked again
}

// dial connects and encrypts, in the time that ctx leaves.
func (d *directory) dial(ctx context.Context) (*link, error) {
	port := map[string]string{"ldap": "389", "ldaps": "636"}[d.server.Scheme]
	if d.server.Port() != "" {
		port = d.server.Port()
	}
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", net.JoinHostPort(d.server.Hostname(), port))
	if err != nil {
		return nil, err
	}
	w := &wire{Conn: conn}
	if d.server.Scheme == "ldaps" {
		return d.dialTLS(ctx, w)
	}
	if remote, ok := conn.RemoteAddr().(*net.TCPAddr); !d.config.StartTLS && !(ok && remote.IP.IsLoopback()) {
		conn.Close()
		return nil, fmt.Errorf("%s is not this machine, and passwords would cross the network in clear", conn.RemoteAddr())
	}
	l := &link{Conn: ldap.NewConn(w, false), wire: w}
	l.Start()
	if !d.config.StartTLS {
		return l, nil
	}
	if err := l.ask(ctx, func(c *ldap.Conn) error { return c.StartTLS(d.tls) }); err != nil {
		l.Close()
		return nil, fmt.Errorf("start_tls: %w", err)
	}
	return l, nil
}

func (d *directory) dialTLS(ctx context.Context, w *wire) (*link, error) {
	w.allow(maxAnswer)
	conn := tls.Client(w, d.tls)
	if err := conn.HandshakeContext(ctx); err != nil {
		w.Close()
		return nil, fmt.Errorf("TLS handshake: %w", err)
	}
	l := &link{Conn: ldap.NewConn(conn, true), wire: w}
	l.Start()
	return l, nil
}

// ask puts one question, in the time that ctx leaves. go-ldap knows no
// deadlines, so the connection below it has them; one that has met its end is
// of no use any more.
func (l *link) ask(ctx context.Context, question func(*ldap.Conn) error) error {
	l.wire.allow(maxAnswer)
	stop := context.AfterFunc(ctx, func() { l.wire.SetDeadline(time.Unix(1, 0)) })
	err := question(l.Conn)
	if !stop() {
		l.broken = true
		return errors.Join(ctx.Err(), err)
	}
	l.used = time.Now()
	l.broken = err != nil && !isAnswer(err)
	return err
}

// isAnswer tells whether err is what the directory said, and not the
// connection's. One that is busy or going down had better not be asked again.
func isAnswer(err error) bool {
	var result *ldap.Error
	return errors.As(err, &result) && result.ResultCode < ldap.ErrorNetwork &&
		result.ResultCode != ldap.LDAPResultBusy && result.ResultCode != ldap.LDAPResultUnavailable
}

// maxAnswer bounds what is read for one question, in octets: an entry with
// some hundred addresses has 10 KiB.
const maxAnswer = 1 << 20

// wire counts what is read, as go-ldap keeps all of an answer in memory.
type wire struct {
	net.Conn
	left atomic.Int64
}

func (w *wire) allow(octets int64) { w.left.Store(octets) }

func (w *wire) Read(b []byte) (int, error) {
	n, err := w.Conn.Read(b)
	if w.left.Add(-int64(n)) < 0 {
		return 0, fmt.Errorf("the directory's answer has over %d octets", maxAnswer)
	}
	return n, err
}
