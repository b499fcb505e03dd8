package relay

import (
	"fmt"
	"net/http"
	"time"

	"postern/relay/admin"
	"postern/relay/upstream"
)

// Upstreams is how the upstreams are doing, as commands show it. Its names are a
// promise to scripts.
type Upstreams struct {
	Upstreams []upstream.Status `json:"upstreams"`
	// Waiting tells, by lane, why its mail does not go out now; lanes that do are
	// not in it.
	Waiting map[string]string `json:"waiting"`
}

// upstreamCommands are what can be asked about upstreams, and of them.
func (r *Relay) upstreamCommands(c *admin.Control) {
	c.Handle("GET /upstreams", func(*http.Request) (any, error) { return r.listUpstreams(), nil })
	c.Handle("POST /upstreams/{name}/hold", r.holdUpstream)
	c.Handle("POST /upstreams/{name}/resume", func(q *http.Request) (any, error) {
		return nil, r.stations.Load().upstreams.Resume(q.PathValue("name"))
	})
}

func (r *Relay) listUpstreams() Upstreams {
	set := r.stations.Load().upstreams
	u := Upstreams{Upstreams: set.Status(), Waiting: map[string]string{}}
	for _, lane := range set.Lanes() {
		if why := set.Waiting(lane); why != "" {
			u.Waiting[lane] = why
		}
	}
	return u
}

// holdUpstream holds an upstream for ?for=, or until it is resumed.
func (r *Relay) holdUpstream(q *http.Request) (any, error) {
	var d time.Duration
	if given := q.FormValue("for"); given != "" {
		var err error
		if d, err = time.ParseDuration(given); err != nil || d <= 0 {
			return nil, fmt.Errorf("%q is not a time to hold it for", given)
		}
	}
	return nil, r.stations.Load().upstreams.Hold(q.PathValue("name"), d, admin.By(q))
}
