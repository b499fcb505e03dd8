package main

import (
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"postern/cmd/provider-sim/identity"
	"postern/cmd/provider-sim/rest"
	"postern/cmd/provider-sim/world"
)

// controls are the HTTP API of the simulation itself.
type controls struct {
	world     *world.World
	identity  *identity.Servers
	graph     *rest.Graph
	addresses map[string]string
}

func (c controls) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, c.addresses) })
	mux.HandleFunc("GET /messages", c.messages)
	mux.HandleFunc("GET /messages/{id}", c.message)
	mux.HandleFunc("GET /stats", func(w http.ResponseWriter, _ *http.Request) {
		stats := c.world.Stats()
		stats.Counts["drafts left"] = c.graph.Drafts()
		writeJSON(w, stats)
	})
	mux.HandleFunc("POST /reset", func(http.ResponseWriter, *http.Request) { c.world.Reset() })
	mux.HandleFunc("GET /faults", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, c.world.Faults()) })
	mux.HandleFunc("GET /faults/known", func(w http.ResponseWriter, _ *http.Request) {
		known, err := world.KnownFaults()
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		writeJSON(w, known)
	})
	mux.HandleFunc("POST /faults", c.breakIt)
	mux.HandleFunc("DELETE /faults", func(http.ResponseWriter, *http.Request) { c.world.Mend(0) })
	mux.HandleFunc("DELETE /faults/{id}", func(w http.ResponseWriter, r *http.Request) {
		id, err := strconv.Atoi(r.PathValue("id"))
		if err != nil || id <= 0 {
			http.Error(w, "the id is a number, as POST /faults answered", http.StatusBadRequest)
			return
		}
		c.world.Mend(id)
	})
	mux.HandleFunc("POST /tokens/{provider}/{end}", c.tokens)
	return mux
}

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.Encode(v)
}

// messages lists those of a provider, a mailbox or a recipient, or all.
func (c controls) messages(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	is := func(name, value string) bool { return q.Get(name) == "" || strings.EqualFold(q.Get(name), value) }
	list := slices.DeleteFunc(c.world.Messages(), func(m world.Message) bool {
		to := q.Get("to") == "" || slices.ContainsFunc(m.To, func(t string) bool { return strings.EqualFold(t, q.Get("to")) })
		return !to || !is("provider", m.Provider) || !is("mailbox", m.Mailbox)
	})
	writeJSON(w, list)
}

// message is one as it was sent on.
func (c controls) message(w http.ResponseWriter, r *http.Request) {
	for _, m := range c.world.Messages() {
		if m.ID == r.PathValue("id") {
			w.Header().Set("Content-Type", "message/rfc822")
			http.ServeFile(w, r, m.File)
			return
		}
	}
	http.NotFound(w, r)
}

func (c controls) breakIt(w http.ResponseWriter, r *http.Request) {
	text, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
	if err == nil {
		var f world.Fault
		if f, err = world.ParseFault(text); err == nil {
			writeJSON(w, map[string]int{"id": c.world.Break(f)})
			return
		}
	}
	http.Error(w, err.Error(), http.StatusBadRequest)
}

// tokens ends those that were issued: they expire, or people take their consent
// back.
func (c controls) tokens(w http.ResponseWriter, r *http.Request) {
	provider, end := r.PathValue("provider"), r.PathValue("end")
	known := provider == identity.Microsoft || provider == identity.Google
	switch {
	case known && end == "expire":
		c.identity.Expire(provider)
	case known && end == "revoke":
		c.identity.Revoke(provider)
	default:
		http.Error(w, "POST /tokens/microsoft/expire or revoke, or /tokens/google/...", http.StatusNotFound)
	}
}
