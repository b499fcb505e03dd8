package graph_test

import (
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"

	"postern/relay/message"
)

// made is a body that is nowhere in memory: a PDF in base64 of so many lines.
type made struct{ lines int }

const (
	madeHead = "--m\r\nContent-Type: text/plain\r\n\r\nhello\r\n--m\r\nContent-Type: application/pdf\r\nContent-Transfer-Encoding: base64\r\n\r\n"
	madeTail = "--m--\r\n"
)

var madeLine = base64.StdEncoding.EncodeToString(make([]byte, 57)) + "\r\n"

func (m made) Size() int64    { return int64(len(madeHead) + m.lines*len(madeLine) + len(madeTail)) }
func (m made) EightBit() bool { return false }
func (m made) Open() (io.ReadCloser, error) {
	lines := io.LimitReader(&repeated{text: madeLine}, int64(m.lines*len(madeLine)))
	return io.NopCloser(io.MultiReader(strings.NewReader(madeHead), lines, strings.NewReader(madeTail))), nil
}

type repeated struct {
	text string
	at   int
}

func (r *repeated) Read(p []byte) (int, error) {
	n := copy(p, r.text[r.at:])
	r.at = (r.at + n) % len(r.text)
	return n, nil
}

func TestThirtyMegabytesAreStreamed(t *testing.T) {
	s := newServer(t)
	var before runtime.MemStats
	var most atomic.Uint64
	s.fault = func(step string, n int, w http.ResponseWriter, r *http.Request) bool {
		if step != "chunk" {
			return false
		}
		var from, to, size int64
		fmt.Sscanf(r.Header.Get("Content-Range"), "bytes %d-%d/%d", &from, &to, &size)
		io.CopyN(io.Discard, r.Body, r.ContentLength/2)
		runtime.GC()
		var now runtime.MemStats
		runtime.ReadMemStats(&now)
		most.Store(max(most.Load(), now.HeapAlloc))
		io.Copy(io.Discard, r.Body)
		if to+1 == size {
			w.WriteHeader(201)
		} else {
			fmt.Fprintf(w, `{"nextExpectedRanges":["%d-"]}`, to+1)
		}
		return true
	}
	m := letter("From: scan@example.com\nTo: a@example.org\nContent-Type: multipart/mixed; boundary=m\n\n", "a@example.org")
	m.Body = made{30 << 20 / len(madeLine)}
	runtime.GC()
	runtime.ReadMemStats(&before)
	if r := send(t, s.client(t), m)[0]; r.Outcome != message.Delivered {
		t.Fatal(r.Reply)
	}
	if grown := int64(most.Load()) - int64(before.HeapAlloc); most.Load() == 0 || grown > 4<<20 {
		t.Errorf("%d KiB are held", grown>>10)
	}
}
