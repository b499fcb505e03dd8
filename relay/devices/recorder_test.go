package devices

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"postern/relay/message"
)

func clientAt(account, address string) message.Client {
	return message.Client{Identity: message.Identity{Account: account}, Address: netip.AddrPortFrom(netip.MustParseAddr(address), 4711)}
}

// look is the recording of who as it is.
func look(t *testing.T, r *Recorder, who string) Recording {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	got, err := r.Await(ctx, who)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestTheNextSessionIsKept(t *testing.T) {
	for _, row := range []struct {
		name, who        string
		account, address string
		recorded, kept   bool
	}{
		{"of the account", "printer", "printer", "10.0.0.1", true, true},
		{"not of another account", "printer", "erp", "10.0.0.1", true, false},
		{"not of one that could not log in", "printer", "", "10.0.0.1", true, false},
		{"of the address", "10.0.0.1", "erp", "10.0.0.1", true, true},
		{"of the address, logged in or not", "10.0.0.1", "", "10.0.0.1", true, true},
		{"of the address, however it is written", "::ffff:10.0.0.1", "", "10.0.0.1", true, true},
		{"not of another address", "10.0.0.1", "erp", "10.0.0.2", false, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			r := NewRecorder(time.Now)
			if r.Recording(netip.MustParseAddr(row.address)) {
				t.Error("sessions are written down before anybody asked")
			}
			if _, err := r.Arm(row.who); err != nil {
				t.Fatal(err)
			}
			c := clientAt(row.account, row.address)
			if got := r.Recording(c.Address.Addr()); got != row.recorded {
				t.Errorf("whether it is written down: %t", got)
			}
			r.Record(c, nil) // said nothing
			r.Record(c, []byte("C: QUIT\n"))
			r.Record(c, []byte("C: NOOP\n")) // one too many
			got := look(t, r, row.who)
			if kept := got.Transcript == "C: QUIT\n" && !got.Ended.IsZero() && got.Account == row.account && got.Address == c.Address.Addr(); kept != row.kept {
				t.Errorf("kept is %+v", got)
			}
			if r.Recording(c.Address.Addr()) != (row.recorded && !row.kept) {
				t.Error("the next session is treated wrongly")
			}
		})
	}
}

func TestAwait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := NewRecorder(time.Now)
		if _, err := r.Await(t.Context(), "printer"); err == nil || !strings.Contains(err.Error(), "postern devices record printer") {
			t.Errorf("nobody asked: %v", err)
		}
		if _, err := r.Arm("printer"); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if got, err := r.Await(ctx, "printer"); err != nil || !got.Ended.IsZero() || time.Until(got.Until) != 24*time.Hour-time.Minute {
			t.Errorf("nobody came: %+v, %v", got, err)
		}
		go func() {
			time.Sleep(time.Hour)
			r.Record(clientAt("printer", "10.0.0.1"), []byte("C: QUIT\n"))
		}()
		if got, err := r.Await(t.Context(), "printer"); err != nil || got.Transcript != "C: QUIT\n" {
			t.Errorf("somebody came: %+v, %v", got, err)
		}
		if _, err := r.Arm("printer"); err != nil {
			t.Fatal(err)
		}
		if got := look(t, r, "printer"); got.Transcript != "" || !got.Ended.IsZero() {
			t.Errorf("asked anew, it has the old one: %+v", got)
		}
		time.Sleep(24*time.Hour + time.Second)
		if r.Recording(netip.MustParseAddr("10.0.0.1")) {
			t.Error("after a day it is still written down")
		}
		if _, err := r.Await(t.Context(), "printer"); err == nil {
			t.Error("after a day it is still waited for")
		}
	})
}

func TestRecorderIsBounded(t *testing.T) {
	r := NewRecorder(time.Now)
	for i := range mostRecordings {
		if _, err := r.Arm(fmt.Sprint("device", i)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := r.Arm("one more"); err == nil {
		t.Error("a 21st is waited for")
	}
	if _, err := r.Arm("device3"); err != nil {
		t.Errorf("one of them asked for again: %v", err)
	}
	long := []byte(strings.Repeat("C: NOOP\n", maxTranscript))
	for i := range 3 * mostRecordings {
		who := fmt.Sprint("device", i)
		if _, err := r.Arm(who); err != nil {
			t.Fatal(err)
		}
		r.Record(clientAt(who, "10.0.0.1"), long)
	}
	if n := len(r.recordings); n != mostRecordings {
		t.Errorf("%d recordings are kept", n)
	}
	if got := look(t, r, fmt.Sprint("device", 3*mostRecordings-1)); len(got.Transcript) != maxTranscript {
		t.Errorf("%d octets of a session are kept", len(got.Transcript))
	}
}
