package upstream_test

import (
	"bufio"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"postern/relay/upstream"
)

// distance is how far away the server of the benchmark is: there and back.
const distance = 20 * time.Millisecond

// BenchmarkFarAway sends over two connections to a server that is far away, in
// clear: plainly, with look-ahead, and plainly over twice as many connections.
func BenchmarkFarAway(b *testing.B) {
	for _, c := range []struct {
		name        string
		lookahead   bool
		connections int
	}{{"plain", false, 2}, {"lookahead", true, 2}, {"plain-twice-the-connections", false, 4}} {
		b.Run(c.name, func(b *testing.B) {
			u := upstream.Upstream{Name: "far", Address: farAway(b), TLS: "none", LookAhead: c.lookahead,
				Limits: upstream.Limits{Connections: c.connections, MessagesPerConnection: 1 << 30}}
			o, _ := options(b)
			set := newSet(b, route(u), o)
			slots, err := set.Slots(b.Context(), "default", 100)
			if err != nil {
				b.Fatal(err)
			}
			todo := make(chan int)
			var wg sync.WaitGroup
			for _, slot := range slots {
				wg.Go(func() {
					defer slot.Release()
					for i := range todo {
						if results, err := slot.Send(b.Context(), marked(i), nil); err != nil || outcomes(results) != "delivered" {
							b.Error(results, err)
						}
					}
				})
			}
			for i := range b.N {
				todo <- i
			}
			close(todo)
			wg.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msgs/s")
		})
	}
}

// farAway is a server that takes everything; each of its replies arrives distance
// after what it answers was said.
func farAway(b *testing.B) string {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { ln.Close() })
	go func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			go takeAll(nc)
		}
	}()
	return ln.Addr().String()
}

func takeAll(nc net.Conn) {
	type due struct {
		at    time.Time
		reply string
	}
	replies := make(chan due, 1000)
	say := func(reply string) { replies <- due{time.Now().Add(distance), reply + "\r\n"} }
	go func() {
		defer nc.Close()
		for d := range replies {
			<-time.After(time.Until(d.at))
			nc.Write([]byte(d.reply))
		}
	}()
	defer close(replies)
	say("220 far.example.com")
	content := false
	for lines := bufio.NewScanner(nc); lines.Scan(); {
		verb, _, _ := strings.Cut(lines.Text(), " ")
		switch {
		case content && lines.Text() != ".":
			continue
		case content:
			content = false
			say("250 2.0.0 ok")
		case verb == "EHLO":
			say("250-far.example.com\r\n250 PIPELINING")
		case verb == "DATA":
			content = true
			say("354 go on")
		case verb == "QUIT":
			say("221 bye")
			return
		default:
			say("250 ok")
		}
	}
}
