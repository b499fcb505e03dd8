package devices

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"postern/relay/message"
)

const (
	mostRecordings = 20
	maxTranscript  = 64 << 10 // octets
	// armedFor is how long a device is waited for.
	armedFor = 24 * time.Hour
)

// Recorder keeps what was said in the next session of an account or a client
// address that somebody asks for. A transcript comes without credentials and
// contents (relay/submission leaves them out) and is kept in memory only, the
// last 20 of them. A recording passes these states:
//
//	armed -> finished, by a session that begins and ends
//	armed -> gone, after 24 hours
type Recorder struct {
	now func() time.Time

	mu         sync.Mutex
	recordings []*recording // the one asked for last at the end
}

// Recording is one that was asked for.
type Recording struct {
	// Who is an account or an address.
	Who string `json:"who"`
	// Until is when it is given up.
	Until time.Time `json:"until"`
	// Ended is when the session ended; zero: it is waited for.
	Ended time.Time `json:"ended,omitzero"`
	// Account and Address are who came.
	Account string     `json:"account,omitempty"`
	Address netip.Addr `json:"address,omitzero"`
	// Transcript has a line for each command and reply.
	Transcript string `json:"transcript,omitempty"`
}

type recording struct {
	Recording
	address  netip.Addr    // valid if it is an address that is asked for
	finished chan struct{} // closed at the end
}

// NewRecorder makes one; now is the time.
func NewRecorder(now func() time.Time) *Recorder { return &Recorder{now: now} }

// Arm asks for the next session of who, an address or else the name of an
// account. What was kept of an earlier one is forgotten.
func (r *Recorder) Arm(who string) (Recording, error) {
	address, _ := netip.ParseAddr(who)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lapse()
	armed := 0
	for _, o := range r.recordings {
		if o.Ended.IsZero() && o.Who != who {
			armed++
		}
	}
	if armed >= mostRecordings {
		return Recording{}, fmt.Errorf("%d sessions are waited for already; wait for one of them, or restart the relay", armed)
	}
	r.recordings = slices.DeleteFunc(r.recordings, func(o *recording) bool { return o.Who == who })
	o := &recording{Recording{Who: who, Until: r.now().Add(armedFor)}, address.Unmap(), make(chan struct{})}
	r.recordings = append(r.recordings, o)
	return o.Recording, nil
}

// lapse forgets what was waited for too long, and the oldest transcripts.
func (r *Recorder) lapse() {
	finished := 0
	for _, o := range r.recordings {
		if !o.Ended.IsZero() {
			finished++
		}
	}
	now := r.now()
	r.recordings = slices.DeleteFunc(r.recordings, func(o *recording) bool {
		if o.Ended.IsZero() {
			return now.After(o.Until)
		}
		finished--
		return finished >= mostRecordings
	})
}

// Recording tells whether the session that begins now, from that address, is to
// be written down: it may turn out to be one that is asked for.
func (r *Recorder) Recording(client netip.Addr) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	return slices.ContainsFunc(r.recordings, func(o *recording) bool {
		return o.Ended.IsZero() && now.Before(o.Until) && (!o.address.IsValid() || o.address == client.Unmap())
	})
}

// Record takes what was said in a session that has ended. One in which nothing
// was said is not the one that is waited for.
func (r *Recorder) Record(c message.Client, transcript []byte) {
	if len(transcript) == 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lapse()
	address := c.Address.Addr().Unmap()
	for _, o := range r.recordings {
		if o.Ended.IsZero() && (o.address == address || !o.address.IsValid() && o.Who == c.Account) {
			o.Ended, o.Account, o.Address = r.now(), c.Account, address
			o.Transcript = string(transcript[:min(len(transcript), maxTranscript)])
			close(o.finished)
		}
	}
	r.lapse()
}

// Await waits until the recording of who is finished or ctx ends, and gives it
// as it is then. The error is that there is none.
func (r *Recorder) Await(ctx context.Context, who string) (Recording, error) {
	o := r.find(who)
	if o == nil {
		return Recording{}, fmt.Errorf("no session of %s is waited for or kept; ask for one with \"postern devices record %s\"", who, who)
	}
	select {
	case <-o.finished:
	case <-ctx.Done():
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return o.Recording, nil
}

func (r *Recorder) find(who string) *recording {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lapse()
	i := slices.IndexFunc(r.recordings, func(o *recording) bool { return o.Who == who })
	if i < 0 {
		return nil
	}
	return r.recordings[i]
}
