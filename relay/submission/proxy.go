package submission

import (
	"context"
	"net"

	proxyproto "github.com/pires/go-proxyproto"
)

// unwrap reads the header of the PROXY protocol with which each connection of a
// balancer begins; from then on the connection is that of the client it tells.
// Nobody else's header is read (opening.go): it would make any client out of a
// stranger.
func (g *generation) unwrap(open context.Context, conn net.Conn) (net.Conn, bool) {
	balancer, ok := conn.RemoteAddr().(*net.TCPAddr)
	if !ok || !g.listener.ProxyProtocol.Contain(balancer.AddrPort().Addr()) {
		return conn, true
	}
	defer context.AfterFunc(open, func() { conn.Close() })()
	proxied := proxyproto.NewConn(conn, proxyproto.WithPolicy(proxyproto.REQUIRE), proxyproto.SetReadHeaderTimeout(g.server.timeouts.proxy))
	_, err := proxied.Read(nil)
	if _, ok := proxied.RemoteAddr().(*net.TCPAddr); err == nil && ok {
		return proxied, true
	}
	conn.Close()
	g.server.metrics.ConnectionsTotal.WithLabelValues(g.listener.Name, "refused").Inc()
	if err == nil {
		g.log.Warn("connection refused", "peer", balancer.String(), "reason", "the PROXY header names no TCP address")
	} else if open.Err() == nil {
		g.log.Warn("connection refused", "peer", balancer.String(), "reason", err.Error(), "hint", "proxy_protocol lists this address: have the balancer send a PROXY header, or take the address out")
	}
	return nil, false
}

// tcpOf is the TCP connection below conn.
func tcpOf(conn net.Conn) (*net.TCPConn, bool) {
	if proxied, ok := conn.(*proxyproto.Conn); ok {
		conn = proxied.Raw()
	}
	tcp, ok := conn.(*net.TCPConn)
	return tcp, ok
}
