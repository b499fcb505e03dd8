package transport

import (
	"net/http"
	"strings"

	"postern/relay/message"
)

// usualOfHTTP is Usual for the status of an answer (RFC 9110, section 15), whose
// text begins with the word of the API for what is wrong, if it has one.
//
//   - 413 is for good here; an API with a larger limit may take it.
//   - 429 and 503 ask for less.
//   - 401, 402, 403, 404, 405 and 410 say that the API is not set up for us: no
//     mail is to blame, and a person has to change something.
//   - 400 and 422 are for good when the API has a word for it; what is merely
//     between us and the API may say 400 as well.
func usualOfHTTP(reply message.Reply) Result {
	result := Result{Result: message.Result{Outcome: message.Deferred, Reply: reply}}
	switch reply.Code {
	case http.StatusRequestEntityTooLarge:
		result.Outcome, result.Advice.Action = message.Failed, Failover
		result.Reply.Enhanced = "5.3.4"
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		result.Advice.Action = Slow
	case http.StatusUnauthorized:
		result.Advice.Action = Reauth
	case http.StatusPaymentRequired, http.StatusForbidden, http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusGone:
		result.Advice = Advice{Action: Configure, Hint: "check mailbox, address, and what the application may do at the API"}
	case http.StatusBadRequest, http.StatusUnprocessableEntity:
		if word, _, found := strings.Cut(reply.Text, ": "); found && word != "" && !strings.ContainsAny(word, " (") {
			result.Outcome, result.Reply.Enhanced = message.Failed, "5.6.0"
		}
	}
	return result
}
