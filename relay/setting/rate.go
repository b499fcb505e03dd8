package setting

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Rate is how many in which time, written "30/m": per second, minute, hour or
// day. The zero Rate is no limit, written "0".
type Rate struct {
	Count int
	Per   time.Duration
}

// maxRate bounds a count, so that sums of it never overflow.
const maxRate = 1_000_000_000

func (r *Rate) UnmarshalText(b []byte) error {
	if string(b) == "0" {
		*r = Rate{}
		return nil
	}
	digits, unit, _ := strings.Cut(string(b), "/")
	n, err := strconv.Atoi(digits)
	for _, u := range durationUnits {
		if err == nil && u.suffix == unit && u.unit >= time.Second && n > 0 && n <= maxRate {
			*r = Rate{Count: n, Per: u.unit}
			return nil
		}
	}
	return fmt.Errorf("%q is not a rate; write a number per s, m, h or d, such as 30/m or 2000/d", b)
}

func (r Rate) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// IsZero tells whether there is no limit.
func (r Rate) IsZero() bool { return r == Rate{} }

// String is the form UnmarshalText reads.
func (r Rate) String() string {
	for _, u := range durationUnits {
		if u.unit == r.Per {
			return strconv.Itoa(r.Count) + "/" + u.suffix
		}
	}
	return "0"
}
