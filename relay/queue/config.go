package queue

import (
	"time"

	"postern/relay/setting"
)

// Config is the queue section of the configuration.
type Config struct {
	// Retry is the wait after the first, second, ... failed attempt; the last
	// one repeats. Each is spread by up to a tenth either way.
	// Default 1m, 5m, 15m, 30m, 1h, 2h, 4h.
	Retry []setting.Duration `yaml:"retry"`
	// Expire is how long a message is tried. Default 4d.
	Expire setting.Duration `yaml:"expire"`
	// WarnAfter is how long a message waits before its sender is told that it is
	// late; 0: never. Default 4h.
	WarnAfter setting.Duration `yaml:"warn_after"`
	// Uncertain is what becomes of a delivery that may have been made: "retry"
	// (default), through the same upstream, or "hold" for a person to decide.
	Uncertain string `yaml:"uncertain"`
	// Retention is how long a finished message's history is kept. Default 14d.
	Retention setting.Duration `yaml:"retention"`
	// HistoryMax bounds the size of the history. Default 5 GiB.
	HistoryMax setting.Size `yaml:"history_max"`
	// MinFree is the free space below which no message is accepted. Default
	// 1 GiB.
	MinFree setting.Size `yaml:"min_free"`

	// Routes are what routes say over Retry and Expire, by name; what a delivery in
	// a lane pinned to an upstream waits by stands under message.PinnedLane.
	Routes map[string]Route `yaml:"-"`

	// AllowVolatile accepts a data directory that a reboot empties. It is for
	// the demo and for tests, whose directories are temporary anyway, and is
	// not to be had from a configuration file.
	AllowVolatile bool `yaml:"-"`
}

// DefaultConfig is the section when nothing is written.
func DefaultConfig() Config {
	const minute, hour, day = setting.Duration(time.Minute), setting.Duration(time.Hour), setting.Duration(24 * time.Hour)
	return Config{
		Retry:      []setting.Duration{minute, 5 * minute, 15 * minute, 30 * minute, hour, 2 * hour, 4 * hour},
		Expire:     4 * day,
		WarnAfter:  4 * hour,
		Uncertain:  "retry",
		Retention:  14 * day,
		HistoryMax: 5 << 30,
		MinFree:    1 << 30,
	}
}

// minHistory is the least a history can be bounded to: below it a busy minute
// would push out what it wrote itself.
const minHistory = 1 << 20

// Check reports what is wrong with the values.
func (c Config) Check(bad func(key, format string, args ...any)) {
	if len(c.Retry) == 0 {
		bad("retry", "it is empty; write at least one wait, such as [1m, 5m, 1h]")
	}
	Route{Retry: c.Retry}.Check(bad)
	c.Of("").checkEnd(bad)
	if c.Uncertain != "retry" && c.Uncertain != "hold" {
		bad("uncertain", "%q is not a choice; write retry (through the same upstream) or hold (a person decides)", c.Uncertain)
	}
	if c.Retention == 0 {
		bad("retention", "0 would forget messages the moment they end; write how long to keep their history, such as 14d")
	}
	if c.HistoryMax < minHistory {
		bad("history_max", "%s holds next to nothing; write at least 1MiB, such as 5GiB", c.HistoryMax)
	}
}
