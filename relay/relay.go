// Package relay is the life of a message, told in two functions: Accept takes
// one from a client and keeps it, deliver hands it to an upstream. Start here.
//
// Each step is a room of its own that answers one question. submission: what
// was said? auth: who? policy: may they? rewrite: under which name? queue:
// when? upstream: through whom? dkim: proven how? bounce: what does the sender
// learn? devices: which device? The rooms do not know one another; this package leads the message from one to the
// next, counts, and writes the log.
//
// All rooms that a configuration describes are built together as one set of
// stations. A reload builds a new set and swaps one pointer; what a message
// meets between two steps never changes under it.
package relay

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"postern/metrics"
	"postern/policy"
	"postern/relay/admin"
	"postern/relay/config"
	"postern/relay/devices"
	"postern/relay/queue"
	"postern/relay/submission"
)

// How long a stopping relay waits: for running transactions and deliveries
// before it cuts them, and then for a store that cannot record what became of
// them. What is not recorded counts as uncertain at the next start.
const (
	DrainTime  = 30 * time.Second
	recordTime = 5 * time.Second
)

// Relay is a running gateway.
type Relay struct {
	log        *slog.Logger
	level      *slog.LevelVar
	listening  func()
	metrics    *metrics.Metrics
	usage      *policy.Usage
	resent     policy.Resent
	bans       *policy.Bans
	turns      turns // of those who log in
	queue      queue.Store
	submission *submission.Server
	admin      *admin.Server
	control    *admin.Control
	devices    *devices.Devices
	recorder   *devices.Recorder
	stations   atomic.Pointer[stations]
	pausing    pausing

	reloading sync.Mutex     // held while stations, listeners and lanes change
	stopping  bool           // no reload any more
	lanes     laneSet        // the loops that hand out deliveries
	sending   sync.WaitGroup // deliveries under way

	cut       context.Context // ends when deliveries under way are given up
	stopNow   context.CancelFunc
	recording context.Context // ends when not even their outcomes are awaited
	stopAll   context.CancelFunc
}

// Options are what a configuration file does not say.
type Options struct {
	Log *slog.Logger
	// Level is set from log.level of the configuration, also at a reload.
	Level *slog.LevelVar
	// File is the configuration's, for the command to read it again.
	File string
	// Version and Commit name what is running.
	Version, Commit string
	// Listening, if set, is called once every port is open.
	Listening func()
}

// New builds every room and opens the store, or says what stands in the way.
// No port is open yet.
func New(cfg *config.Config, o Options) (*Relay, error) {
	r := &Relay{log: o.Log, level: o.Level, listening: o.Listening, metrics: metrics.New(o.Version, o.Commit),
		usage: policy.NewUsage(), bans: policy.NewBans()}
	r.recording, r.stopAll = context.WithCancel(context.Background())
	r.cut, r.stopNow = context.WithCancel(r.recording)
	s, err := r.build(cfg, nil)
	if err != nil {
		return nil, err
	}
	store, err := queue.Open(s.queue, cfg.DataDir, r.metrics, o.Log)
	if err != nil {
		return nil, err
	}
	r.queue = store
	r.metrics.WatchReady(r.ready)
	r.metrics.WatchBans(func() int { return len(r.bans.List(time.Now())) })
	r.metrics.WatchQueue(func() (metrics.QueueNumbers, error) { return r.queue.Numbers(r.cut) })
	r.devices, r.recorder = devices.Open(cfg.DataDir, o.Log), devices.NewRecorder(time.Now)
	r.metrics.WatchDevices(r.devices.Count)
	r.metrics.WatchUpstreams(func() []metrics.UpstreamLimits { return r.stations.Load().upstreams.Limits() })
	r.submission = submission.NewServer(gateway{r}, r.metrics, o.Log)
	r.admin = admin.New(r.metrics.Registry, r.ready, o.Log)
	r.control = r.commands(o)
	r.adopt(s)
	s.upstreams.Remember()
	return r, nil
}

// adopt makes s what every next step of every message meets.
func (r *Relay) adopt(s *stations) {
	r.metrics.Expect(s.names())
	if r.level != nil {
		r.level.Set(s.config.Log.Level.Level())
	}
	r.bans.Configure(s.config.Policy.Ban, s.networks())
	r.stations.Store(s)
	go s.accounts.Prepare(r.recording) // an issuer out of reach is no reason to wait
}

// recount reads back from the history what accounts have sent lately, as far as
// the limits of s ask for it and it is not known.
func (r *Relay) recount(ctx context.Context, s *stations) error {
	err := s.policy.Recount(r.usage, func(since time.Time, each func(account, user string, at time.Time, recipients int)) error {
		return r.queue.Accepted(ctx, since, each)
	})
	if err != nil {
		return fmt.Errorf("read from the history what accounts have sent: %w", err)
	}
	return nil
}

// Run serves until ctx ends, then drains: idle clients are told to come back,
// running transactions and deliveries finish. It returns nil after an orderly
// stop, else the reason the relay cannot go on. It may be called once.
func (r *Relay) Run(ctx context.Context) error {
	defer r.queue.Close()
	defer r.stopAll()
	defer r.admin.Close()
	defer r.control.Close()
	err := r.begin(ctx)
	if err == nil {
		err = r.watch(ctx)
	} else if ctx.Err() != nil {
		err = nil // told to stop before it had begun
	}
	r.drain()
	return err
}

// begin opens every port and starts to send. A reload waits until it is done.
func (r *Relay) begin(ctx context.Context) error {
	r.reloading.Lock()
	defer r.reloading.Unlock()
	s := r.stations.Load()
	if err := errors.Join(r.reroute(ctx, s), r.recount(ctx, s)); err != nil {
		return err
	}
	if err := r.admin.Start(s.config.Metrics.Address); err != nil {
		return fmt.Errorf("metrics.address: %w; choose another address, or leave it out", err)
	}
	if err := r.control.Start(s.config.DataDir); err != nil {
		return err
	}
	if err := r.submission.Start(s.submission(r.recorder)); err != nil {
		return err
	}
	r.lanes.start(r, s)
	if err := r.serveWaiting(ctx, r.orphaned); err != nil {
		return err
	}
	r.log.Info("started", "hostname", s.config.Hostname, "data_dir", s.config.DataDir)
	if r.listening != nil {
		r.listening()
	}
	return nil
}

// watch does each minute what is due by the clock, and keeps what is known of
// devices, until ctx ends or the store has failed.
func (r *Relay) watch(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			r.log.Info("stopping", "drain", DrainTime.String())
			return nil
		case <-r.queue.Failed():
			return fmt.Errorf("the store cannot go on: %w", r.queue.Err())
		case <-time.After(r.stations.Load().pace()):
			r.sweep(ctx)
			r.saveDevices()
			r.saveUpstreams()
		}
	}
}

// drain stops taking, then sending, each in an orderly way for up to DrainTime.
// No reload comes after it.
func (r *Relay) drain() {
	r.reloading.Lock()
	defer r.reloading.Unlock()
	r.stopping = true
	ctx, cancel := context.WithTimeout(context.Background(), DrainTime)
	defer cancel()
	r.admin.Drain()
	if err := r.submission.Shutdown(ctx); err != nil {
		r.log.Warn("sessions cut", "error", err)
	}
	r.saveDevices()
	r.lanes.stop()
	r.stations.Load().upstreams.Stop() // what has not reached MAIL is not worth waiting for
	defer context.AfterFunc(ctx, r.stopNow)()
	defer time.AfterFunc(DrainTime+recordTime, r.stopAll).Stop()
	r.sending.Wait()
	r.saveUpstreams()
	r.stations.Load().upstreams.Close()
	r.stations.Load().oauth.Close()
	r.stations.Load().accounts.Close()
	r.log.Info("stopped")
}

// Reload reads the configuration anew and makes it what counts from here on.
// When anything in it is wrong the old one keeps running, whole, and the error
// says what.
func (r *Relay) Reload(path string) error {
	r.reloading.Lock()
	defer r.reloading.Unlock()
	if r.stopping {
		return errors.New("the relay is stopping")
	}
	err := r.reload(path)
	if err != nil {
		r.metrics.Reloads.WithLabelValues("refused").Inc()
		r.log.Error("reload refused; the old configuration keeps running", "error", err)
		return err
	}
	r.metrics.Reloads.WithLabelValues("ok").Inc()
	r.log.Info("reloaded", "config", path)
	return nil
}

func (r *Relay) reload(path string) error {
	cfg, err := config.Load(path)
	if err != nil {
		return err
	}
	before := r.stations.Load()
	if err := needsRestart(before.config, cfg); err != nil {
		return err
	}
	s, err := r.build(cfg, before.upstreams)
	if err != nil {
		return err
	}
	if err := r.submission.Reload(s.submission(r.recorder)); err != nil {
		s.upstreams.Retire(before.upstreams)
		return err
	}
	r.queue.Configure(s.queue)
	r.adopt(s)
	if err := r.recount(r.cut, s); err != nil {
		r.log.Error("limits that are new to this configuration are not kept until the next reload", "error", err)
	}
	r.lanes.stop()
	if err := r.reroute(r.cut, s); err != nil {
		r.log.Error("waiting mail keeps its old routes until the next reload", "error", err)
	}
	r.lanes.start(r, s)
	before.upstreams.Retire(s.upstreams)
	before.accounts.Close()
	if err := r.serveWaiting(r.cut, r.orphaned); err != nil {
		r.log.Error("some waiting mail is not sent for a minute", "error", err)
	}
	return nil
}

// reroute moves waiting mail to the lanes of the routes in force.
func (r *Relay) reroute(ctx context.Context, s *stations) error {
	if err := r.queue.Reroute(ctx, s.reroute); err != nil {
		return fmt.Errorf("queue: %w", err)
	}
	return nil
}

// orphaned names mail that no upstream is left for.
func (r *Relay) orphaned(lane string, deliveries int) {
	r.log.Warn("mail waits for what the configuration does not have", "lane", lane, "deliveries", deliveries,
		"hint", "configure that route or upstream under its old name until it is delivered")
}
