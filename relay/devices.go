package relay

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"postern/relay/admin"
	"postern/relay/devices"
)

// transcriptWait is how long a question for a transcript is kept before it is
// answered without; the one who waits asks again.
const transcriptWait = 20 * time.Second

// deviceCommands are the questions about devices.
func (r *Relay) deviceCommands(c *admin.Control) {
	c.Handle("GET /devices", func(*http.Request) (any, error) { return r.devices.List(), nil })
	c.Handle("POST /devices/recordings", r.armRecorder)
	c.Handle("GET /devices/recordings/{who}", func(q *http.Request) (any, error) {
		who, err := r.nameOf(q.PathValue("who"))
		if err != nil {
			return nil, err
		}
		wait := time.Duration(0)
		if q.FormValue("wait") != "" {
			wait = transcriptWait
		}
		ctx, cancel := context.WithTimeout(q.Context(), wait)
		defer cancel()
		return r.recorder.Await(ctx, who)
	})
}

// armRecorder asks for the transcript of the next session of an account or address.
func (r *Relay) armRecorder(q *http.Request) (any, error) {
	var wanted devices.Recording
	if err := json.NewDecoder(q.Body).Decode(&wanted); err != nil {
		return nil, err
	}
	who, err := r.nameOf(wanted.Who)
	if err != nil {
		return nil, err
	}
	r.log.Info("recording a session", "of", who, "user", cmp.Or(admin.Peer(q.Context()), "somebody"))
	return r.recorder.Arm(who)
}

// nameOf is an address as we write it, or the name of the account that who is a
// name of.
func (r *Relay) nameOf(who string) (string, error) {
	if address, err := netip.ParseAddr(who); err == nil {
		return address.Unmap().String(), nil
	}
	for _, a := range r.stations.Load().config.Accounts {
		isName := func(name string) bool { return strings.EqualFold(name, who) }
		if isName(a.Auth.Name) || slices.ContainsFunc(a.Auth.Aliases, isName) {
			return a.Auth.Name, nil
		}
	}
	return "", fmt.Errorf("%q is neither an account nor the IP address of a device", who)
}
