package bearer

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

const (
	// usualLife is how long keys are used before they are fetched again, where
	// the issuer does not say so within the bounds.
	usualLife = time.Hour
	leastLife = 5 * time.Minute
	mostLife  = 24 * time.Hour
	// grace is how long keys are used after they were fetched while the issuer
	// cannot be reached.
	grace = 24 * time.Hour
	// pause is the time between two fetches that did not have to be: after one
	// that failed, and for a key that is not known.
	pause = time.Minute
	// maxAbsent bounds the keys that are remembered not to be there.
	maxAbsent = 1000
)

// keySet is the keys of one issuer, as they were last fetched.
//
// A stranger may name any key in a token. So that this does not make us hammer
// the issuer, only one fetch runs at a time, and for keys that are not known
// there is one a minute. Until then only those keys are refused for which the
// issuer was asked; of others nothing is known. (go-oidc's RemoteKeySet fetches for each such token,
// forgets nothing and bounds nothing; hence this one, on go-jose.)
type keySet struct {
	source source
	log    *slog.Logger

	mu      sync.Mutex
	keys    []key
	fetched time.Time // when keys were; zero: never
	life    time.Duration
	absent  map[string]bool // the keys that were looked for when keys were fetched, and are not there
	err     error           // of the last fetch
	failed  time.Time       // when that was
	renewed time.Time       // when the last fetch for an unknown key began
	flight  chan struct{}
}

func newKeySet(f *fetcher, cfg Issuer, log *slog.Logger) *keySet {
	return &keySet{source: source{fetcher: f, issuer: cfg.Issuer, url: cfg.JWKSURL}, log: log}
}

// verify tells whether one of the keys has signed t. The error is that it could
// not be found out.
func (k *keySet) verify(ctx context.Context, t token, now time.Time) (bool, error) {
	keys, err := k.current(ctx, now)
	if err != nil {
		return false, err
	}
	known, good := signed(keys, t)
	if good || known {
		return good, nil
	}
	if keys, err = k.renew(ctx, t.header.KeyID, now); err != nil {
		return false, err
	}
	if known, good = signed(keys, t); !known {
		k.note(t.header.KeyID)
	}
	return good, nil
}

// current is the keys, fetched again if it is time. While that fails the old
// ones are good until their grace is over.
func (k *keySet) current(ctx context.Context, now time.Time) ([]key, error) {
	k.mu.Lock()
	never, age := k.fetched.IsZero(), now.Sub(k.fetched)
	fresh, resting := !never && age < k.life, k.resting(now)
	keys, err := k.keys, k.err
	k.mu.Unlock()
	if fresh {
		return keys, nil
	}
	if !resting {
		fetched, failed := k.fetch(ctx, now)
		if failed == nil {
			return fetched, nil
		}
		err = failed
	}
	if !never && age < grace {
		return keys, nil
	}
	return nil, err
}

// renew is the keys, fetched again for the sake of one that is not among them.
// The error, within a minute of the last time, is that this one was not looked
// for then.
func (k *keySet) renew(ctx context.Context, kid string, now time.Time) ([]key, error) {
	k.mu.Lock()
	switch {
	case k.resting(now):
		defer k.mu.Unlock()
		return nil, k.err
	case k.flight == nil && now.Sub(k.renewed) < pause:
		defer k.mu.Unlock()
		if k.absent[kid] {
			return k.keys, nil
		}
		return nil, fmt.Errorf("the key %q is not known, and keys were fetched for another less than %s ago", kid, pause)
	case k.flight == nil:
		k.renewed = now
	}
	k.mu.Unlock()
	return k.fetch(ctx, now)
}

// note remembers that the issuer was asked for a key it does not have.
func (k *keySet) note(kid string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.absent) < maxAbsent {
		k.absent[kid] = true
	}
}

// resting tells whether the last fetch failed so shortly ago that there is no
// point in another.
func (k *keySet) resting(now time.Time) bool {
	return k.err != nil && k.flight == nil && now.Sub(k.failed) < pause
}

// fetch joins the fetch that is under way, or begins one. It does not end with
// who asked for it: others wait for it too.
func (k *keySet) fetch(ctx context.Context, now time.Time) ([]key, error) {
	k.mu.Lock()
	if k.flight == nil {
		k.flight = make(chan struct{})
		go k.run(context.WithoutCancel(ctx), now)
	}
	flight := k.flight
	k.mu.Unlock()
	select {
	case <-flight:
		k.mu.Lock()
		defer k.mu.Unlock()
		return k.keys, k.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// run makes one fetch and notes how it ended.
func (k *keySet) run(ctx context.Context, now time.Time) {
	ctx, cancel := context.WithTimeout(ctx, k.source.patience)
	defer cancel()
	keys, life, err := k.source.keys(ctx)
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case err != nil:
		k.failed = now
		k.log.Warn("the keys of an issuer of tokens cannot be fetched", "error", err.Error(), "without_them", k.consequence(now))
	default:
		if k.err != nil {
			k.log.Info("the keys of an issuer of tokens can be fetched again")
		}
		k.keys, k.life, k.fetched, k.absent = keys, life, now, map[string]bool{}
	}
	k.err = err
	close(k.flight)
	k.flight = nil
}

// consequence is what the administrator is told beside the error.
func (k *keySet) consequence(now time.Time) string {
	if k.fetched.IsZero() || now.Sub(k.fetched) >= grace {
		return "its tokens cannot be checked; clients are told 454"
	}
	return fmt.Sprintf("those fetched at %s are used for up to %s", k.fetched.UTC().Format(time.RFC3339), grace)
}
