package setting

import (
	"testing"
	"time"
)

func TestRate(t *testing.T) {
	for text, want := range map[string]Rate{
		"0": {}, "1/s": {1, time.Second}, "30/m": {30, time.Minute}, "300/h": {300, time.Hour}, "2000/d": {2000, 24 * time.Hour},
	} {
		var got Rate
		if err := got.UnmarshalText([]byte(text)); err != nil || got != want || got.String() != text {
			t.Errorf("%s: got %v, %q, %v", text, got, got.String(), err)
		}
	}
	for _, text := range []string{"", "30", "30/", "/m", "0/m", "-1/m", "30/ms", "30/w", "3.5/m", "30/m/m", "99999999999/d"} {
		var got Rate
		if err := got.UnmarshalText([]byte(text)); err == nil || !got.IsZero() {
			t.Errorf("%q was taken for %v", text, got)
		}
	}
}
