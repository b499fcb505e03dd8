package policy_test

import (
	"fmt"
	"slices"
	"testing"

	"postern/policy"
)

func TestConfigCheck(t *testing.T) {
	for _, tt := range []struct {
		name   string
		config interface {
			Check(func(key, format string, args ...any))
		}
		keys []string // of the problems
	}{
		{"no limits", policy.Limits{}, nil},
		{"a negative number of recipients", policy.Limits{RecipientsPerMessage: -1}, []string{"recipients_per_message"}},
		{"an account with senders", policy.Account{Senders: patterns(t, "@example.com")}, nil},
		{"an account whose people send as themselves", policy.Account{OwnAddresses: true}, nil},
		{"an account that could send nothing", policy.Account{NullSender: true}, []string{"senders"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var keys []string
			tt.config.Check(func(key, format string, args ...any) {
				keys = append(keys, key)
				if text := fmt.Sprintf(format, args...); text == "" || len(text) > 200 {
					t.Errorf("%s: %q", key, text)
				}
			})
			if !slices.Equal(keys, tt.keys) {
				t.Errorf("problems at %q, want %q", keys, tt.keys)
			}
		})
	}
}
