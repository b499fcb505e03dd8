package submission

import (
	"context"
	"crypto/tls"
	"net"
	"strings"

	"postern/relay/message"
)

// What happens between a connection and its first word.

// arrive lets a client in, or turns it away: nil. Open ends when the door is
// shut.
func (g *generation) arrive(open context.Context, conn net.Conn) *guard {
	conn, err := g.unwrap(open, conn)
	client := newGuard(conn, g.server.timeouts)
	client.profile = g.profileOf(client.remote.Addr())
	client.visit.know(g.client(client))
	client.gone = func() { g.server.left(client) }
	if err != nil {
		g.turnAway(client, "no PROXY header: "+err.Error(), "have the balancer send one, or take its address out of proxy_protocol")
		return nil
	}
	if refusal := g.refusal(client); refusal != "" {
		if g.listener.TLS != implicitTLS { // who expects TLS cannot read it
			client.unsent = []byte(refusal + "\r\n")
		}
		g.turnAway(client, refusal, "")
		return nil
	}
	g.admit(client)
	return client
}

// begin takes a client that was let in as far as the session.
func (g *generation) begin(client *guard) {
	if g.listener.TLS == implicitTLS || client.profile.TLSOnConnect && g.listener.TLS != noTLS && client.beginsWithTLS() {
		g.secure(client)
		return
	}
	g.speak(&talk{Conn: client, guard: client, gen: g})
}

// turnAway ends a connection that may not come in.
func (g *generation) turnAway(client *guard, reason, hint string) {
	g.server.metrics.ConnectionsTotal.WithLabelValues(g.listener.Name, "refused").Inc()
	g.log.Warn("connection refused", "peer", client.remote.String(), "reason", reason, "hint", hint)
	client.visit.trouble(reason, hint, true)
	client.Close()
}

// admit lets a client in.
func (g *generation) admit(client *guard) {
	s, name := g.server, g.listener.Name
	s.metrics.ConnectionsTotal.WithLabelValues(name, "served").Inc()
	s.metrics.Connections.WithLabelValues(name).Inc()
	if r := g.config.Recorder; r != nil && r.Recording(client.remote.Addr()) {
		client.transcript = &transcript{}
	}
	client.gone = func() { g.farewell(client) }
	client.mostSaid = g.config.MaxRecipients + otherCommands
	client.overrun = func() {
		g.log.Warn("too many commands", "peer", client.remote.String(), "limit", client.mostSaid)
	}
	client.opening.failed = func(reason, hint string) { g.tlsFailed(client, reason, hint) }
}

// client is who the other end is, as far as its connection tells.
func (g *generation) client(client *guard) message.Client {
	return message.Client{Address: client.remote, Listener: g.listener.Name, Repair: client.profile.repairs()}
}

// refusal is what a client is told that may not come in, in one line; "" if it
// may. Who was counted leaves when its guard is closed.
func (g *generation) refusal(client *guard) string {
	if networks := g.listener.Networks; len(networks) > 0 && !networks.Contain(client.remote.Addr()) {
		return message.Refuse(554, "5.7.1", "%s may not connect here; the administrator can add it to the networks of listener %s",
			client.remote.Addr(), g.listener.Name).String()
	}
	if refusal := g.server.connections.enter(client); refusal != "" {
		return refusal
	}
	if err := g.server.gateway.Connect(g.client(client)); err != nil {
		client.gone = func() { g.server.left(client); g.server.connections.leave(client) }
		return replyTo(err).String()
	}
	return ""
}

// farewell is the end of a client that was let in.
func (g *generation) farewell(client *guard) {
	g.server.metrics.Connections.WithLabelValues(g.listener.Name).Dec()
	if client.transcript != nil {
		g.config.Recorder.Record(client.visit.who(), client.transcript.text)
	}
	g.server.left(client)
	g.server.connections.leave(client)
}

// secure sets up TLS, at once or after STARTTLS, and speaks under it.
func (g *generation) secure(client *guard) {
	conn := tls.Server(client, client.profile.tls)
	client.beginHandshake(g.server.handshakes)
	err := client.opening.handshake(conn, client.profile.tls.MinVersion)
	client.endHandshake()
	if err != nil {
		client.Close()
		return
	}
	state := conn.ConnectionState()
	t := &talk{Conn: conn, guard: client, gen: g, tls: &state}
	known := t.client()
	client.visit.know(known)
	client.transcript.note("%s with %s", known.TLSVersion, known.TLSCipher)
	g.server.metrics.TLS.WithLabelValues(g.listener.Name, strings.TrimPrefix(known.TLSVersion, "TLS "), "ok").Inc()
	g.server.observe("tls", client.opening.since, "")
	g.speak(t)
}

// tlsFailed tells those who run the relay what to change.
func (g *generation) tlsFailed(client *guard, reason, hint string) {
	if client.isDraining() {
		return // it was us who broke it off
	}
	g.server.metrics.TLS.WithLabelValues(g.listener.Name, "none", "failed").Inc()
	client.visit.trouble(reason, hint, true)
	client.transcript.note("%s; %s", reason, hint)
	g.log.Warn("tls failed", "peer", client.remote.String(), "reason", reason, "hint", hint)
}
