package upstream_test

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"postern/relay/message"
	"postern/relay/upstream"
)

func TestCapture(t *testing.T) {
	o, _ := options(t)
	set := newSet(t, route(upstream.Upstream{Name: "sandbox", Preset: "capture"}), o)
	m := letter(".dot\r\nbody", "a@example.net", "b@example.net")
	for _, name := range []string{"0123456789abcdef.eml", "0123456789abcdef-2.eml"} {
		results, err := send(t, set, m)
		if err != nil || outcomes(results) != "delivered delivered" {
			t.Fatal(results, err)
		}
		if got, want := results[1].Reply.String(), "250 2.0.0 captured as capture/"+name; got != want {
			t.Errorf("%s; want %s", got, want)
		}
		path := filepath.Join(o.DataDir, "capture", name)
		got, err := os.ReadFile(path)
		want := "Return-Path: <scan@example.com>\r\nX-Envelope-To: <a@example.net>\r\nX-Envelope-To: <b@example.net>\r\n" + string(bytesOf(t, m))
		if err != nil || string(got) != want {
			t.Errorf("%q, %v", got, err)
		}
		if runtime.GOOS != "windows" {
			checkMode(t, path, 0o600)
			checkMode(t, filepath.Dir(path), 0o700)
		}
	}
}

func checkMode(t *testing.T, path string, want os.FileMode) {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != want {
		t.Errorf("%s: %v, %v", path, info.Mode(), err)
	}
}

func TestCaptureOfADamagedMessageLeavesNothing(t *testing.T) {
	o, _ := options(t)
	set := newSet(t, route(upstream.Upstream{Name: "sandbox", Preset: "capture"}), o)
	m := letter("", "a@example.net")
	m.Body = damaged{message.Bytes("x")}
	results, err := send(t, set, m)
	if err != nil || outcomes(results) != "deferred" {
		t.Fatal(results, err)
	}
	files, err := os.ReadDir(filepath.Join(o.DataDir, "capture"))
	if err != nil || len(files) != 0 {
		t.Error(files, err)
	}
}
