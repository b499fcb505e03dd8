package dkim

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	msgauth "github.com/emersion/go-msgauth/dkim"
	"go.uber.org/goleak"

	"postern/metrics"
	"postern/relay/dkim/dnstest"
	"postern/relay/message"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// pairs are made once: an RSA key takes a while.
var pairs sync.Map

// pair is a key of that algorithm; the same name is the same key.
func pair(t testing.TB, algorithm, name string) Pair {
	t.Helper()
	made, _ := pairs.LoadOrStore(algorithm+name, sync.OnceValues(func() (Pair, error) {
		return Generate("example.com", name, algorithm)
	}))
	p, err := made.(func() (Pair, error))()
	if err != nil {
		t.Fatal(err)
	}
	_, p.PEM, _ = bytes.Cut(p.PEM, []byte("\n")) // without the note whose it is
	return p
}

// source is a key file.
func source(t testing.TB, path string) Source {
	t.Helper()
	var s Source
	if err := s.UnmarshalText([]byte(path)); err != nil {
		t.Fatal(err)
	}
	return s
}

// place is a directory with keys, and DNS beside it.
type place struct {
	t   testing.TB
	dir string
	dns *dnstest.Server
	log *bytes.Buffer
}

func newPlace(t testing.TB) *place {
	t.Helper()
	return &place{t: t, dir: t.TempDir(), dns: dnstest.Start(t, "127.0.0.1:0"), log: new(bytes.Buffer)}
}

// key writes the file of a key and is its entry in the configuration.
func (p *place) key(algorithm, domain, selector string) Key {
	p.t.Helper()
	path := filepath.Join(p.dir, selector+"."+domain+".pem")
	p.write(path, pair(p.t, algorithm, selector).PEM)
	return Key{Domain: domain, Selector: selector, Key: source(p.t, path)}
}

func (p *place) write(path string, text []byte) {
	p.t.Helper()
	if err := os.WriteFile(path, text, 0o600); err != nil {
		p.t.Fatal(err)
	}
}

// publish puts the records of keys into DNS.
func (p *place) publish(keys ...Key) {
	p.t.Helper()
	for _, k := range keys {
		private, err := k.load()
		if err != nil {
			p.t.Fatal(err)
		}
		record, err := recordOf(private.Public())
		if err != nil {
			p.t.Fatal(err)
		}
		p.dns.TXT(RecordName(k.Domain, k.Selector), record)
	}
}

// set is the keys as a relay has them.
func (p *place) set(keys ...Key) *Set {
	p.t.Helper()
	s, err := New(keys, Options{DataDir: p.dir, Resolver: p.dns.Address, Metrics: metrics.New("test", "test"),
		Log: slog.New(slog.NewTextHandler(p.log, nil))})
	if err != nil {
		p.t.Fatal(err)
	}
	return s
}

// forced is a set of active keys with their records published.
func (p *place) forced(keys ...Key) *Set {
	p.t.Helper()
	for i := range keys {
		keys[i].State = string(StateActive)
	}
	p.publish(keys...)
	return p.set(keys...)
}

// verify lets the library verify what is sent, and returns whose signatures
// held, as "d/s/a".
func (p *place) verify(text string) (good []string, err error) {
	resolver := NewResolver(p.dns.Address)
	found, err := msgauth.VerifyWithOptions(strings.NewReader(text), &msgauth.VerifyOptions{
		LookupTXT: func(name string) ([]string, error) { return resolver.net.LookupTXT(context.Background(), name) },
	})
	if err != nil {
		return nil, err
	}
	for _, v := range found {
		if v.Err != nil {
			err = errors.Join(err, fmt.Errorf("%s: %w", v.Domain, v.Err))
			continue
		}
		good = append(good, v.Domain)
	}
	return good, err
}

// letter makes a message of text whose lines end in LF.
func letter(t testing.TB, text string) *message.Message {
	t.Helper()
	header, body, _ := strings.Cut(strings.ReplaceAll(text, "\n", "\r\n"), "\r\n\r\n")
	h, err := message.ParseHeader([]byte(header + "\r\n"))
	if err != nil {
		t.Fatal(err)
	}
	return &message.Message{Header: h, Body: message.Bytes(body)}
}

const plain = "From: Scanner <scan@example.com>\nTo: you@example.org\nSubject: a scan\n" +
	"Date: Mon, 02 Mar 2026 09:00:00 +0100\nMessage-ID: <1@example.com>\n\nHello.\n"

// sent is the message on the wire with its proof on top.
func sent(t testing.TB, m *message.Message, p Proof) string {
	t.Helper()
	with := *m
	with.Header = m.Header.Prepend(p.Fields()...)
	r, err := with.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// mustSign signs for an upstream that insists.
func mustSign(t testing.TB, s *Set, m *message.Message, exclude ...string) Proof {
	t.Helper()
	p, err := s.Sign(context.Background(), m, Upstream{DKIM: modeOn, Exclude: exclude}, true)
	if err != nil {
		t.Fatal(err)
	}
	return p
}
