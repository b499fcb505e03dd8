package transport_test

import (
	"context"
	"encoding/base64"
	"errors"
	"slices"
	"strings"
	"testing"

	"postern/relay/upstream/transport"
)

func TestWalkSkipsWhatNeedsAStepThatFailed(t *testing.T) {
	good := func(context.Context) ([]string, error) { return []string{"seen"}, nil }
	bad := func(context.Context) ([]string, error) {
		return nil, &transport.Unreachable{Err: errors.New("no"), Hint: "do this", Advice: transport.Advice{Meaning: "it says no"}}
	}
	var got []string
	transport.Walk(t.Context(), []transport.Part{
		{Name: "first", Go: good},
		{Name: "second", After: []string{"first"}, Go: bad},
		{Name: "third", After: []string{"second"}, Go: good},
		{Name: "alone", Go: good},
		{Name: "last", After: []string{"alone", "third"}, Go: good},
	}, func(s transport.Step) {
		word := s.Name + " ok"
		switch {
		case s.Skipped:
			word = s.Name + " skipped"
		case s.Err != nil:
			word = s.Name + " failed: " + s.Err.Error() + ", " + s.Meaning + ", " + s.Hint
		}
		got = append(got, word)
	})
	want := []string{"first ok", "second failed: no, it says no, do this", "third skipped", "alone ok", "last skipped"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestWalkSaysThatItsTimeIsOver(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	transport.Walk(ctx, []transport.Part{{Name: "slow", Go: func(context.Context) ([]string, error) {
		cancel()
		return nil, errors.New("use of closed network connection")
	}}}, func(s transport.Step) {
		if s.Err == nil || s.Err.Error() != "no answer in time" {
			t.Errorf("%v, want that there was no answer in time", s.Err)
		}
	})
}

func TestClaimsOfATokenAreSeenAndNothingElse(t *testing.T) {
	jwt := func(claims string) string {
		return "eyJhbGciOiJub25lIn0." + base64.RawURLEncoding.EncodeToString([]byte(claims)) + ".c2lnbmF0dXJl"
	}
	for _, c := range []struct {
		is, token string
		want      []string
		rights    []string
	}{
		{"of an application", jwt(`{"aud":"https://x","roles":["A.B","C"],"exp":4102444800,"upn":"private"}`),
			[]string{"aud: https://x", "roles: A.B C", "exp: 2100-01-01 00:00:00 UTC"}, []string{"A.B", "C"}},
		{"of a person", jwt(`{"aud":["a","b"],"scp":"S T"}`), []string{"aud: a b", "scp: S T"}, []string{"S", "T"}},
		{"without rights", jwt(`{"aud":"a"}`), []string{"neither roles nor scp"}, nil},
		{"with line ends in a claim", jwt(`{"aud":"a\nb","roles":["r"]}`), []string{"aud: a?b"}, []string{"r"}},
		{"that is opaque", "ya29.abc", []string{"only its provider can read"}, nil},
		{"that is no JSON", "a.b.c", []string{"only its provider can read"}, nil},
	} {
		t.Run(c.is, func(t *testing.T) {
			said := strings.Join(transport.SeenToken(c.token), "\n")
			for _, want := range c.want {
				if !strings.Contains(said, want) {
					t.Errorf("%q, want %q", said, want)
				}
			}
			if strings.Contains(said, "private") || strings.Contains(said, c.token) {
				t.Errorf("%q says too much", said)
			}
			if rights, _ := transport.TokenRights(c.token); !slices.Equal(rights, c.rights) {
				t.Errorf("rights %q, want %q", rights, c.rights)
			}
		})
	}
}
