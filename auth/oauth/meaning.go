package oauth

import (
	"regexp"
	"strings"
)

// meaning is what a text of a provider says in plain words. It explains, and
// never decides: what counts is the value of error.
type meaning struct {
	// text stands in the description.
	text string
	// means is what it says, todo what to do about it: "" for the usual.
	means, todo string
	// asks: whoever can be asked to log in may do so.
	asks bool
}

// aadsts finds the numbers of Microsoft's errors.
var aadsts = regexp.MustCompile(`AADSTS\d+`)

// meanings are those of Microsoft (Entra, "Authentication and authorization error
// codes") and of Google.
var meanings = []meaning{
	{"AADSTS50034", "there is no such user in the tenant", "check tenant, and log in as a user of it", false},
	{"AADSTS50053", "the user is locked after too many wrong passwords", "wait, or have an administrator unblock the user in Entra", false},
	{"AADSTS50055", "the user's password has expired", "have the user set a new password", true},
	{"AADSTS50057", "the user is disabled", "enable the user in Entra, or log in as another", false},
	{"AADSTS50076", "a second factor is wanted", "", true},
	{"AADSTS50079", "the user has to set up a second factor", "", true},
	{"AADSTS50126", "user name or password is wrong", "", true},
	{"AADSTS50173", "the consent ended, as the password was changed or the sessions were revoked", "", true},
	{"AADSTS53003", "Conditional Access of the tenant forbids it", "have an administrator exclude the app, or the address of this machine, in Entra: Protection, Conditional Access", false},
	{"AADSTS65001", "nobody has consented to the app", "", true},
	{"AADSTS70008", "the refresh token has expired", "", true},
	{"AADSTS70011", "a scope is not known", "check scopes; an app of its own asks for https://outlook.office365.com/.default or https://graph.microsoft.com/.default", false},
	{"AADSTS70043", "the refresh token has expired by a rule of Conditional Access", "", true},
	{"AADSTS90002", "there is no such tenant", "check tenant: it is the directory id, or a domain of the organisation", false},
	{"AADSTS90094", "an administrator has to consent", "have an administrator grant consent in Entra: App registrations, API permissions", false},
	{"AADSTS500011", "the resource of the scopes is not known in the tenant", "check scopes, and that the tenant has Exchange Online", false},
	{"AADSTS700016", "the tenant does not know the app", "check client_id (the application id) and tenant", false},
	{"AADSTS700027", "the certificate is not registered for the app, or the clock of this machine is wrong", "upload the certificate in Entra: App registrations, Certificates & secrets; check the clock", false},
	{"AADSTS700082", "the refresh token was not used for 90 days", "", true},
	{"AADSTS7000215", "the client secret is wrong", "check client_secret: it is the value of the secret, not its id", false},
	{"AADSTS7000218", "the app has to send a secret", "allow public client flows in Entra: App registrations, Authentication; or set client_secret", false},
	{"AADSTS7000222", "the client secret has expired", "make a new secret in Entra: App registrations, Certificates & secrets; write it and client_secret_expires", false},

	{"Token has been expired or revoked", "it was revoked, its user changed the password, or it is older than 7 days and the app's publishing status is Testing", "", true},
	{"Invalid email or User ID", "there is no such mailbox", "check subject, or mailbox: it has to be a user of the Workspace, not a group or an alias", false},
	{"timeframe", "the clock of this machine is wrong", "set the clock: timedatectl set-ntp true", false},
	{"Invalid JWT Signature", "the key was deleted", "make a new key for the service account in the Google Cloud console", false},
	{"Invalid device flow scope", "Google gives no scopes of Gmail to devices", "use flow authorization_code", false},
	{"OAuth client was not found", "there is no such app", "check client_id", false},
	{"Client is unauthorized", "the service account may not act for the mailbox with these scopes", "", false},
}

// meaningOf finds what the text of a refusal says.
func (c Credential) meaningOf(no *refusal) (meaning, bool) {
	number := aadsts.FindString(no.text)
	for _, m := range meanings {
		if m.text == number || !strings.HasPrefix(m.text, "AADSTS") && strings.Contains(no.text, m.text) {
			return m, true
		}
	}
	return meaning{}, false
}
