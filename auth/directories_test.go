package auth

import (
	"log/slog"
	"testing"

	"postern/auth/directory"
	"postern/relay/setting"
)

// A directory is asked only about who comes from the networks of the account it
// gives: one that is away is not even noticed by others.
func TestWhomADirectoryIsAskedAbout(t *testing.T) {
	var network setting.Network
	if err := network.UnmarshalText([]byte("10.20.0.0/16")); err != nil {
		t.Fatal(err)
	}
	cfg := DefaultConfig()
	cfg.Directories = []directory.Config{{URL: "ldap://127.0.0.1:1", Base: "dc=example", Account: "people"}}
	a, err := New(cfg, []Account{
		{Name: "people", Networks: setting.Networks{network}},
		{Name: "clerk", Directory: true, Networks: setting.Networks{network}},
	}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	for _, name := range []string{"ann", "clerk"} {
		if _, err := a.Password(t.Context(), name, "secret", office); replyCode(t, err) != 454 {
			t.Errorf("%s from the office: %v, want a 454 as the directory is away", name, err)
		}
		if _, err := a.Password(t.Context(), name, "secret", stranger); replyCode(t, err) != 535 {
			t.Errorf("%s from elsewhere: %v, want a 535 without asking", name, err)
		}
	}
}
