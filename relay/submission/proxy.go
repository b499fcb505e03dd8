package submission

import (
	"context"
	"errors"
	"net"

	proxyproto "github.com/pires/go-proxyproto"
)

var (
	errNoTCP = errors.New("the PROXY header names no TCP address")
	errCrowd = errors.New("too many connections wait for theirs")
)

// unwrap reads the header of the PROXY protocol with which each connection of a
// balancer begins; from then on the connection is that of the client it tells.
// Nobody else's header is read (opening.go): it would make any client out of a
// stranger. The door closes the connection when it is shut meanwhile.
func (g *generation) unwrap(open context.Context, conn net.Conn) (net.Conn, error) {
	balancer, ok := conn.RemoteAddr().(*net.TCPAddr)
	if !ok || !g.listener.ProxyProtocol.Contain(balancer.AddrPort().Addr()) {
		return conn, nil
	}
	if !g.server.connections.expect() {
		return conn, errCrowd
	}
	defer g.server.connections.arrive()
	defer context.AfterFunc(open, func() { conn.Close() })()
	proxied := proxyproto.NewConn(conn, proxyproto.WithPolicy(proxyproto.REQUIRE), proxyproto.SetReadHeaderTimeout(g.server.timeouts.proxy))
	if _, err := proxied.Read(nil); err != nil {
		return conn, err
	}
	if _, ok := proxied.RemoteAddr().(*net.TCPAddr); !ok {
		return conn, errNoTCP
	}
	return proxied, nil
}

// tcpOf is the TCP connection below conn.
func tcpOf(conn net.Conn) (*net.TCPConn, bool) {
	if proxied, ok := conn.(*proxyproto.Conn); ok {
		conn = proxied.Raw()
	}
	tcp, ok := conn.(*net.TCPConn)
	return tcp, ok
}
