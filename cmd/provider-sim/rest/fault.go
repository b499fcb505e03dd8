package rest

import (
	"bytes"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"path"

	"postern/cmd/provider-sim/wire"
	"postern/cmd/provider-sim/world"
)

// faulty has go wrong what is to go wrong; the step is the end of the path.
type faulty struct {
	w       *world.World
	service string
	next    http.Handler
}

func (h faulty) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	f := h.w.Fault(h.service, path.Base(r.URL.Path))
	if f == nil {
		h.next.ServeHTTP(rw, r)
		return
	}
	usual := &recorder{header: http.Header{}, status: http.StatusOK}
	if f.Keep || f.Merge != nil || f.Cut != nil && f.Cut.Octets > 0 {
		h.next.ServeHTTP(usual, r)
	}
	h.fail(f, usual, rw, r)
}

// fail has f happen instead of the usual answer.
func (h faulty) fail(f *world.Fault, usual *recorder, rw http.ResponseWriter, r *http.Request) {
	conn := r.Context().Value(connKey{}).(*wire.Conn)
	switch {
	case f.Cut != nil:
		conn.Cut(*f.Cut)
		usual.replay(rw)
	case f.Hang:
		io.Copy(io.Discard, r.Body) // only then it is noticed that the client is gone
		<-r.Context().Done()
		conn.Abort()
	case f.Merge != nil:
		usual.merge(f.Merge)
		usual.replay(rw)
	default:
		h.w.Count(h.service, http.StatusText(f.Status))
		rw.Header().Set("Content-Type", "application/json")
		for name, value := range f.Header {
			rw.Header().Set(name, value)
		}
		rw.WriteHeader(f.Status)
		io.WriteString(rw, f.Body)
	}
}

// recorder is an answer that is not given yet.
type recorder struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (r *recorder) Header() http.Header         { return r.header }
func (r *recorder) WriteHeader(status int)      { r.status = status }
func (r *recorder) Write(b []byte) (int, error) { return r.body.Write(b) }

func (r *recorder) replay(rw http.ResponseWriter) {
	maps.Copy(rw.Header(), r.header)
	rw.WriteHeader(r.status)
	rw.Write(r.body.Bytes())
}

// merge replaces members of the JSON in the body.
func (r *recorder) merge(members map[string]any) {
	answer := map[string]any{}
	if json.Unmarshal(r.body.Bytes(), &answer) != nil {
		return
	}
	maps.Copy(answer, members)
	r.body.Reset()
	json.NewEncoder(&r.body).Encode(answer)
}
