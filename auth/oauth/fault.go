package oauth

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
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

// again begins what to do about a fault that passes.
const again = "it is tried again; if this lasts, "

// passing is a fault that needs nobody.
func passing(wait time.Duration, format string, args ...any) *Fault {
	return &Fault{State: StateRefreshing, What: fmt.Sprintf(format, args...), wait: wait, Todo: again + "look at the provider's status page"}
}

// suspect is what may be wrong on this side where an endpoint gives no answer that
// can be read: it passes, as nobody can tell from here, but may well not.
func (c Credential) suspect(r response, err error) string {
	var name *net.DNSError
	var certificate *tls.CertificateVerificationError
	switch {
	case errors.As(err, &name) && name.IsNotFound:
		return again + "check " + c.endpointKeys() + ", and the DNS of this machine"
	case errors.As(err, &certificate):
		return again + "name the authority of its certificate as oauth.ca of upstream " + c.Upstream + ", or have the proxy between not break up its TLS"
	case r.status/100 == 3, r.status/100 == 4 && !busy(r.status):
		return again + "check " + c.endpointKeys() + ": nobody there gives tokens"
	case r.status != 0:
		return again + "look at the provider's status page"
	}
	return again + "see that this machine may reach it by HTTPS (firewall, HTTPS_PROXY of the relay), and look at the provider's status page"
}

// endpointKeys are the settings that say where we ask.
func (c Credential) endpointKeys() string {
	keys := "token_url"
	if c.Flow == Device {
		keys += " and device_url"
	}
	if c.Tenant != "" {
		keys = "tenant, " + keys
	}
	return keys + " of upstream " + c.Upstream
}

// busy tells whether an endpoint says with its status that it cannot answer now.
func busy(status int) bool {
	return status >= 500 || status == http.StatusTooManyRequests || status == http.StatusRequestTimeout
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
		f := passing(r.retryAfter, "%s %v", host, err)
		f.Todo = c.suspect(r, err)
		return f
	}
	state, known := codes[no.code]
	if !known || busy(no.status) {
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
