package relay

import (
	"net/http"

	"postern/relay/admin"
)

// commands are what can be asked of a running relay over its control socket.
func (r *Relay) commands(o Options) *admin.Control {
	c := admin.NewControl(o.Log)
	c.Handle("POST /reload", func(*http.Request) (any, error) { return nil, r.Reload(o.File) })
	r.deviceCommands(c)
	r.banCommands(c)
	r.tokenCommands(c)
	r.orderCommands(c)
	r.moveCommands(c)
	r.drainCommands(c)
	r.upstreamCommands(c)

	r.doctorCommands(c)
	return c
}
