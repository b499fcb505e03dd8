package oauth

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"
)

// State is how a credential fares.
type State string

// States of a credential.
const (
	StateOK            State = "ok"
	StateRefreshing    State = "refreshing"
	StateNeedsConsent  State = "needs consent"
	StateMisconfigured State = "misconfigured"
)

// Fault is why there is no new token. It holds nothing secret.
type Fault struct {
	// State is what the fault makes of the credential: StateRefreshing when it
	// passes by itself.
	State State
	// What happened, in a sentence.
	What string
	// Todo is what a person can do about it.
	Todo string

	// code is the value of error, if that was the answer.
	code string
	// wait is how long the provider asks us to wait; 0: it does not.
	wait time.Duration
}

func (f *Fault) Error() string { return f.What }

// Lasting tells whether trying again helps only after somebody has done what Hint
// says.
func (f *Fault) Lasting() bool { return f.State != StateRefreshing }

// Hint says what to do.
func (f *Fault) Hint() string { return f.Todo }

// passing is a fault that needs nobody.
func passing(wait time.Duration, format string, args ...any) *Fault {
	return &Fault{State: StateRefreshing, What: fmt.Sprintf(format, args...), wait: wait,
		Todo: "it is tried again; if this lasts, check the network of this machine and the provider's status page"}
}

// codes are what the values of error mean (RFC 6749, section 5.2; OpenID Connect
// Core, section 3.1.2.6; and the providers' own). Any other is taken for one that
// passes.
var codes = map[string]State{
	"invalid_grant":              StateNeedsConsent,
	"interaction_required":       StateNeedsConsent,
	"consent_required":           StateNeedsConsent,
	"login_required":             StateNeedsConsent,
	"account_selection_required": StateNeedsConsent,
	"access_denied":              StateMisconfigured,
	"admin_policy_enforced":      StateMisconfigured,
	"deleted_client":             StateMisconfigured,
	"disabled_client":            StateMisconfigured,
	"invalid_client":             StateMisconfigured,
	"invalid_request":            StateMisconfigured,
	"invalid_resource":           StateMisconfigured,
	"invalid_scope":              StateMisconfigured,
	"invalid_target":             StateMisconfigured,
	"invalid_tenant":             StateMisconfigured,
	"org_internal":               StateMisconfigured,
	"unauthorized_client":        StateMisconfigured,
	"unsupported_grant_type":     StateMisconfigured,
}

// judge says what a response that gave no token means for the credential.
func (c Credential) judge(host string, r response, err error) *Fault {
	no := new(refusal)
	if !errors.As(err, &no) {
		return passing(r.retryAfter, "%s %v", host, err)
	}
	state, known := codes[no.code]
	trouble := no.status >= 500 || slices.Contains([]int{http.StatusTooManyRequests, http.StatusRequestTimeout}, no.status)
	if !known || trouble {
		f := passing(r.retryAfter, "%s answered %d: %v", host, no.status, no)
		f.code = no.code
		return f
	}
	if no.code == "invalid_grant" && !c.keepsToken() {
		state = StateMisconfigured // there is nobody to ask
	}
	f := &Fault{State: state, code: no.code, What: fmt.Sprintf("%s says %v", host, no), Todo: c.usualTodo(no.code, state)}
	if m, ok := c.meaningOf(no); ok {
		f.What += " (" + m.means + ")"
		if m.todo != "" {
			f.Todo = m.todo
		}
		if m.asks && c.interactive() {
			f.Todo = c.loginAgain()
		}
	}
	return f
}

// loginAgain is what to do when a person has to agree anew.
func (c Credential) loginAgain() string {
	if c.interactive() {
		return fmt.Sprintf("run: postern login %s", c.Upstream)
	}
	return fmt.Sprintf("get a new refresh token and write it as oauth.refresh_token of upstream %s; with flow %s or %s \"postern login %s\" gets one",
		c.Upstream, Device, AuthorizationCode, c.Upstream)
}

// usualTodo is what to do where no more is known than the error.
func (c Credential) usualTodo(code string, state State) string {
	switch {
	case state == StateNeedsConsent && c.keepsToken():
		return c.loginAgain()
	case state == StateNeedsConsent:
		return "an administrator has to grant consent to the app of client_id at the provider"
	case c.Flow == ServiceAccount && code == "unauthorized_client":
		return "in the Google Admin console (security, API controls, domain-wide delegation) allow the service account's client id the scopes of upstream " + c.Upstream
	case c.Flow == ServiceAccount && code == "invalid_grant":
		return "check that subject, or mailbox, of upstream " + c.Upstream + " is a user of the Workspace, and that the key is not deleted"
	case code == "invalid_client" && c.Certificate != "":
		return "check client_id, and that the certificate is registered for it at the provider"
	case code == "invalid_client":
		return "check client_id and client_secret of upstream " + c.Upstream + ", and client_auth"
	case code == "invalid_scope":
		return "check the scopes of upstream " + c.Upstream
	}
	return "check the section oauth of upstream " + c.Upstream
}
