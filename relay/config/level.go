package config

import (
	"fmt"
	"log/slog"
	"strings"
)

// Level is a log level: debug, info, warn or error. The zero Level is info.
type Level slog.Level

var levels = []slog.Level{slog.LevelDebug, slog.LevelInfo, slog.LevelWarn, slog.LevelError}

func (l *Level) UnmarshalText(b []byte) error {
	for _, known := range levels {
		if string(b) == strings.ToLower(known.String()) {
			*l = Level(known)
			return nil
		}
	}
	return fmt.Errorf("%q is not a level; write debug, info, warn or error", b)
}

func (l Level) MarshalText() ([]byte, error) { return []byte(l.String()), nil }

func (l Level) String() string { return strings.ToLower(slog.Level(l).String()) }

// Level makes it a [slog.Leveler].
func (l Level) Level() slog.Level { return slog.Level(l) }
