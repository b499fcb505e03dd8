package queue

import (
	"fmt"
	"slices"
	"time"

	"postern/relay/message"
	"postern/relay/setting"
)

// Route is what a route says over the queue section.
type Route struct {
	// Retry, and how long to go on; nil and 0: as the queue section says.
	Retry  []setting.Duration `yaml:"retry"`
	Expire setting.Duration   `yaml:"expire"`
}

// IsZero tells whether it says nothing.
func (r Route) IsZero() bool { return len(r.Retry) == 0 && r.Expire == 0 }

// Check reports what is wrong with its own values.
func (r Route) Check(bad func(key, format string, args ...any)) {
	for i, wait := range r.Retry {
		if wait.Std() < time.Second {
			bad(fmt.Sprintf("retry[%d]", i), "%s is too short to wait before the next attempt; write at least 1s", wait)
		}
	}
}

// CheckRoute reports what is wrong between a route and the section.
func (c Config) CheckRoute(r Route, bad func(key, format string, args ...any)) {
	if !r.IsZero() {
		c.with(r).checkEnd(bad)
	}
}

// checkEnd reports an end before the first retry.
func (r Route) checkEnd(bad func(key, format string, args ...any)) {
	if len(r.Retry) > 0 && r.Expire < r.Retry[0] {
		bad("expire", "%s ends before the first retry after %s; write something longer, such as 4d", r.Expire, r.Retry[0])
	}
}

// with is r, and of the section what it does not say.
func (c Config) with(r Route) Route {
	if len(r.Retry) == 0 {
		r.Retry = c.Retry
	}
	if r.Expire == 0 {
		r.Expire = c.Expire
	}
	return r
}

// Of is what counts in a lane.
func (c Config) Of(lane string) Route { return c.with(c.Routes[message.RouteOf(lane)]) }

// Shortest and Longest are the bounds of how long mail is tried.
func (c Config) Shortest() setting.Duration { return slices.Min(c.ends()) }

func (c Config) Longest() setting.Duration { return slices.Max(c.ends()) }

func (c Config) ends() []setting.Duration {
	ends := []setting.Duration{c.Expire}
	for name := range c.Routes {
		ends = append(ends, c.Of(name).Expire)
	}
	return ends
}
