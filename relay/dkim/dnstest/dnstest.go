// Package dnstest is a DNS server for tests: on the loopback interface, with
// the records it is told, and outages on demand.
package dnstest

import (
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/miekg/dns"
)

// Server answers over UDP and TCP at Address. A name it has no records of does
// not exist.
type Server struct {
	Address string

	mu      sync.Mutex
	records map[string][]dns.RR
	down    bool
}

// Start runs a server at address, such as "127.0.0.1:0", until the test ends.
func Start(t testing.TB, address string) *Server {
	t.Helper()
	udp, tcp := listen(t, address)
	s := &Server{Address: udp.LocalAddr().String(), records: map[string][]dns.RR{}}
	for _, server := range []*dns.Server{{PacketConn: udp}, {Listener: tcp}} {
		started, ended := make(chan struct{}), make(chan struct{})
		server.Handler, server.NotifyStartedFunc = dns.HandlerFunc(s.answer), func() { close(started) }
		go func() { defer close(ended); server.ActivateAndServe() }()
		<-started
		t.Cleanup(func() {
			server.Shutdown()
			<-ended
		})
	}
	return s
}

// listen opens the same port for UDP and TCP. A port that is free for one may be
// taken for the other; where any will do, another one is tried.
func listen(t testing.TB, address string) (net.PacketConn, net.Listener) {
	t.Helper()
	for range 100 {
		udp, err := net.ListenPacket("udp", address)
		if err != nil {
			t.Fatal(err)
		}
		tcp, err := net.Listen("tcp", udp.LocalAddr().String())
		if err == nil {
			return udp, tcp
		}
		udp.Close()
	}
	t.Fatalf("no port of %s is free for UDP and TCP", address)
	return nil, nil
}

// TXT makes texts the TXT records of name, each in as many strings as it takes;
// without texts the name is gone.
func (s *Server) TXT(name string, texts ...string) {
	var records []dns.RR
	for _, text := range texts {
		r := &dns.TXT{Hdr: header(name, dns.TypeTXT)}
		for len(text) > 255 {
			r.Txt, text = append(r.Txt, text[:255]), text[255:]
		}
		r.Txt = append(r.Txt, text)
		for i := range r.Txt {
			r.Txt[i] = strings.ReplaceAll(r.Txt[i], `\`, `\\`) // the library takes it for an escape
		}
		records = append(records, r)
	}
	s.set(name, records)
}

// CNAME makes name another one for target.
func (s *Server) CNAME(name, target string) {
	s.set(name, []dns.RR{&dns.CNAME{Hdr: header(name, dns.TypeCNAME), Target: dns.Fqdn(target)}})
}

// Down begins or ends an outage: every answer is SERVFAIL.
func (s *Server) Down(down bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.down = down
}

func header(name string, kind uint16) dns.RR_Header {
	return dns.RR_Header{Name: dns.Fqdn(name), Rrtype: kind, Class: dns.ClassINET, Ttl: 60}
}

func (s *Server) set(name string, records []dns.RR) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.records[strings.ToLower(dns.Fqdn(name))] = records
}

func (s *Server) answer(w dns.ResponseWriter, q *dns.Msg) {
	m := new(dns.Msg)
	m.SetReply(q)
	m.RecursionAvailable = true
	s.fill(m, q)
	if edns := q.IsEdns0(); edns != nil && w.RemoteAddr().Network() == "udp" {
		m.Truncate(int(edns.UDPSize()))
	} else if w.RemoteAddr().Network() == "udp" {
		m.Truncate(dns.MinMsgSize)
	}
	w.WriteMsg(m)
}

// fill answers as a resolver does that follows one CNAME.
func (s *Server) fill(m, q *dns.Msg) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down {
		m.Rcode = dns.RcodeServerFailure
		return
	}
	records := s.records[strings.ToLower(q.Question[0].Name)]
	if len(records) == 0 {
		m.Rcode = dns.RcodeNameError
	}
	for _, r := range records {
		alias, isAlias := r.(*dns.CNAME)
		if isAlias || r.Header().Rrtype == q.Question[0].Qtype {
			m.Answer = append(m.Answer, r)
		}
		if !isAlias {
			continue
		}
		for _, behind := range s.records[strings.ToLower(alias.Target)] {
			if behind.Header().Rrtype == q.Question[0].Qtype {
				m.Answer = append(m.Answer, behind)
			}
		}
	}
}
