package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"os"
	"os/signal"
	"syscall"
	"time"

	"postern/auth/oauth"
	"postern/metrics"
	"postern/relay"
	"postern/relay/admin"
	"postern/relay/config"
)

type loginCmd struct {
	Upstream string `arg:"" optional:"" help:"The upstream to log in for. Without it, all with OAuth are listed."`
	Status   bool   `help:"List how access tokens fare, and log in nowhere."`
	Paste    bool   `help:"Do not listen for the browser: the address it ends at is pasted."`
	JSON     bool   `help:"Print JSON, a line for each step." name:"json"`
}

// Run leads a person through consent, and hands what comes of it to the running
// relay; without one it keeps it for the next start.
func (l loginCmd) Run(c *cli, std streams) error {
	if l.Upstream == "" || l.Status {
		return l.list(c, std)
	}
	cfg, err := config.Load(c.Config)
	if err != nil {
		return err
	}
	set, err := oauth.New(cfg.Credentials(), oauth.Options{DataDir: cfg.DataDir, Key: cfg.Tokens.Key,
		Metrics: metrics.New(version, commit), Log: slog.New(slog.NewTextHandler(std.err, nil))}, nil)
	if err != nil {
		return err
	}
	defer set.Close()
	login, err := set.Login(l.Upstream)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	agree := l.inBrowser
	if login.Flow() == oauth.Device {
		agree = l.onDevice
	}
	token, err := agree(ctx, login, std)
	if err != nil {
		return err
	}
	status, err := handOver(ctx, cfg.DataDir, set, l.Upstream, token)
	if err != nil {
		return err
	}
	return l.tell(status, std)
}

// handOver gives a refresh token to the relay, or keeps it when none runs.
func handOver(ctx context.Context, dataDir string, set *oauth.Set, upstream, token string) (status oauth.Status, err error) {
	err = admin.Command(ctx, dataDir, "POST", "/tokens/"+url.PathEscape(upstream), relay.Consent{RefreshToken: token}, &status)
	if errors.Is(err, admin.ErrNotRunning) {
		return set.Keep(ctx, upstream, token)
	}
	if errors.Is(err, syscall.EACCES) {
		err = fmt.Errorf("%s is open to the user of the relay and to root only; begin anew with sudo", dataDir)
	}
	return status, err
}

// tell says how it went; consent that gave no access token is an answer of no.
func (l loginCmd) tell(s oauth.Status, std streams) error {
	if l.JSON {
		if err := printLine(std.out, s); err != nil {
			return err
		}
	}
	if s.State != oauth.StateOK {
		return fmt.Errorf("the consent is kept, but there is no access token: %s; %s", clean(s.Reason), clean(s.Hint))
	}
	if l.JSON {
		return nil
	}
	_, err := fmt.Fprintf(std.out, "Done. Upstream %s has an access token until %s, and gets new ones by itself.\n", s.Upstream, shortTime(s.Expires))
	return err
}

// step is what a person has to do next, as --json shows it. Its names are a
// promise to scripts.
type step struct {
	Visit   string    `json:"visit"`
	Code    string    `json:"code,omitempty"`
	Expires time.Time `json:"expires,omitzero"`
}

// onDevice shows a code, and waits until it has been entered somewhere.
func (l loginCmd) onDevice(ctx context.Context, login *oauth.Login, std streams) (string, error) {
	code, err := login.Device(ctx)
	if err != nil {
		return "", err
	}
	if l.JSON {
		err = printLine(std.out, step{code.URL, code.Code, code.Expires.UTC().Round(time.Second)})
	} else {
		_, err = fmt.Fprintf(std.out, "On any machine visit\n\n    %s\n\nand enter the code\n\n    %s\n\nThis waits until %s; Ctrl-C gives up.\n",
			code.URL, code.Code, shortTime(code.Expires))
	}
	if err != nil {
		return "", err
	}
	return login.Await(ctx, code)
}

// inBrowser shows an address, and waits until the browser comes back with a code
// or somebody pastes where it ended.
func (l loginCmd) inBrowser(ctx context.Context, login *oauth.Login, std streams) (string, error) {
	visit, err := login.Visit(l.Paste)
	if err != nil {
		return "", err
	}
	defer visit.Close()
	if l.JSON {
		err = printLine(std.out, step{Visit: visit.URL})
	} else {
		_, err = fmt.Fprintf(std.out, "Visit this address in a browser, log in as the mailbox, and agree:\n\n%s\n\n%s\n", visit.URL, l.ending(visit))
	}
	if err != nil {
		return "", err
	}
	code, err := l.arrival(ctx, visit, std)
	if err != nil {
		return "", err
	}
	return visit.Redeem(ctx, code)
}

// ending says what to do at the end of a visit.
func (loginCmd) ending(v *oauth.Visit) string {
	if v.Listens() {
		return "In a browser of this machine that is all. In any other the last page cannot be\nshown: paste the address of that page here, and press Enter."
	}
	return "The last page may not be shown: paste its address here, and press Enter."
}

// arrival is the code that the browser brings, or that is pasted. What is pasted
// wrongly may be pasted again.
func (l loginCmd) arrival(ctx context.Context, visit *oauth.Visit, std streams) (string, error) {
	came, pasted, ended := make(chan string), make(chan string), make(chan error)
	go func() {
		if address, err := visit.Arrival(ctx); err == nil {
			came <- address
		}
	}()
	go func() {
		lines := bufio.NewScanner(std.in)
		for lines.Scan() {
			pasted <- lines.Text()
		}
		ended <- lines.Err()
	}()
	for {
		select {
		case address := <-came:
			return visit.Code(address)
		case address := <-pasted:
			code, err := visit.Code(address)
			if err == nil || l.JSON {
				return code, err
			}
			fmt.Fprintf(std.err, "%v\n", err)
		case err := <-ended:
			if err != nil || !visit.Listens() {
				return "", errors.Join(errors.New("no address was pasted that has a code in it"), err)
			}
			ended = nil // the browser may still come
		case <-ctx.Done():
			return "", ctx.Err()
		}
	}
}

// list prints how the credentials fare. One that waits for a person is an answer
// of no.
func (l loginCmd) list(c *cli, std streams) error {
	var all []oauth.Status
	if err := c.command("GET", "/tokens", nil, &all); err != nil {
		return err
	}
	if l.Upstream != "" {
		all = only(all, l.Upstream)
		if len(all) == 0 {
			return fmt.Errorf("the running relay has no upstream %q with oauth", l.Upstream)
		}
	}
	if l.JSON {
		if err := printJSON(std.out, all); err != nil {
			return err
		}
	} else {
		printCredentials(std.out, all)
	}
	for _, s := range all {
		if s.State == oauth.StateNeedsConsent || s.State == oauth.StateMisconfigured {
			return silent{errors.New("a credential waits for somebody")}
		}
	}
	return nil
}

func only(all []oauth.Status, upstream string) (one []oauth.Status) {
	for _, s := range all {
		if s.Upstream == upstream {
			one = append(one, s)
		}
	}
	return one
}

// printCredentials is a line per credential, and below it what is wrong and what
// to do.
func printCredentials(w io.Writer, all []oauth.Status) {
	if len(all) == 0 {
		fmt.Fprintln(w, "No upstream has oauth.")
		return
	}
	fmt.Fprintf(w, "%-20s %-18s %-14s %-12s %s\n", "UPSTREAM", "FLOW", "STATE", "EXPIRES", "NEXT")
	for _, s := range all {
		fmt.Fprintf(w, "%-20s %-18s %-14s %-12s %s\n", s.Upstream, s.Flow, s.State, shortTime(s.Expires), shortTime(s.Next))
		if s.Reason != "" {
			fmt.Fprintf(w, "    %s\n    %s\n", clean(s.Reason), clean(s.Hint))
		}
		if !s.SecretExpires.IsZero() {
			fmt.Fprintf(w, "    its secret or certificate expires on %s\n", s.SecretExpires.Format(time.DateOnly))
		}
	}
}

// printLine prints JSON on one line.
func printLine(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// shortTime is a moment in local time, "-" for none.
func shortTime(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.Local().Format("Jan 02 15:04")
}
