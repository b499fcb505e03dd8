package world

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// Services that can be told to fail.
const (
	MicrosoftSMTP  = "microsoft-smtp"
	MicrosoftLogin = "microsoft-login"
	Graph          = "graph"
	GmailSMTP      = "gmail-smtp"
	GmailAPI       = "gmail-api"
	GoogleLogin    = "google-login"
	SESSMTP        = "ses-smtp"
)

// Services are all of them.
var Services = []string{MicrosoftSMTP, MicrosoftLogin, Graph, GmailSMTP, GmailAPI, GoogleLogin, SESSMTP}

// Fault is something that goes wrong on request. Of Down, Cut, Hang and an
// answer (Reply, or Status with Header and Body, or Merge) the first that is set
// happens.
type Fault struct {
	ID int `json:"id" yaml:"-"`
	// Where is the service, At the step of it: connect, tls, greeting, ehlo, auth,
	// mail, rcpt, data or end (after the final dot) of SMTP, else the end of a path
	// such as "token" or "sendMail". "" is each step; of SMTP only connect.
	Where string `json:"where" yaml:"where"`
	At    string `json:"at,omitempty" yaml:"at"`
	// Times is how often; 0 is until it is taken back.
	Times int `json:"times,omitempty" yaml:"times"`
	// After that many occasions on which all went well.
	After int `json:"after,omitempty" yaml:"after"`
	// Keep has the message be accepted before it happens.
	Keep bool `json:"keep,omitempty" yaml:"keep"`

	// Down closes each connection at once.
	Down bool `json:"down,omitempty" yaml:"down"`
	// Cut ends the connection.
	Cut *Cut `json:"cut,omitempty" yaml:"cut"`
	// Hang answers nothing until the client is gone.
	Hang bool `json:"hang,omitempty" yaml:"hang"`
	// Reply is one of SMTP; its lines are separated by \n.
	Reply string `json:"reply,omitempty" yaml:"reply"`
	// Status, Header and Body are an answer of HTTP.
	Status int               `json:"status,omitempty" yaml:"status"`
	Header map[string]string `json:"header,omitempty" yaml:"header"`
	Body   string            `json:"body,omitempty" yaml:"body"`
	// Merge replaces members of the JSON that would be answered.
	Merge map[string]any `json:"merge,omitempty" yaml:"merge"`
}

// Cut lets so many octets pass, counted on the wire from the step the fault is
// at, and then ends the connection.
type Cut struct {
	Octets int64 `json:"octets" yaml:"octets"`
	// From is "server" (default) or "client": whose octets are counted.
	From string `json:"from,omitempty" yaml:"from"`
}

//go:embed faults.yaml
var faultsYAML []byte

// KnownFaults are those that have a name.
func KnownFaults() (map[string]Fault, error) {
	var known map[string]Fault
	decoder := yaml.NewDecoder(bytes.NewReader(faultsYAML))
	decoder.KnownFields(true)
	err := decoder.Decode(&known)
	return known, err
}

// ParseFault reads one as JSON; {"name": "432"} begins with one that is known.
func ParseFault(text []byte) (Fault, error) {
	var named struct {
		Name string `json:"name"`
	}
	if err := json.Unmarshal(text, &named); err != nil {
		return Fault{}, err
	}
	var f Fault
	if named.Name != "" {
		known, err := KnownFaults()
		if err != nil {
			return f, err
		}
		var ok bool
		if f, ok = known[named.Name]; !ok {
			return f, fmt.Errorf("no fault is called %q; GET /faults/known lists them", named.Name)
		}
	}
	var asked struct {
		Name string `json:"name"`
		*Fault
	}
	asked.Fault = &f
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&asked); err != nil {
		return f, err
	}
	return f, f.check()
}

func (f Fault) check() error {
	switch {
	case !slices.Contains(Services, f.Where):
		return fmt.Errorf("where is %q; it is one of %s", f.Where, strings.Join(Services, ", "))
	case !f.Down && f.Cut == nil && !f.Hang && f.Reply == "" && f.Status == 0 && f.Merge == nil:
		return fmt.Errorf("nothing goes wrong: say down, cut, hang, reply, status or merge")
	case f.Cut != nil && f.Cut.From != "" && f.Cut.From != "server" && f.Cut.From != "client":
		return fmt.Errorf("cut.from is %q; it is server or client", f.Cut.From)
	}
	return nil
}

// Break has f happen from now on, and returns its id.
func (w *World) Break(f Fault) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lastFault++
	f.ID = w.lastFault
	w.faults = append(w.faults, &f)
	w.log.Info("fault set", "id", f.ID, "where", f.Where, "at", f.At, "times", f.Times)
	return f.ID
}

// Mend takes the fault of that id back; 0: all of them.
func (w *World) Mend(id int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.faults = slices.DeleteFunc(w.faults, func(f *Fault) bool { return id == 0 || f.ID == id })
}

// Faults are those that are still to happen.
func (w *World) Faults() []Fault {
	w.mu.Lock()
	defer w.mu.Unlock()
	list := []Fault{}
	for _, f := range w.faults {
		list = append(list, *f)
	}
	return list
}

// Fault is what goes wrong at this step now; nil: nothing.
func (w *World) Fault(where, at string) *Fault {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, f := range w.faults {
		if f.Where != where || !f.is(at) {
			continue
		}
		if f.After > 0 {
			f.After--
			continue
		}
		happens := *f
		if f.Times > 0 {
			if f.Times--; f.Times == 0 {
				w.faults = slices.Delete(w.faults, i, i+1)
			}
		}
		w.log.Info("fault", "id", f.ID, "where", where, "at", at)
		return &happens
	}
	return nil
}

// is tells whether f is at that step.
func (f *Fault) is(at string) bool {
	overall := f.At == ""
	smtp := strings.HasSuffix(f.Where, "-smtp")
	switch {
	case at == "connect":
		return f.Down || f.At == at || overall && smtp
	case f.Down:
		return false
	}
	return f.At == at || overall && !smtp
}
