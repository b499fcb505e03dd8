// Package policy answers the question whether they may: whether an account may
// use this envelope sender, this recipient, and the names in the From and
// Sender fields of a completed message. A Policy knows patterns and numbers of
// the configuration and keeps nothing between two questions.
//
// What has to be remembered is kept beside it, and outlives configurations: how
// much was sent lately (Usage), and who failed to log in (Bans).
//
// Who the account is was settled by auth; that the header can be read for
// certain was seen to by rewrite, and is checked again here, because this is
// the room that must not be wrong. An account the configuration does not name
// may do nothing.
//
// Every refusal says what was refused, for whom, and what is allowed instead.
package policy
